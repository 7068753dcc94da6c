//! etcd clusters in namespaces on one switch, with hosts beside them, and what goes wrong with all of these.

use anyhow::{Context, Result, ensure};
use heartbeat_tests::lab::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take that is not measured.
const SOON: Duration = Duration::from_secs(20);
static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// A switch with members of etcd on it (10.7.0.1, 10.7.0.2, ..) and two hosts (10.7.0.101 and .102).
pub struct Cluster {
    pub members: Vec<Member>,
    pub hosts: [Host; 2],
    switch: Namespace,
    folder: TempDir,
}

/// A namespace with a cable to the switch.
pub struct Host {
    pub namespace: Namespace,
    port: String,
}

/// A member of the cluster.
pub struct Member {
    pub host: Host,
    number: usize,
    arguments: Vec<String>,
    log: PathBuf,
    process: Mutex<Option<Child>>,
}

impl Cluster {
    /// Starts so many members with these arguments beside the usual ones, and waits until they serve; `scheme` is http or https.
    pub fn start(count: usize, scheme: &str, more: &[&str]) -> Result<Self> {
        let id = format!("hb-etcd-{}-{}", std::process::id(), CLUSTERS.fetch_add(1, Relaxed));
        let switch = Namespace::create(&format!("{id}-switch"), &[])?;
        ip(&switch, "link add bridge type bridge")?;
        ip(&switch, "link set bridge up")?;
        let folder = tempfile::tempdir()?;
        let peers: Vec<_> = (1..=count).map(|n| format!("m{n}=http://10.7.0.{n}:2380")).collect();
        let mut members = Vec::new();
        for number in 1..=count {
            let host = Host::plug(&id, &switch, &format!("m{number}"), number)?;
            let data = folder.path().join(format!("m{number}"));
            let arguments = [
                format!("--name=m{number}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={scheme}://10.7.0.{number}:2379,http://127.0.0.1:2379"),
                format!("--advertise-client-urls={scheme}://10.7.0.{number}:2379"),
                format!("--listen-peer-urls=http://10.7.0.{number}:2380"),
                format!("--initial-advertise-peer-urls=http://10.7.0.{number}:2380"),
                format!("--initial-cluster={}", peers.join(",")),
                "--heartbeat-interval=50".to_owned(),
                "--election-timeout=250".to_owned(),
                "--logger=zap".to_owned(),
            ];
            let arguments = arguments.into_iter().chain(more.iter().map(|&more| more.to_owned())).collect();
            let log = folder.path().join(format!("m{number}.log"));
            members.push(Member { host, number, arguments, log, process: Mutex::default() });
        }
        let hosts = [Host::plug(&id, &switch, "a", 101)?, Host::plug(&id, &switch, "b", 102)?];
        let cluster = Self { members, hosts, switch, folder };
        for member in &cluster.members {
            member.begin()?;
        }
        for member in &cluster.members {
            cluster.wait(member)?;
        }
        Ok(cluster)
    }

    /// The endpoints, as the configuration has them.
    pub fn endpoints(&self, scheme: &str) -> String {
        let all: Vec<_> = self.members.iter().map(|m| format!("\"{scheme}://10.7.0.{}:2379\"", m.number)).collect();
        format!("[{}]", all.join(", "))
    }

    /// Takes the carrier from what is between the switch and a host, or gives it back. Nothing is refused: it is silent.
    pub fn cut(&self, host: &Host, cut: bool) -> Result<()> {
        let how = if cut { "nomaster" } else { "master bridge" };
        ip(&self.switch, &format!("link set {} {how}", host.port))
    }

    /// Where files of the test may be.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Waits until a member answers for the whole cluster.
    pub fn wait(&self, member: &Member) -> Result<()> {
        let deadline = Instant::now() + SOON;
        let health = r#"{"success":[{"request_range":{"key":"eA=="}}]}"#;
        loop {
            let said = member.host.namespace.run(move || ask("/v3/kv/txn", health))?;
            if said
                .as_ref()
                .is_ok_and(|said| said.contains("\"succeeded\":true") || said.contains("user name is empty"))
            {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "m{}: {said:?}; its log: {}", member.number, member.log.display());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The member that leads.
    pub fn leader(&self) -> Result<usize> {
        for (i, member) in self.members.iter().enumerate() {
            let status = member.host.namespace.run(|| ask("/v3/maintenance/status", "{}"))?.unwrap_or_default();
            let field =
                |name: &str| status.split(&format!("\"{name}\":\"")).nth(1).and_then(|rest| rest.split('"').next());
            if field("member_id").is_some() && field("member_id") == field("leader") {
                return Ok(i);
            }
        }
        anyhow::bail!("no member leads")
    }
}

impl Host {
    fn plug(id: &str, switch: &Namespace, name: &str, number: usize) -> Result<Self> {
        let namespace = Namespace::create(&format!("{id}-{name}"), &[("ipv6/conf/all/disable_ipv6", "1")])?;
        let port = format!("port-{name}");
        ip(switch, &format!("link add {port} type veth peer name eth0 netns {}", namespace.name()))?;
        ip(switch, &format!("link set {port} master bridge up"))?;
        ip(&namespace, &format!("address add 10.7.0.{number}/24 dev eth0"))?;
        ip(&namespace, "link set eth0 up")?;
        Ok(Self { namespace, port })
    }
}

impl Member {
    /// Starts it, with the data that it has.
    pub fn begin(&self) -> Result<()> {
        let mut command = Command::new("etcd");
        let log = File::options().create(true).append(true).open(&self.log)?;
        command.args(&self.arguments).env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH);
        command.stdout(log.try_clone()?).stderr(log);
        *self.process.lock().unwrap() = Some(self.host.namespace.spawn(command)?);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// SIGSTOP, or SIGCONT.
    pub fn pause(&self, pause: bool) {
        if let Some(process) = &*self.process.lock().unwrap() {
            let signal = if pause { Signal::SIGSTOP } else { Signal::SIGCONT };
            kill(Pid::from_raw(process.id() as i32), signal).unwrap();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the member of this namespace answers.
pub fn ask(path: &str, body: &str) -> Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect("127.0.0.1:2379")?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

fn ip(namespace: &Namespace, arguments: &str) -> Result<()> {
    let words: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
    let done = namespace.run(move || Command::new("ip").args(words).output())?.context("ip")?;
    ensure!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
