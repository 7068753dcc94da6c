//! A named network namespace with one long-lived thread inside it, through which everything else enters.
//!
//! The namespace is bound under `/run/netns`, exactly as `ip netns add` does it, so an operator can look around with
//! `ip netns exec NAME bash`. We ourselves never use that way in: it mounts a new `/sys`, which hides bpffs. A child
//! process or thread started by a thread inherits its network namespace, so a closure on the resident thread is enough.
//! That thread lives as long as the namespace, which matters for `PR_SET_PDEATHSIG`: the kernel ties it to the *thread*
//! that started the child.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::child;
use super::netlink::Netlink;

/// Where named namespaces are bound, shared with `ip netns`.
pub(super) const FOLDER: &str = "/run/netns";

type Job = Box<dyn FnOnce() + Send>;

/// A named network namespace; removed on drop.
pub struct Namespace {
    name: String,
    netlink: Netlink,
    resident: Mutex<Option<Resident>>,
}

struct Resident {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl Namespace {
    /// Makes a new, empty namespace. `sysctls` are written first, as paths below `/proc/sys/net`, so that interfaces
    /// that appear later are born with them.
    ///
    /// # Errors
    /// The name is taken, or the caller is not root.
    pub fn create(name: &str, sysctls: &[(&str, &str)]) -> Result<Self> {
        let path = Path::new(FOLDER).join(name);
        prepare_folder()?;
        File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("namespace {name} exists already ({})", path.display()))?;
        let (jobs, work) = channel::<Job>();
        let (born, birth) = channel::<Result<Netlink>>();
        let bind_to = path.clone();
        let sysctls: Vec<(String, String)> =
            sysctls.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let thread = thread::Builder::new()
            .name(format!("ns {name}"))
            .spawn(move || {
                let inside = enter_new(&bind_to, &sysctls);
                let failed = inside.is_err();
                if born.send(inside).is_err() || failed {
                    return;
                }
                for job in work {
                    job();
                }
            })
            .context("cannot start a thread")?;
        let netlink = match birth.recv() {
            Ok(Ok(netlink)) => netlink,
            Ok(Err(error)) => {
                remove_file(&path);
                return Err(error.context(format!("cannot make namespace {name}")));
            }
            Err(_) => {
                remove_file(&path);
                bail!("the thread of namespace {name} panicked")
            }
        };
        Ok(Self { name: name.to_owned(), netlink, resident: Mutex::new(Some(Resident { jobs, thread })) })
    }

    /// Its name below `/run/netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file, which `setns` takes.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Interfaces, addresses and neighbours of this namespace.
    #[must_use]
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Runs `job` on the resident thread and waits for its result. Sockets that it opens, and threads and processes that it
    /// starts, belong to the namespace for good.
    ///
    /// # Errors
    /// The namespace was removed, or an earlier job panicked.
    pub fn run<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (done, result) = channel();
        let job: Job = Box::new(move || drop(done.send(job())));
        {
            let resident = self.resident.lock().map_err(|_| anyhow!("a lock is poisoned"))?;
            let resident = resident.as_ref().ok_or_else(|| anyhow!("namespace {} was removed", self.name))?;
            resident.jobs.send(job).map_err(|_| anyhow!("the thread of namespace {} is gone", self.name))?;
        }
        result.recv().map_err(|_| anyhow!("a job in namespace {} panicked", self.name))
    }

    /// Waits, by the kernel's events, until no IPv6 address of an interface with a carrier is tentative any more.
    ///
    /// # Errors
    /// That takes more than ten seconds, or somebody else has one of them.
    pub fn wait_addresses(&self) -> Result<()> {
        let events = self.run(AddressEvents::open)??;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let tentative = self.netlink.tentative_addresses()?;
            if tentative.is_empty() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "addresses of {} stay tentative: {tentative:?}", self.name);
            events.wait(left);
        }
    }

    /// Changes a setting below `/proc/sys/net`; one that this kernel lacks is left out.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.run(move || set(&key, &value))?
    }

    /// Starts a process inside; it is killed when this namespace, or the whole program, goes.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        let program = command.get_program().to_owned();
        child::bind_life_to_thread(&mut command);
        self.run(move || command.spawn())?.with_context(|| format!("cannot start {}", program.display()))
    }

    /// Ends whoever still runs inside, as a host does whose power goes: what an agent had started may outlive it.
    pub(super) fn end_all_inside(&self) {
        end_all_inside(&self.path());
    }

    /// Removes the name: nobody enters by it any more.
    pub(super) fn remove_name(&self) {
        remove_file(&self.path());
    }

    /// Ends whoever still runs inside, removes the name and ends the resident thread. The kernel frees the namespace with its last
    /// socket.
    pub fn remove(&self) {
        self.end_all_inside();
        let resident = self.resident.lock().ok().and_then(|mut resident| resident.take());
        if let Some(Resident { jobs, thread }) = resident {
            drop(jobs);
            let _ended = thread.join();
            remove_file(&self.path());
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Hears of every change of an IPv6 address in the namespace of the thread that opened it.
struct AddressEvents(Socket);

impl AddressEvents {
    fn open() -> Result<Self> {
        /// linux/rtnetlink.h
        const RTNLGRP_IPV6_IFADDR: u32 = 9;
        let mut socket = Socket::new(NETLINK_ROUTE).context("cannot open an rtnetlink socket")?;
        socket.bind_auto().context("cannot bind an rtnetlink socket")?;
        socket.add_membership(RTNLGRP_IPV6_IFADDR).context("cannot listen for addresses")?;
        socket.set_non_blocking(true).context("cannot set up an rtnetlink socket")?;
        Ok(Self(socket))
    }

    /// Waits for a change, at most so long.
    fn wait(&self, limit: Duration) {
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let _interrupted = poll(&mut ready, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
        // Whatever it was, and however many: whoever waits looks at the addresses themselves.
        while self.0.recv_from_full().is_ok() {}
    }
}

/// Kills the processes whose network namespace is the one at `path`.
fn end_all_inside(path: &Path) {
    let (Ok(namespace), Ok(all)) = (fs::metadata(path), fs::read_dir("/proc")) else { return };
    let namespace = (namespace.dev(), namespace.ino());
    for process in all.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        let inside = fs::metadata(process.path().join("ns/net")).is_ok_and(|its| (its.dev(), its.ino()) == namespace);
        if let Some(pid) = pid.filter(|_| inside) {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Unbinds and deletes the namespace file `path`, if it is there.
pub(super) fn remove_file(path: &Path) {
    let _not_mounted = umount2(path, MntFlags::MNT_DETACH);
    let _missing = fs::remove_file(path);
}

/// As `ip netns add` does: the folder is a shared mount of its own, so that a name removed here is gone from every mount namespace.
fn prepare_folder() -> Result<()> {
    fs::create_dir_all(FOLDER).with_context(|| format!("cannot create {FOLDER}"))?;
    let _one_at_a_time = Flock::lock(File::open(FOLDER)?, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {FOLDER}"))?;
    let share = || mount(None::<&str>, FOLDER, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        Err(Errno::EINVAL) => {
            mount(Some(FOLDER), FOLDER, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
                .with_context(|| format!("cannot bind {FOLDER}"))?;
            share().with_context(|| format!("cannot share {FOLDER}"))
        }
        other => other.with_context(|| format!("cannot share {FOLDER}; the lab needs root")),
    }
}

fn enter_new(bind_to: &Path, sysctls: &[(String, String)]) -> Result<Netlink> {
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace; the lab needs root")?;
    mount(Some("/proc/thread-self/ns/net"), bind_to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot bind the namespace to {}", bind_to.display()))?;
    for (key, value) in sysctls {
        set(key, value)?;
    }
    let netlink = Netlink::open()?;
    netlink.loopback_up()?;
    Ok(netlink)
}

/// `/proc/sys/net` is that of the thread which opens the file.
fn set(key: &str, value: &str) -> Result<()> {
    match fs::write(Path::new("/proc/sys/net").join(key), value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // a kernel without IPv6
        other => other.with_context(|| format!("cannot set net/{key} to {value}")),
    }
}
