//! How a message travels on a serial line, which has no packets of its own: byte-stuffed, between zero bytes.
//!
//! ```text
//! +------+---------------------------------------------+------+
//! | 0x00 | the message, COBS: LEN + 1 bytes, none zero | 0x00 |
//! +------+---------------------------------------------+------+
//! ```
//!
//! Consistent overhead byte stuffing (S. Cheshire, M. Baker, SIGCOMM 1997): a zero byte is a delimiter wherever it is,
//! so that whoever joins late, or heard noise, is in step again at the next one. The zero in front ends what noise
//! began. No checksum: the message has a tag (wire.rs), and that decides.

use crate::types::LINE_FRAME;
use heartbeat_ebpf::wire::LEN;
use std::io::{self, ErrorKind, Write};

/// Bytes of a message between its delimiters.
const ENCODED: usize = cobs::max_encoding_length(LEN);
/// Bytes of a message on the line, delimiters included.
pub(super) const FRAME: usize = LINE_FRAME;
// Below 254 bytes, the overhead is one byte whatever the content: all frames are equally long.
const _: () = assert!(LEN < 254 && FRAME == ENCODED + 2);

/// The message that is being sent: what the line did not take at once, it gets before anything else.
#[derive(Debug)]
pub(super) struct Outgoing {
    frame: [u8; FRAME],
    /// Bytes of `frame` that the line has taken; all of them where nothing is left to send.
    sent: usize,
}

impl Outgoing {
    pub(super) const fn new() -> Self {
        Self { frame: [0; FRAME], sent: FRAME }
    }

    /// Starts to send one message, after the rest of the one before. False where it is dropped: the line takes no byte
    /// of it, or not even that rest. A later message says more than an old one that waited.
    pub(super) fn send(&mut self, line: &mut impl Write, message: &[u8; LEN]) -> io::Result<bool> {
        if !self.flush(line)? {
            return Ok(false);
        }
        let len = cobs::encode_including_sentinels(message, &mut self.frame);
        debug_assert_eq!(len, FRAME);
        self.sent = 0;
        self.flush(line)?;
        let started = self.sent > 0;
        if !started {
            self.sent = FRAME;
        }
        Ok(started)
    }

    /// Goes on with the message that is begun. Whether nothing is left of it.
    pub(super) fn flush(&mut self, line: &mut impl Write) -> io::Result<bool> {
        while self.sent < FRAME {
            match line.write(&self.frame[self.sent..]) {
                Ok(0) => return Ok(false),
                Ok(n) => self.sent += n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

/// Finds the messages in what comes from a line, in the memory of one, whatever comes.
#[derive(Debug)]
pub(super) struct Deframer {
    /// What came since the last delimiter, still encoded.
    held: [u8; ENCODED],
    /// How much of `held` is filled. None where what comes is thrown away up to the next delimiter.
    len: Option<usize>,
}

impl Deframer {
    /// Begins in the middle of something: what comes before the first delimiter is nobody's fault.
    pub(super) const fn new() -> Self {
        Self { held: [0; ENCODED], len: None }
    }

    /// Takes what came, in pieces of any size. `take` gets each message once it is complete, and None for each frame
    /// that is none: of another length (told as soon as it is too long), or not COBS. Noise can be a message by chance.
    pub(super) fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Option<&[u8; LEN]>)) {
        for &byte in bytes {
            match (byte, self.len) {
                (0, len) => {
                    self.len = Some(0);
                    if let Some(len @ 1..) = len {
                        let decoded = cobs::decode_in_place(&mut self.held[..len]);
                        take(self.held.first_chunk().filter(|_| decoded == Ok(LEN)));
                    }
                }
                (_, None) => {}
                (_, Some(len)) => match self.held.get_mut(len) {
                    Some(free) => {
                        *free = byte;
                        self.len = Some(len + 1);
                    }
                    None => {
                        self.len = None;
                        take(None);
                    }
                },
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    type Messages = Vec<Option<[u8; LEN]>>;

    pub(in super::super) fn framed(message: &[u8; LEN]) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(Outgoing::new().send(&mut bytes, message).unwrap());
        bytes
    }

    fn fed(deframer: &mut Deframer, bytes: &[u8]) -> Messages {
        let mut messages = Messages::new();
        deframer.feed(bytes, |m| messages.push(m.copied()));
        messages
    }

    fn counting(from: u8) -> [u8; LEN] {
        std::array::from_fn(|i| from.wrapping_add(i as u8))
    }

    /// Pseudo-random bytes: splitmix64.
    fn noise(mut seed: u64) -> impl Iterator<Item = u8> {
        std::iter::repeat_with(move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb).to_be_bytes()[0]
        })
    }

    /// A line that takes so many bytes a call, and what it got; none is EAGAIN.
    struct Narrow {
        took: Vec<u8>,
        takes: Vec<usize>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.takes.pop() {
                None | Some(0) => Err(ErrorKind::WouldBlock.into()),
                Some(n) => self.took.write(&bytes[..n.min(bytes.len())]),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn any_message() -> impl Strategy<Value = [u8; LEN]> {
        // Many zeros: what COBS is about.
        prop::collection::vec(prop_oneof![Just(0), any::<u8>()], LEN).prop_map(|v| v.try_into().unwrap())
    }

    proptest! {
        #[test]
        fn a_message_comes_back_from_its_frame(message in any_message()) {
            let bytes = framed(&message);
            prop_assert_eq!(bytes.len(), FRAME);
            prop_assert!(bytes[1..FRAME - 1].iter().all(|&b| b != 0));
            prop_assert_eq!((bytes[0], bytes[FRAME - 1]), (0, 0));
            prop_assert_eq!(fed(&mut Deframer::new(), &bytes), [Some(message)]);
        }

        #[test]
        fn messages_survive_noise_between_them(
            messages in prop::collection::vec((any_message(), prop::collection::vec(any::<u8>(), 0..400)), 1..5),
            first in prop::collection::vec(any::<u8>(), 0..400),
            piece in 1_usize..200,
        ) {
            let mut bytes = first;
            for (message, noise) in &messages {
                bytes.extend(framed(message));
                bytes.extend(noise);
            }
            let mut deframer = Deframer::new();
            let mut found = bytes.chunks(piece).flat_map(|piece| fed(&mut deframer, piece)).flatten();
            // Noise of just this length can be COBS by chance, which the tag refuses: so there may be more.
            prop_assert!(messages.iter().all(|(message, _)| found.any(|f| f == *message)));
        }

        #[test]
        fn whatever_a_line_takes_only_whole_frames_are_on_it(takes in prop::collection::vec(0..200_usize, 0..40)) {
            let (mut outgoing, mut line) = (Outgoing::new(), Narrow { took: Vec::new(), takes });
            let mut sent = Messages::new();
            for number in 0..40 {
                if outgoing.send(&mut line, &counting(number)).unwrap() {
                    sent.push(Some(counting(number)));
                }
            }
            line.takes = vec![1; FRAME];
            prop_assert!(outgoing.flush(&mut line).unwrap());
            prop_assert_eq!(line.took.len(), sent.len() * FRAME);
            prop_assert_eq!(fed(&mut Deframer::new(), &line.took), sent);
        }
    }

    #[test]
    fn a_frame_can_be_split_anywhere() {
        let bytes = [framed(&[0; LEN]), framed(&counting(200))].concat();
        for at in 0..=bytes.len() {
            let mut deframer = Deframer::new();
            let mut messages = fed(&mut deframer, &bytes[..at]);
            messages.extend(fed(&mut deframer, &bytes[at..]));
            assert_eq!(messages, [Some([0; LEN]), Some(counting(200))], "split at {at}");
        }
    }

    #[test]
    fn half_a_frame_costs_no_other() {
        let (half, next) = (framed(&counting(200)), framed(&counting(8)));
        for cut in 0..FRAME {
            // Its beginning, as when the sender is started again.
            let before: &[_] = match cut {
                0 | 1 => &[],
                // The next one's delimiter completes it.
                _ if cut == FRAME - 1 => &[Some(counting(200))],
                _ => &[None],
            };
            let messages = fed(&mut Deframer::new(), &[&half[..cut], &next].concat());
            assert_eq!(messages, [before, &[Some(counting(8))]].concat(), "cut at {cut}");
            // Its end, as when we join late.
            let messages = fed(&mut Deframer::new(), &[&half[cut.max(1)..], &next].concat());
            assert_eq!(messages, [Some(counting(8))], "joined at {cut}");
        }
    }

    #[test]
    fn a_lost_byte_costs_one_message() {
        let frame = framed(&counting(7));
        for lost in 1..FRAME - 1 {
            let mut bytes = [&framed(&counting(6))[..], &frame, &framed(&counting(8))].concat();
            bytes.remove(FRAME + lost);
            assert_eq!(fed(&mut Deframer::new(), &bytes), [Some(counting(6)), None, Some(counting(8))], "lost {lost}");
        }
    }

    #[test]
    fn a_lost_delimiter_costs_nothing() {
        for lost in [0, FRAME - 1] {
            let mut bytes = [framed(&counting(6)), framed(&counting(7)), framed(&counting(8))].concat();
            bytes.remove(FRAME + lost);
            assert_eq!(fed(&mut Deframer::new(), &bytes), [6, 7, 8].map(|n| Some(counting(n))));
        }
    }

    #[test]
    fn frames_of_another_length_are_malformed() {
        for len in [0, 1, LEN - 1, LEN + 1, LEN + 2, 253, 254, 255, 1_000] {
            let mut bytes = vec![0; cobs::max_encoding_length(len) + 2];
            let n = cobs::encode_including_sentinels(&vec![0xaa; len], &mut bytes);
            bytes.truncate(n);
            bytes.extend(framed(&counting(9)));
            assert_eq!(fed(&mut Deframer::new(), &bytes), [None, Some(counting(9))], "{len} bytes");
        }
    }

    #[test]
    fn delimiters_alone_are_nothing() {
        assert_eq!(fed(&mut Deframer::new(), &[0; 1_000]), []);
    }

    #[test]
    fn garbage_without_end_is_counted_once_and_costs_no_message() {
        let mut deframer = Deframer::new();
        assert_eq!(fed(&mut deframer, &[0]), []);
        assert_eq!(fed(&mut deframer, &vec![0x55; 1 << 20]), [None]);
        assert_eq!(fed(&mut deframer, &framed(&counting(1))), [Some(counting(1))]);
    }

    #[test]
    fn a_mebibyte_of_noise_has_no_message_and_costs_none() {
        let mut deframer = Deframer::new();
        let noise: Vec<u8> = noise(1).take(1 << 20).collect();
        let messages = fed(&mut deframer, &noise);
        assert!(messages.len() > 1_000 && messages.iter().all(Option::is_none));
        assert_eq!(fed(&mut deframer, &framed(&counting(1))).last(), Some(&Some(counting(1))));
    }

    #[test]
    fn a_line_that_takes_nothing_gets_the_latest_message_later() {
        let (mut outgoing, mut line) = (Outgoing::new(), Narrow { took: Vec::new(), takes: vec![0] });
        assert!(!outgoing.send(&mut line, &counting(1)).unwrap());
        line.takes = vec![FRAME];
        assert!(outgoing.flush(&mut line).unwrap(), "nothing of the first is left");
        assert!(outgoing.send(&mut line, &counting(2)).unwrap());
        assert_eq!(fed(&mut Deframer::new(), &line.took), [Some(counting(2))]);
    }

    #[test]
    fn a_message_that_is_begun_is_completed_before_the_next() {
        for part in 1..FRAME {
            let (mut outgoing, mut line) = (Outgoing::new(), Narrow { took: Vec::new(), takes: vec![part] });
            assert!(outgoing.send(&mut line, &counting(1)).unwrap(), "it is on its way");
            assert!(!outgoing.send(&mut line, &counting(2)).unwrap(), "the first is still there");
            assert!(!outgoing.flush(&mut line).unwrap());
            line.takes = vec![FRAME, FRAME - part];
            assert!(outgoing.send(&mut line, &counting(3)).unwrap());
            assert_eq!(fed(&mut Deframer::new(), &line.took), [Some(counting(1)), Some(counting(3))], "{part} bytes");
        }
    }

    #[test]
    fn errors_of_the_line_come_out() {
        struct Gone;

        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let e = Outgoing::new().send(&mut Gone, &counting(1)).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::EIO));
    }
}
