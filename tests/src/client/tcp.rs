//! A client that opens one TCP connection after the other to a service address, and the service behind it.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Gap;
use crate::lab::Namespace;
use crate::lab::realtime_ns;

const PORT: u16 = 7070;
/// A connection that takes longer is given up; shorter than the kernel's first retransmission, so that this shows through
/// how often one is tried and not how the kernel waits.
const PATIENCE: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(1);

/// Answers one byte to whoever connects, on all addresses of a namespace; until dropped.
pub struct Server(Worker);

/// Connects again and again; until dropped.
pub struct TcpProbe {
    answers: Arc<Mutex<Vec<u64>>>,
    _worker: Worker,
}

struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(turn: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut turn) = (Arc::clone(&stop), turn);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                turn();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Server {
    /// Serves in `namespace`.
    ///
    /// # Errors
    /// The port is taken, or the namespace is gone.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let listener = namespace.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)))?.context("cannot serve")?;
        listener.set_nonblocking(true)?;
        Ok(Self(Worker::start(move || match listener.accept() {
            Ok((mut stream, _)) => {
                let _ = stream.write_all(b"k");
            }
            Err(_) => thread::sleep(Duration::from_micros(100)),
        })))
    }

    /// Whether it still serves.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.0.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl TcpProbe {
    /// Connects to `target` from inside `namespace`.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn start(namespace: &Namespace, target: IpAddr) -> Result<Self> {
        let answers = Arc::<Mutex<Vec<u64>>>::default();
        let noted = Arc::clone(&answers);
        let connect = move || -> std::io::Result<()> {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(target, PORT), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read_exact(&mut [0])
        };
        let turn = move || {
            if connect().is_ok() {
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(realtime_ns());
            }
            thread::sleep(PAUSE);
        };
        // A thread that is started there stays there.
        let worker = namespace.run(move || Worker::start(turn))?;
        Ok(Self { answers, _worker: worker })
    }

    /// The longest time between two answers, of which the later one came at or after `from_ns`; there is one after it.
    ///
    /// # Errors
    /// Nobody answered after `from_ns` within `patience`.
    pub fn gap_since(&self, from_ns: u64, patience: Duration) -> Result<Gap> {
        let until = realtime_ns().saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
        loop {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if answers.last().is_some_and(|last| *last > from_ns.saturating_add(100_000_000)) {
                let gaps = answers.windows(2).filter(|pair| pair[1] >= from_ns);
                let longest = gaps.map(|pair| Gap { from_ns: pair[0], to_ns: pair[1] }).max_by_key(|gap| gap.length());
                return longest.context("one answer only");
            }
            if realtime_ns() > until {
                bail!("nobody answered within {patience:?}");
            }
            thread::sleep(PAUSE);
        }
    }
}
