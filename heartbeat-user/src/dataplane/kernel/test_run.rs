//! The program run on a frame that came in nowhere (BPF_PROG_TEST_RUN), for tests and benchmarks.

use super::Kernel;
use crate::dataplane::{bpf_link, program};
use anyhow::{Context as _, Result};
use aya::{TestRun as _, TestRunOptions};
use heartbeat_ebpf::layout;
use std::time::Duration;

/// A program of the object, for [`Kernel::test_run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// The program that counts heartbeats.
    Heartbeat,
    /// The one that keeps silent where frames leave.
    Outgoing,
    /// The one that keeps silent where frames come in without XDP.
    Incoming,
    /// One that passes everything: what a run costs without us.
    Empty,
    /// The same for tc.
    EmptyTc,
}

impl Kernel {
    /// Runs a program `repeat` times on `frame`, as if it had come in at the loopback interface (index 1): its verdict,
    /// and the mean time of a run. For tests and benchmarks; slots and histograms count as with a real frame.
    ///
    /// # Errors
    /// Where the kernel refuses; it takes frames of 14 bytes to 3 KiB or so.
    pub fn test_run(&mut self, yardstick: Yardstick, frame: &[u8], repeat: u32) -> Result<(u32, Duration)> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let result = match yardstick {
            Yardstick::Heartbeat => self.program.test_run(options)?,
            Yardstick::Outgoing => self.silence.program(true)?.test_run(options)?,
            Yardstick::Incoming => self.silence.program(false)?.test_run(options)?,
            Yardstick::Empty | Yardstick::EmptyTc => {
                let ebpf = match self.yardstick.take() {
                    Some(loaded) => loaded,
                    None => program::empty(&self.folder)?,
                };
                let ebpf = self.yardstick.insert(ebpf);
                if yardstick == Yardstick::Empty {
                    program::xdp(ebpf, layout::program::EMPTY)?.test_run(options)?
                } else {
                    program::tc(ebpf, layout::program::EMPTY_TC)?.test_run(options)?
                }
            }
        };
        Ok((result.return_value, result.duration))
    }

    /// Detaches the link of this pin, as `bpftool link detach` does.
    ///
    /// # Errors
    /// Where there is none.
    pub fn detach_by_hand(&self, pin: &str) -> Result<()> {
        bpf_link::detach(&self.folder.join(pin)).with_context(|| format!("detaching {pin}"))
    }

    /// Runs the program once on `frame`, as if it had come in at the interface of this index.
    ///
    /// # Errors
    /// As with [`Kernel::test_run`]; ENODEV: there is no such interface.
    pub fn test_run_at(&mut self, ifindex: u32, frame: &[u8]) -> Result<u32> {
        // `struct xdp_md` of linux/bpf.h: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, ifindex, 0, 0].map(u32::to_ne_bytes).concat();
        let options = TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), ..TestRunOptions::new() };
        Ok(self.program.test_run(options)?.return_value)
    }

    /// Runs the program once on `frame`, as [`Kernel::test_run`] does: its verdict, and the frame as it left it.
    ///
    /// # Errors
    /// As with [`Kernel::test_run`].
    pub fn test_turn(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = self.program.test_run(options)?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }
}
