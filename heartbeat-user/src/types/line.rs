//! What a serial line can carry (termios(3)).

use super::Nanos;
use heartbeat_ebpf::wire::LEN;
use std::path::PathBuf;

/// The speeds that have a name in termios(3), from 1200 baud.
pub const SERIAL_SPEEDS: [u32; 22] = [
    1_200, 1_800, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 500_000, 576_000, 921_600,
    1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
];
/// Start bit, 8 data bits, stop bit.
const BITS_PER_BYTE: u64 = 10;
/// Bytes of a heartbeat on a line: one more for the stuffing, and one at each end.
pub const LINE_FRAME: usize = LEN + 3;

/// Which line, and how fast.
#[derive(Clone, Debug)]
pub struct SerialLine {
    /// The device, such as `/dev/ttyS0`; better a name that stays, below `/dev/serial/by-path`.
    pub device: PathBuf,
    /// In baud, one of those that [`is_speed`] accepts; the same on both sides.
    pub speed: u32,
}

/// Whether a line can be run at so many baud: the speeds of termios(3) from 1200 to 4000000. No UART has them all.
#[must_use]
pub fn is_speed(baud: u32) -> bool {
    SERIAL_SPEEDS.contains(&baud)
}

/// The shortest interval of heartbeats that uses at most half of a line's capacity, in each direction: 2 × 163 bytes ×
/// 10 bits / `baud`. A heartbeat is half of that on its way; the other half lets a backlog go away. 28.3 ms at 115200
/// baud, 2.72 s at 1200; [`Nanos::NEVER`] at 0.
#[must_use]
pub const fn least_interval(baud: u32) -> Nanos {
    match baud {
        0 => Nanos::NEVER,
        _ => Nanos((2 * LINE_FRAME as u64 * BITS_PER_BYTE * 1_000_000_000).div_ceil(baud as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_those_of_termios() {
        assert!(SERIAL_SPEEDS.is_sorted());
        assert!(SERIAL_SPEEDS.iter().all(|&baud| is_speed(baud)));
        for baud in [0, 1, 300, 1_199, 9_601, 115_201, 4_000_001, u32::MAX] {
            assert!(!is_speed(baud), "{baud}");
        }
    }

    #[test]
    fn a_heartbeat_uses_half_of_the_line_at_most() {
        // 163 bytes of 10 bits, twice: 3260 bit times.
        assert_eq!(least_interval(1_200), Nanos(2_716_666_667));
        assert_eq!(least_interval(9_600), Nanos(339_583_334));
        assert_eq!(least_interval(115_200), Nanos(28_298_612));
        assert_eq!(least_interval(4_000_000), Nanos(815_000));
        assert_eq!(least_interval(0), Nanos::NEVER);
    }
}
