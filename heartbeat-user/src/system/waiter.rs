//! What a thread waits for: any of its descriptors, or a time. The time is absolute: a thread that is preempted on its way to
//! sleep wakes no later for it.

use crate::types::Nanos;
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
};
use std::{io, os::fd::AsFd};

/// Longest sleep, in ms: even an agent without channels gives a sign of life.
const LONGEST: u16 = 1_000;
/// Most descriptors of one look; the others are told by the next one.
const EVENTS: usize = 80;
/// The number of the timer; those of descriptors are below.
const TIMER: u8 = 127;

/// Descriptors, each with a number from 0 to 126, and a timer.
#[derive(Debug)]
pub struct Waiter {
    epoll: Epoll,
    timer: TimerFd,
}

/// Which descriptors have something to be read, a bit each by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready(u128);

impl Ready {
    /// Whether that of this number has.
    #[must_use]
    pub const fn has(self, number: u8) -> bool {
        self.0 >> number & 1 == 1
    }

    /// Whether any has.
    #[must_use]
    pub const fn any(self) -> bool {
        self.0 != 0
    }
}

impl Waiter {
    /// One that waits for nothing but time.
    ///
    /// # Errors
    /// When the process has no more file descriptors.
    pub fn new() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let waiter = Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, timer };
        waiter.add(&waiter.timer, TIMER)?;
        Ok(waiter)
    }

    /// Waits for what can be read of `fd`, too, until it is closed or [`Waiter::remove`]d.
    ///
    /// # Errors
    /// EEXIST: it is there already; ENOSPC: the user has too many.
    pub fn add(&self, fd: impl AsFd, number: u8) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, number.into()))?)
    }

    /// No longer; where it was not there, nothing happens.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = self.epoll.delete(fd);
    }

    /// Waits until `deadline` on CLOCK_MONOTONIC, or until something can be read; a second at most.
    ///
    /// # Errors
    /// Only when a descriptor is not one.
    pub fn wait(&self, deadline: Nanos) -> io::Result<Ready> {
        // 0 would be no time at all. Setting it makes an expiry before forgotten.
        let at = deadline.0.max(1);
        let at = TimeSpec::new((at / 1_000_000_000) as i64, (at % 1_000_000_000) as i64);
        self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        let mut events = [EpollEvent::empty(); EVENTS];
        match self.epoll.wait(&mut events, EpollTimeout::from(LONGEST)) {
            Ok(count) => {
                let numbers = events[..count].iter().map(|event| event.data() as u8 & 127);
                Ok(Ready(numbers.filter(|&number| number != TIMER).fold(0, |bits, number| bits | 1 << number)))
            }
            Err(Errno::EINTR) => Ok(Ready::default()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{bell::Bell, clock},
        *,
    };

    #[test]
    fn it_wakes_at_its_time_and_at_once_where_that_is_over() {
        let waiter = Waiter::new().unwrap();
        for (ahead, least) in [(20, 20), (0, 0), (5, 5)] {
            let now = clock::monotonic();
            let ready = waiter.wait(now.after(Nanos::from_millis(ahead))).unwrap();
            assert!(!ready.any());
            let took = clock::monotonic().since(now);
            assert!(took >= Nanos::from_millis(least) && took < Nanos::from_millis(900), "{ahead}: {took:?}");
        }
        let start = clock::monotonic();
        waiter.wait(Nanos(1)).unwrap();
        assert!(clock::monotonic().since(start) < Nanos::from_millis(900));
    }

    #[test]
    fn it_tells_which_descriptors_can_be_read_until_they_are_removed() {
        let waiter = Waiter::new().unwrap();
        let (first, second) = (Bell::new().unwrap(), Bell::new().unwrap());
        waiter.add(&first, 3).unwrap();
        waiter.add(&second, 66).unwrap();
        assert!(waiter.add(&second, 4).is_err());
        first.ring();
        second.ring();
        let ready = waiter.wait(Nanos::NEVER).unwrap();
        assert!(ready.has(3) && ready.has(66) && !ready.has(4));
        first.silence();
        assert!(!waiter.wait(Nanos(1)).unwrap().has(3));
        waiter.remove(&second);
        waiter.remove(&second);
        assert!(!waiter.wait(Nanos(1)).unwrap().any());
    }
}
