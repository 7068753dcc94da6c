//! From what one or two nodes are told to one configuration of ours.

mod channels;
mod checks;
mod groups;
mod hooks;
mod pairs;
mod program;
mod text;
mod timing;
mod units;

use super::ImportOptions;
use super::error::{Fault, ImportError, Problem};
use super::finding::{Finding, FindingKind};
use super::model::Node;
use super::place::Place;
use crate::config::Config;
use text::Draft;

/// A file that was read: how messages call it, and what it says.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) node: Node,
}

/// What is said about the files beside the configuration.
#[derive(Debug, Default)]
struct Said {
    problems: Vec<Problem>,
    findings: Vec<Finding>,
}

impl Said {
    fn wrong(&mut self, place: &Place, what: &str, fault: Fault) {
        self.problems.push(Problem::new(place, what, fault));
    }

    fn say(&mut self, kind: FindingKind, place: &Place, what: &str, instead: impl Into<String>) {
        self.findings.push(Finding::new(kind, place, what, instead));
    }

    fn lost(&mut self, place: &Place, what: &str, instead: impl Into<String>) {
        self.say(FindingKind::Lost, place, what, instead);
    }

    fn note(&mut self, place: &Place, what: &str, instead: impl Into<String>) {
        self.say(FindingKind::Note, place, what, instead);
    }
}

/// The configuration that the files of controller a, and b where there are two, come to, and what is to be said about it.
///
/// # Errors
/// What is wrong with the files as those of a pair.
pub(super) fn translate(files: &[File], options: &ImportOptions) -> Result<(String, Vec<Finding>), ImportError> {
    let mut said = Said::default();
    let pairs = pairs::pairs(files, &mut said);
    stop_at_problems(&said)?;
    let mut channels = channels::channels(files, &pairs, options, &mut said);
    stop_at_problems(&said)?;
    let groups = groups::groups(files, &pairs, &mut channels, &mut said);
    let tracked = channels::tracked(files, &mut channels, options, &mut said);
    stop_at_problems(&said)?;
    let draft = Draft {
        files: files.iter().map(|file| file.name.clone()).collect(),
        pair_id: pairs::id(&pairs, options)?,
        hostnames: options.hostnames.clone(),
        timing: timing::timing(&pairs, files, &mut said),
        announce: timing::announce(files),
        checks: checks::checks(files, &mut said),
        channels: channels::finished(channels, tracked, &mut said),
        groups,
    };
    // Whatever the files say, nothing is written that an agent would refuse; what is to be filled in aside.
    Config::parse(&draft.text(true), "the result")?;
    Ok((draft.text(false), said.findings))
}

fn stop_at_problems(said: &Said) -> Result<(), ImportError> {
    if said.problems.is_empty() { Ok(()) } else { Err(ImportError::Problems(said.problems.clone())) }
}
