//! A serial line as a channel (WO 01/82077, A8, S4: dedicated and serial links): the path between the two nodes that
//! shares nothing with the networks, neither switches nor drivers nor the IP stack. Nothing here waits for the line.

use super::serial_frame::{Deframer, Outgoing};
use crate::types::is_speed;
use heartbeat_ebpf::wire::LEN;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    ioctl::{Getter, Opcode, ioctl},
    termios::{
        ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector, SpecialCodeIndex, Termios,
        ioctl_tiocexcl, tcflush, tcgetattr, tcsetattr,
    },
};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

/// The most bytes taken in one call, as many as the kernel's line discipline holds: a flood can't hold the thread.
const MOST_RECEIVED: usize = 4096;

/// An open line. Closing it lets the kernel send what it already took, and leaves DTR and RTS up: the peer must not
/// take an agent that restarts for a pulled cable.
#[derive(Debug)]
pub struct Serial {
    line: File,
    outgoing: Outgoing,
    incoming: Deframer,
}

impl Serial {
    /// Opens a line for us alone and prepares it: 8N1 at `speed` baud, every byte as it is, no flow control, modem
    /// lines ignored. What was queued in either direction is thrown away.
    ///
    /// # Errors
    /// EBUSY: another program has it (a lock by flock(2), which binds root as well, or TIOCEXCL of tty_ioctl(4));
    /// EINVAL: not a speed, or not one of this UART; ENOTTY: not a terminal; ENOENT, ENXIO, ENODEV, EIO: no such device
    /// (now); EACCES: no right to it.
    pub fn open(device: &Path, speed: u32) -> io::Result<Self> {
        if !is_speed(speed) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // Without O_NONBLOCK, opening waits for a carrier; without O_NOCTTY, a hang-up could signal us.
        let line =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(device)?;
        // Before anything is changed under whoever has it.
        line.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => io::Error::from_raw_os_error(libc::EBUSY),
            TryLockError::Error(e) => e,
        })?;
        ioctl_tiocexcl(&line)?;
        prepare(&line, speed)?;
        tcflush(&line, QueueSelector::IOFlush)?;
        Ok(Self { line, outgoing: Outgoing::new(), incoming: Deframer::new() })
    }

    /// Sends one message; false where there was no room for it, so that it is lost as on the wire. What the line takes
    /// only in part is completed by the next call or [`Serial::flush_pending`].
    ///
    /// # Errors
    /// EIO: the other end, or the device, is gone. Whatever the kernel says: the line is to be opened again.
    pub fn send(&mut self, message: &[u8; LEN]) -> io::Result<bool> {
        self.outgoing.send(&mut &self.line, message)
    }

    /// Completes what [`Serial::send`] began. Whether nothing is left of it: if not, POLLOUT says when to try again.
    ///
    /// # Errors
    /// As [`Serial::send`].
    pub fn flush_pending(&mut self) -> io::Result<bool> {
        self.outgoing.flush(&mut &self.line)
    }

    /// Takes what came, at most 4096 bytes. `take` gets each complete message, and None for each frame that is none, to
    /// be counted as malformed. What is left makes the line readable (POLLIN) again.
    ///
    /// # Errors
    /// EIO: the device or the other end of a pseudo-terminal is gone. Whatever the kernel says: the line is to be
    /// opened again.
    pub fn receive(&mut self, take: impl FnMut(Option<&[u8; LEN]>)) -> io::Result<()> {
        let mut bytes = [0; MOST_RECEIVED];
        match (&self.line).read(&mut bytes) {
            // With VMIN 0 that is "nothing there", and also the end of a line that is hung up.
            Ok(0) if self.is_hung_up()? => Err(io::Error::from_raw_os_error(libc::EIO)),
            Ok(n) => {
                self.incoming.feed(&bytes[..n], take);
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Whether somebody seems to be at the other end: DCD, DSR or CTS is up (TIOCMGET of tty_ioctl(4)). Where the
    /// driver has no modem lines, true until it is hung up.
    ///
    /// A cable of three wires carries no modem lines: there it is always false, while messages come. Hold it against a
    /// channel only together with silence.
    #[must_use]
    pub fn carrier(&self) -> bool {
        const LINES: libc::c_int = libc::TIOCM_CAR | libc::TIOCM_DSR | libc::TIOCM_CTS;
        // SAFETY: TIOCMGET writes one int and nothing else (tty_ioctl(4)), which is the Getter's type.
        let up = unsafe { ioctl(&self.line, Getter::<{ libc::TIOCMGET as Opcode }, libc::c_int>::new()) };
        match up {
            Ok(up) => up & LINES != 0,
            Err(e) => matches!(e.raw_os_error(), libc::ENOTTY | libc::EINVAL) && !self.is_hung_up().unwrap_or(true),
        }
    }

    /// poll(2) tells an idle line from one that is gone; read(2) doesn't.
    fn is_hung_up(&self) -> io::Result<bool> {
        const GONE: PollFlags = PollFlags::HUP.union(PollFlags::ERR).union(PollFlags::NVAL);
        let mut line = [PollFd::new(&self.line, PollFlags::empty())];
        poll(&mut line, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(line[0].revents().intersects(GONE))
    }
}

impl AsFd for Serial {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

impl AsRawFd for Serial {
    fn as_raw_fd(&self) -> RawFd {
        self.line.as_raw_fd()
    }
}

/// Sets what termios(3) can set. It succeeds where the driver did any part of it: so what it did is read back.
fn prepare(line: &File, speed: u32) -> io::Result<()> {
    let mut wanted = tcgetattr(line)?;
    wanted.input_modes = InputModes::empty();
    wanted.output_modes = OutputModes::empty();
    wanted.local_modes = LocalModes::empty();
    wanted.control_modes = ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL;
    wanted.special_codes[SpecialCodeIndex::VMIN] = 0;
    wanted.special_codes[SpecialCodeIndex::VTIME] = 0;
    wanted.set_speed(speed)?;
    tcsetattr(line, OptionalActions::Now, &wanted)?;

    if is_prepared(&tcgetattr(line)?, speed) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
}

/// Whether a line is 8N1 without flow control, at about `speed` baud: drivers tell what their clock really gives, and
/// the kernel too takes it for the one asked for within 2 %.
fn is_prepared(now: &Termios, speed: u32) -> bool {
    let framing = ControlModes::CSIZE | ControlModes::CSTOPB | ControlModes::PARENB | ControlModes::CRTSCTS;
    now.control_modes & framing == ControlModes::CS8 && now.output_speed().abs_diff(speed) <= speed / 50
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::serial_frame::{FRAME, tests::framed},
        *,
    };
    use crate::types::SERIAL_SPEEDS;
    use rustix::{
        fs::{OFlags, fcntl_setfl},
        io::{FdFlags, fcntl_getfd},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    };
    use std::{ffi::OsStr, io::Write, os::unix::ffi::OsStrExt, path::PathBuf};

    const SPEED: u32 = 115_200;

    /// The far end of a pseudo-terminal, in the peer's place, and the path of the near one. As a real line, it stays
    /// when the near end is closed, since `held` has that open as well.
    pub(in super::super) struct Peer {
        line: File,
        deframer: Deframer,
        pub(in super::super) path: PathBuf,
        held: File,
    }

    impl Peer {
        pub(in super::super) fn new() -> Self {
            let line = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
            grantpt(&line).unwrap();
            unlockpt(&line).unwrap();
            let path = PathBuf::from(OsStr::from_bytes(ptsname(&line, Vec::new()).unwrap().to_bytes()));
            let held = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&path).unwrap();
            Self { line: line.into(), deframer: Deframer::new(), path, held }
        }

        fn open(&self) -> Serial {
            Serial::open(&self.path, SPEED).unwrap()
        }

        /// Sends all of it, in one go.
        fn say(&self, bytes: &[u8]) {
            (&self.line).write_all(bytes).unwrap();
        }

        /// Reads until there are so many messages; the bytes that it took.
        fn hear(&mut self, messages: &mut Vec<Option<[u8; LEN]>>, until: usize) -> usize {
            let mut taken = 0;
            while messages.len() < until {
                wait_for(&self.line, PollFlags::IN);
                let mut bytes = [0; 1000];
                let n = (&self.line).read(&mut bytes).unwrap();
                self.deframer.feed(&bytes[..n], |m| messages.push(m.copied()));
                taken += n;
            }
            taken
        }
    }

    fn wait_for(line: impl AsFd, what: PollFlags) {
        let mut fds = [PollFd::new(&line, what)];
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap();
        assert_eq!(ready, 1, "nothing within 10 s");
    }

    /// Receives until there are so many messages.
    fn receive(serial: &mut Serial, until: usize) -> Vec<Option<[u8; LEN]>> {
        let mut messages = Vec::new();
        while messages.len() < until {
            wait_for(&*serial, PollFlags::IN);
            serial.receive(|m| messages.push(m.copied())).unwrap();
        }
        messages
    }

    /// Receives until it fails.
    fn failure(serial: &mut Serial) -> Option<i32> {
        wait_for(&*serial, PollFlags::IN);
        serial.receive(|_| panic!("nobody sent anything")).unwrap_err().raw_os_error()
    }

    fn message(number: usize) -> [u8; LEN] {
        let mut message = [0; LEN];
        message[..8].copy_from_slice(&(number as u64).to_be_bytes());
        message[100..].fill(number as u8);
        message
    }

    #[test]
    fn a_line_is_raw_and_at_its_speed() {
        let peer = Peer::new();
        let others = ControlModes::CSTOPB | ControlModes::PARENB | ControlModes::CRTSCTS | ControlModes::HUPCL;
        for speed in SERIAL_SPEEDS {
            let mut before = tcgetattr(&peer.held).unwrap();
            before.control_modes |= others;
            before.input_modes |= InputModes::IXON | InputModes::IXOFF;
            tcsetattr(&peer.held, OptionalActions::Now, &before).unwrap();
            let serial = Serial::open(&peer.path, speed).unwrap();
            let now = tcgetattr(&serial).unwrap();
            assert_eq!((now.output_speed(), now.input_speed()), (speed, speed));
            assert_eq!((now.input_modes, now.output_modes), (InputModes::empty(), OutputModes::empty()));
            assert_eq!(now.local_modes, LocalModes::empty());
            assert_eq!(
                now.control_modes & (ControlModes::CSIZE | ControlModes::CREAD | ControlModes::CLOCAL | others),
                ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL
            );
            let codes = now.special_codes;
            assert_eq!((codes[SpecialCodeIndex::VMIN], codes[SpecialCodeIndex::VTIME]), (0, 0));
            assert!(fcntl_getfd(&serial).unwrap().contains(FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn a_line_that_a_driver_prepared_otherwise_is_refused() {
        let peer = Peer::new();
        let right = tcgetattr(peer.open()).unwrap();
        assert!(is_prepared(&right, SPEED));
        let otherwise = |change: fn(&mut Termios)| {
            let mut now = right.clone();
            change(&mut now);
            !is_prepared(&now, SPEED)
        };
        // A UART whose clock gives no better than 1.4 % off; one that stays at 9600, and one just beyond 2 %.
        assert!(!otherwise(|now| now.set_speed(113_600).unwrap()));
        assert!(otherwise(|now| now.set_speed(9_600).unwrap()));
        assert!(otherwise(|now| now.set_speed(117_600).unwrap()));
        assert!(otherwise(|now| now.control_modes.remove(ControlModes::CS8)));
        assert!(otherwise(|now| now.control_modes.insert(ControlModes::CSTOPB)));
        assert!(otherwise(|now| now.control_modes.insert(ControlModes::PARENB)));
        assert!(otherwise(|now| now.control_modes.insert(ControlModes::CRTSCTS)));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let errno = |path: &Path, speed| Serial::open(path, speed).unwrap_err().raw_os_error();
        let peer = Peer::new();
        assert_eq!(errno(&peer.path, 115_201), Some(libc::EINVAL));
        assert_eq!(errno(&peer.path, 0), Some(libc::EINVAL));
        assert_eq!(errno(Path::new("/dev/null"), SPEED), Some(libc::ENOTTY));
        assert_eq!(errno(Path::new("/dev/no-such-line"), SPEED), Some(libc::ENOENT));
    }

    #[test]
    fn a_line_is_opened_once_at_a_time() {
        let peer = Peer::new();
        let mut serial = peer.open();
        let second = Serial::open(&peer.path, 9_600).unwrap_err();
        assert_eq!(second.raw_os_error(), Some(libc::EBUSY));
        assert_eq!(tcgetattr(&serial).unwrap().output_speed(), SPEED, "the second changed the first one's speed");
        // SAFETY: TIOCGEXCL writes one int and nothing else (tty_ioctl(4)), which is the Getter's type.
        let exclusive = unsafe { ioctl(&serial, Getter::<{ libc::TIOCGEXCL as Opcode }, libc::c_int>::new()) };
        assert_eq!(exclusive, Ok(1));
        // The first goes on, and once it is closed the line is free.
        peer.say(&framed(&message(1)));
        assert_eq!(receive(&mut serial, 1), [Some(message(1))]);
        drop(serial);
        peer.open();
    }

    #[test]
    fn messages_pass_both_ways() {
        let mut peer = Peer::new();
        let mut serial = peer.open();
        let mut heard = Vec::new();
        for number in 0..300 {
            assert!(serial.send(&message(number)).unwrap());
            assert_eq!(peer.hear(&mut heard, number + 1), FRAME);
            peer.say(&framed(&message(number + 1_000)));
            assert_eq!(receive(&mut serial, 1), [Some(message(number + 1_000))]);
        }
        assert!(heard.into_iter().eq((0..300).map(message).map(Some)));
        assert!(serial.flush_pending().unwrap());
    }

    #[test]
    fn every_byte_passes_as_it_is() {
        let peer = Peer::new();
        let mut serial = peer.open();
        // Among them those that a terminal acts on: interrupt, end of file, XOFF, carriage return.
        for first in [0, 100, 200] {
            let message: [u8; LEN] = std::array::from_fn(|i| (first + i) as u8);
            peer.say(&framed(&message));
            assert_eq!(receive(&mut serial, 1), [Some(message)]);
        }
    }

    #[test]
    fn nothing_there_is_no_error_and_does_not_wait() {
        let peer = Peer::new();
        let mut serial = peer.open();
        for _ in 0..3 {
            serial.receive(|_| panic!("nobody sent anything")).unwrap();
        }
        assert!(serial.carrier(), "a pseudo-terminal has no modem lines");
    }

    #[test]
    fn what_was_queued_before_opening_is_thrown_away() {
        let peer = Peer::new();
        peer.say(&framed(&message(1)));
        // A terminal, which it still is, is readable at the end of a line.
        peer.say(b"\n");
        wait_for(&peer.held, PollFlags::IN);
        let mut serial = peer.open();
        peer.say(&framed(&message(2)));
        assert_eq!(receive(&mut serial, 1), [Some(message(2))]);
    }

    #[test]
    fn noise_costs_no_message_and_is_counted() {
        let peer = Peer::new();
        let mut serial = peer.open();
        peer.say(b"login: ");
        peer.say(&framed(&message(1)));
        peer.say(&[0x55; 1_000]);
        peer.say(&framed(&message(2)));
        peer.say(&framed(&message(3))[..FRAME / 2]);
        peer.say(&framed(&message(4)));
        assert_eq!(receive(&mut serial, 5), [Some(message(1)), None, Some(message(2)), None, Some(message(4))]);
    }

    #[test]
    fn a_flood_is_taken_in_bounded_pieces() {
        let mut peer = Peer::new();
        let mut serial = peer.open();
        fcntl_setfl(&peer.line, OFlags::NONBLOCK).unwrap();
        // Two bytes a frame: the most frames that a flood can have. The first comes before any delimiter.
        let flood = [1, 0].repeat(50_000);
        let (mut said, mut malformed) = (0, 1);
        while malformed < flood.len() / 2 {
            // As much as the line holds, which is more than is taken at once.
            while said < flood.len() {
                match peer.line.write(&flood[said..]) {
                    Ok(n) => said += n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => panic!("{e}"),
                }
            }
            wait_for(&serial, PollFlags::IN);
            let before = malformed;
            serial.receive(|m| malformed += usize::from(m.is_none())).unwrap();
            assert!(malformed - before <= MOST_RECEIVED / 2);
        }
    }

    #[test]
    fn a_full_line_drops_messages_and_then_goes_on_with_whole_ones() {
        let mut peer = Peer::new();
        let mut serial = peer.open();
        let (mut sent, mut heard, mut taken) = (Vec::new(), Vec::new(), 0);
        for round in 0..3 {
            let mut fill = (round * 10_000..).map(message);
            loop {
                let next = fill.next().unwrap();
                if !serial.send(&next).unwrap() {
                    break;
                }
                sent.push(Some(next));
                assert!(sent.len() < 100_000, "the line is never full");
            }
            // What it took in part is still to be completed; nothing else is on the line.
            let rest = usize::from(!serial.flush_pending().unwrap());
            taken += peer.hear(&mut heard, sent.len() - rest);
            while !serial.flush_pending().unwrap() {
                wait_for(&serial, PollFlags::OUT);
            }
            taken += peer.hear(&mut heard, sent.len());
            assert_eq!(taken, sent.len() * FRAME);
            assert_eq!(heard, sent);
        }
    }

    #[test]
    fn a_closed_other_end_is_an_error() {
        let peer = Peer::new();
        let mut serial = peer.open();
        assert!(serial.carrier());
        drop(peer);
        assert_eq!(failure(&mut serial), Some(libc::EIO));
        assert_eq!(failure(&mut serial), Some(libc::EIO), "it stays one");
        assert_eq!(serial.send(&message(1)).unwrap_err().raw_os_error(), Some(libc::EIO));
        assert!(!serial.carrier());
    }

    #[test]
    fn an_other_end_that_only_closed_is_an_error() {
        let Peer { line, held, .. } = Peer::new();
        // This side of a pseudo-terminal is not hung up when the other closes: read(2) itself says EIO.
        let mut serial = Serial { line, outgoing: Outgoing::new(), incoming: Deframer::new() };
        drop(held);
        assert_eq!(failure(&mut serial), Some(libc::EIO));
        assert!(!serial.carrier());
    }
}
