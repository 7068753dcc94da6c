//! Opens and closes serial lines beside the thread that uses them: preparing one behind a USB adapter takes transfers, and
//! closing one may wait for what it has still to send (`closing_wait` of setserial(8): 30 s).

use super::Serial;
use crate::{system::bell::Bell, types::SerialLine};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use std::{io, thread};

/// Of each line there is one request at a time, and one line to close.
const REQUESTS: usize = 4;

enum Request {
    Open,
    Close(Box<Serial>),
}

/// A thread a line.
pub struct Opener {
    lines: Vec<(u8, Sender<Request>)>,
    opened: Receiver<(u8, io::Result<Box<Serial>>)>,
    bell: Bell,
}

impl Opener {
    /// For these lines, each with a number.
    ///
    /// # Errors
    /// When the process has no more threads or descriptors.
    pub fn new(lines: impl IntoIterator<Item = (u8, SerialLine)>) -> io::Result<Self> {
        let bell = Bell::new()?;
        // As many as there are requests.
        let (results, opened) = unbounded();
        let start = |(number, line): (u8, SerialLine)| {
            let (sender, requests) = bounded(REQUESTS);
            let (results, bell) = (results.clone(), bell.clone());
            let run = move || {
                for request in requests {
                    match request {
                        Request::Open => {
                            let _ = results.send((number, Serial::open(&line.device, line.speed).map(Box::new)));
                            bell.ring();
                        }
                        Request::Close(line) => drop(line),
                    }
                }
            };
            thread::Builder::new().name(format!("line {number}")).spawn(run)?;
            Ok((number, sender))
        };
        let lines = lines.into_iter().map(start).collect::<io::Result<_>>()?;
        Ok(Self { lines, opened, bell })
    }

    /// Rings when a line was opened, or could not be.
    #[must_use]
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Has a line opened; [`Opener::take`] gives it.
    ///
    /// # Errors
    /// EBUSY: the one before is still being closed.
    pub fn open(&self, number: u8) -> io::Result<()> {
        self.request(number, Request::Open).map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Has a line closed.
    pub fn close(&self, number: u8, line: Box<Serial>) {
        // One that finds no room is closed here, which may wait.
        drop(self.request(number, Request::Close(line)));
    }

    /// The next line that was opened, or could not be.
    #[must_use]
    pub fn take(&self) -> Option<(u8, io::Result<Box<Serial>>)> {
        self.opened.try_recv().ok()
    }

    fn request(&self, number: u8, request: Request) -> Result<(), TrySendError<Request>> {
        match self.lines.iter().find(|(n, _)| *n == number) {
            Some((_, line)) => line.try_send(request),
            None => Err(TrySendError::Disconnected(request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dataplane::serial::tests::Peer,
        system::{clock, waiter::Waiter},
        types::Nanos,
    };
    use nix::sched::{CloneFlags, unshare};
    use std::time::{Duration, Instant};

    const SOON: Duration = Duration::from_secs(10);

    /// Waits until its bell, 64, has rung.
    fn wait_rung(waiter: &Waiter) {
        let deadline = clock::monotonic().after(Nanos(SOON.as_nanos() as u64));
        while !waiter.wait(deadline).unwrap().has(64) {
            assert!(clock::monotonic() < deadline, "nobody rings");
        }
    }

    #[test]
    fn whether_a_line_could_be_opened_is_told_by_the_bell() {
        let line = |device: &str| SerialLine { device: device.into(), speed: 115_200 };
        let opener = Opener::new([(3, line("/dev/no-such-line")), (5, line("/dev/null"))]).unwrap();
        let waiter = Waiter::new().unwrap();
        waiter.add(opener.bell(), 64).unwrap();
        assert!(opener.take().is_none());
        for (number, errno) in [(5, libc::ENOTTY), (3, libc::ENOENT)] {
            opener.open(number).unwrap();
            wait_rung(&waiter);
            opener.bell().silence();
            let (of, result) = opener.take().unwrap();
            assert_eq!((of, result.unwrap_err().raw_os_error()), (number, Some(errno)));
        }
        assert_eq!(opener.open(4).unwrap_err().raw_os_error(), Some(libc::EBUSY));
    }

    const SPEED: u32 = 115_200;

    /// Whether somebody has the line: there can be no two.
    fn is_open(peer: &Peer) -> bool {
        Serial::open(&peer.path, SPEED).is_err_and(|e| e.raw_os_error() == Some(libc::EBUSY))
    }

    /// Until it begins its program, what another test starts has what we have open.
    fn wait_closed(peer: &Peer) {
        let deadline = Instant::now() + SOON;
        while is_open(peer) {
            assert!(Instant::now() < deadline, "it stays open");
            thread::yield_now();
        }
    }

    #[test]
    fn who_has_a_line_closed_does_not_close_it() {
        let peer = Peer::new();
        let (sender, requests) = bounded(REQUESTS);
        let (_, opened) = unbounded();
        // We are in its thread's place.
        let opener = Opener { lines: vec![(3, sender)], opened, bell: Bell::new().unwrap() };
        opener.close(3, Box::new(Serial::open(&peer.path, SPEED).unwrap()));
        let Ok(Request::Close(line)) = requests.try_recv() else { panic!("nobody was asked to close it") };
        assert!(is_open(&peer));
        drop(line);
        wait_closed(&peer);
    }

    #[test]
    fn a_line_that_was_opened_is_closed_by_its_thread() {
        let peer = Peer::new();
        let opener = Opener::new([(3, SerialLine { device: peer.path.clone(), speed: SPEED })]).unwrap();
        let waiter = Waiter::new().unwrap();
        waiter.add(opener.bell(), 64).unwrap();
        opener.open(3).unwrap();
        wait_rung(&waiter);
        let (number, line) = opener.take().unwrap();
        let line = line.unwrap();
        assert!(is_open(&peer));
        // Whoever has it closed has a table of descriptors of its own: what it closed itself would stay open in ours.
        let close = || {
            unshare(CloneFlags::CLONE_FILES).unwrap();
            opener.close(number, line);
        };
        thread::scope(|scope| scope.spawn(close).join()).unwrap();
        wait_closed(&peer);
    }
}
