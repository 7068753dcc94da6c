//! `cargo xtask bench`: figures with their budgets. The XDP program is measured by test-run, everything else in the lab.

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use nix::unistd::geteuid;

use crate::{setup, shell};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to measure; everything where none is named
    #[arg(value_enum)]
    what: Vec<Subject>,

    /// A few trials of each, to see that it runs; the figures mean little
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// A frame in the XDP program, beside an empty program
    Xdp,
    /// How late the verdict comes
    Overshoot,
    /// The stages of a takeover
    Takeover,
    /// CPU, memory and lateness
    Cost,
    /// Start and reload
    Start,
    /// What those who ask cost the pulse thread
    Load,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Overshoot => "overshoot",
            Self::Takeover => "takeover",
            Self::Cost => "cost",
            Self::Start => "start",
            Self::Load => "load",
        }
    }
}

/// Builds, then measures.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "the benchmarks load XDP programs and make network namespaces, so they need root. Type:\n    \
         sudo --preserve-env=HOME env \"PATH=$PATH\" cargo xtask bench"
    );
    setup::benchmarks()?;
    let wanted = |subject: &Subject| options.what.is_empty() || options.what.contains(subject);
    // The whole workspace each time: cargo would compile shared dependencies anew for another selection.
    shell::run(shell::cargo().args(["build", "--release", "--workspace", "--bins", "--benches"]))?;
    if wanted(&Subject::Xdp) {
        shell::run(shell::cargo().args(["bench", "--quiet", "--workspace", "--bench", "xdp"]))?;
    }
    let in_lab = [Subject::Overshoot, Subject::Takeover, Subject::Cost, Subject::Start, Subject::Load];
    let names: Vec<_> = in_lab.into_iter().filter(|subject| wanted(subject)).map(Subject::name).collect();
    if names.is_empty() {
        return Ok(());
    }
    shell::run(
        shell::cargo()
            .args(["bench", "--quiet", "--workspace", "--bench", "agent", "--"])
            .args(options.quick.then_some("--quick"))
            .args(names)
            .env("HEARTBEAT_BIN", shell::release_folder()?.join("heartbeat")),
    )
}
