//! `cargo xtask lab`: break and mend the lab that `cargo xtask run` shows.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use heartbeat_tests::lab::control::{self, Subject, VERBS};

/// Break or mend the running lab: `cargo xtask lab cut a-net1`.
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct LabArgs {
    /// Which lab, if several are running [default: the newest]
    #[arg(long, value_name = "ID")]
    lab: Option<String>,

    /// What to do, or `list` for the labs that are running
    verb: String,

    /// To what: a cable, a network or a controller
    name: Option<String>,
}

fn after_help() -> String {
    let mut text = "Verbs:\n".to_owned();
    for verb in VERBS {
        let subject = match verb.subject {
            Subject::Cable => "CABLE",
            Subject::CableOrNetwork => "CABLE|NETWORK",
            Subject::Network => "NETWORK",
            Subject::Node => "a|b",
        };
        let _never_fails = writeln!(text, "  {:<10} {subject:<14} {}", verb.name, verb.does);
    }
    text.push_str("  list                      the labs that are running\n\nCables: a-net1, b-net1, a-net2, b-net2, client1-net1, client2-net2, xlink. Networks: net1, net2.");
    text
}

/// Says it to the lab and prints the answer.
pub(crate) fn run(args: &LabArgs) -> Result<()> {
    if args.verb == "list" {
        for id in control::running()? {
            println!("{id}");
        }
        return Ok(());
    }
    let name = args.name.as_deref().unwrap_or_default();
    println!("{}", control::send(args.lab.as_deref(), &format!("{} {name}", args.verb))?);
    Ok(())
}
