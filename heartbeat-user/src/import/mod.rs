//! Configurations of others as one of ours: keepalived's, of one or both nodes.
//!
//! ```text
//! files -> lines that count (source) -> keywords and blocks (tree) -> what one node is told (node) -> one configuration for both (translate)
//! ```
//! The language and its keywords are those of keepalived.conf(5). What has no counterpart is named with its file, its line, and what to do
//! instead: [`Finding`]. What is broken is refused: [`Problem`]. Nothing is guessed that could move something at a wrong moment.

#![forbid(unsafe_code)]

mod addresses;
mod checks;
mod definitions;
mod error;
mod files;
mod finding;
mod instances;
mod keywords;
mod model;
mod names;
mod node;
mod place;
mod reading;
mod shared;
mod source;
#[cfg(test)]
mod tests;
mod translate;
mod tree;
mod words;

pub use error::{Fault, ImportError, Problem};
pub use finding::{Finding, FindingKind};
pub use place::Place;

use reading::Reading;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use translate::File;

/// What the files do not say, or say for several nodes.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The ids that keepalived is started with on controller a and b, for lines such as `@high priority 150`.
    pub ids: [Option<String>; 2],
    /// The controllers' host names.
    pub hostnames: [Option<String>; 2],
    /// The pair's id; without it, the first `virtual_router_id` is taken.
    pub pair_id: Option<u32>,
    /// Controller a's own addresses, by its interface.
    pub own_addresses: Vec<(String, IpAddr)>,
    /// Controller b's own addresses, by a's name for the interface.
    pub peer_addresses: Vec<(String, IpAddr)>,
    /// Interfaces that are called otherwise on b: a's name, b's name.
    pub peer_interfaces: Vec<(String, String)>,
}

/// What the files come to.
#[derive(Clone, Debug)]
pub struct Imported {
    /// A configuration for both controllers, in TOML.
    pub toml: String,
    /// What is to be said about it, in the order of the files.
    pub findings: Vec<Finding>,
}

impl Imported {
    /// Whether nothing was lost, and nothing is to be filled in.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.kind == FindingKind::Note)
    }
}

/// Makes one configuration of keepalived's of controller a, `file`, and of b: `other`, or `file` once more with b's id.
///
/// # Errors
/// All that is wrong with the files; or what they come to would be refused.
pub fn keepalived(file: &Path, other: Option<&Path>, options: &ImportOptions) -> Result<Imported, ImportError> {
    let mut paths: Vec<PathBuf> = vec![file.to_owned()];
    paths.extend(other.map(Path::to_owned));
    if other.is_none() && options.ids[1].is_some() {
        paths.push(file.to_owned());
    }
    let (mut problems, mut findings, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for (path, id) in paths.iter().zip(&options.ids) {
        let source = match source::read(path, id.as_deref()) {
            Ok(source) => source,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let items = match tree::tree(&source.lines) {
            Ok(items) => items,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let mut reading = Reading::default();
        for (place, text) in &source.unmatched {
            reading.findings.push(Finding::new(
                FindingKind::Note,
                place,
                text,
                "no such file: there is nothing to include",
            ));
        }
        let node = node::node(&items, &mut reading);
        problems.extend(reading.problems);
        findings.extend(reading.findings);
        files.push(File { name: path.display().to_string(), node });
    }
    problems.dedup();
    if !problems.is_empty() {
        return Err(ImportError::Problems(problems));
    }
    let (toml, said) = translate::translate(&files, options)?;
    findings.extend(said);
    Ok(Imported { toml, findings: in_order(findings, &paths) })
}

/// By file and line; what is said of several places, once.
fn in_order(mut findings: Vec<Finding>, paths: &[PathBuf]) -> Vec<Finding> {
    let of =
        |place: &Place| paths.iter().position(|path| *path.display().to_string() == *place.file).unwrap_or(paths.len());
    findings.sort_by_key(|finding| {
        let place = &finding.places[0];
        (of(place), place.file.clone(), place.line, finding.kind)
    });
    let mut known: HashMap<(FindingKind, String, String), usize> = HashMap::new();
    let mut once: Vec<Finding> = Vec::new();
    for finding in findings {
        let at = *known.entry((finding.kind, finding.what.clone(), finding.instead.clone())).or_insert(once.len());
        match once.get_mut(at) {
            None => once.push(finding),
            Some(first) => {
                let more: Vec<Place> =
                    finding.places.into_iter().filter(|place| first.places.last() != Some(place)).collect();
                first.places.extend(more);
            }
        }
    }
    once
}
