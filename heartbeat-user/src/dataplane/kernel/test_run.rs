//! The program run on a frame that came in nowhere (BPF_PROG_TEST_RUN), for tests and benchmarks.

use super::Kernel;
use crate::dataplane::program;
use anyhow::Result;
use aya::{TestRun as _, TestRunOptions};
use heartbeat_ebpf::layout;
use std::time::Duration;

/// A program of the object, for [`Kernel::test_run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// The program that counts heartbeats.
    Heartbeat,
    /// One that passes everything: what a run costs without us.
    Empty,
}

impl Kernel {
    /// Runs a program `repeat` times on `frame`, as if it had come in at the loopback interface (index 1): its verdict,
    /// and the mean time of a run. For tests and benchmarks; slots and histograms count as with a real frame.
    ///
    /// # Errors
    /// Where the kernel refuses; it takes frames of 14 bytes to 3 KiB or so.
    pub fn test_run(&mut self, yardstick: Yardstick, frame: &[u8], repeat: u32) -> Result<(u32, Duration)> {
        let program = match yardstick {
            Yardstick::Heartbeat => &mut self.program,
            Yardstick::Empty => {
                let ebpf = match self.yardstick.take() {
                    Some(loaded) => loaded,
                    None => program::empty(&self.folder)?,
                };
                program::xdp(self.yardstick.insert(ebpf), layout::program::EMPTY)?
            }
        };
        let result = program.test_run(TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() })?;
        Ok((result.return_value, result.duration))
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
