//! Which hooks run, on record: what is left of one, whoever comes after a life that died meanwhile ends, and waits until it is gone,
//! before anything else of its group is run, and before that counts as released.
//!
//! A run has a mark of its own in its environment. What a hook that ended by itself left running, it left on purpose: its mark is on
//! record no more.

use super::runtime_dir::{RuntimeDir, remove, replace};
use crate::command::{self, Remains};
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    time::Duration,
};

/// The largest record that is read, in bytes: 64 groups, of each of which one hook runs, have some 10 KiB.
const MAX_FILE: u64 = 1024 * 1024;

/// What runs, or was left half-way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    mark: String,
    /// The group, by name.
    group: String,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Runs {
    folder: RuntimeDir,
    /// This life's, in hexadecimal digits.
    life: String,
    /// So many were begun in this life.
    begun: u64,
    on_record: Vec<Run>,
}

impl Runs {
    /// Those that lives before left, and none of this one, which has this number.
    pub(super) fn read(folder: &RuntimeDir, incarnation: u64) -> Self {
        let on_record = read(folder).unwrap_or_else(|error| {
            log::error!("{error:#}: what is left of hooks that an earlier life had begun is not ended");
            Vec::new()
        });
        Self { folder: folder.clone(), life: format!("{incarnation:x}"), begun: 0, on_record }
    }

    /// The groups of which something was left half-way, by name.
    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.on_record.iter().map(|run| run.group.as_str())
    }

    /// The marks of what was left half-way of a group.
    pub(super) fn left(&self, group: &str) -> Vec<String> {
        self.on_record.iter().filter(|run| run.group == group).map(|run| run.mark.clone()).collect()
    }

    /// A hook of a group is about to run: its mark, for its environment; and whether that is on record, for if not, and this life dies,
    /// nobody will know of it.
    pub(super) fn begin(&mut self, group: &str) -> (String, Result<()>) {
        self.begun += 1;
        let mark = format!("{}.{}", self.life, self.begun);
        self.on_record.push(Run { mark: mark.clone(), group: group.to_owned() });
        (mark, self.write().context("if this agent dies meanwhile, nobody will end what it began"))
    }

    /// They ended, and nothing is left of them but what is to be left.
    pub(super) fn end(&mut self, marks: &[String]) {
        let before = self.on_record.len();
        self.on_record.retain(|run| !marks.contains(&run.mark));
        if self.on_record.len() == before {
            return;
        }
        if let Err(error) = self.write() {
            log::warn!("{error:#}: the next life may end what this hook left running");
        }
    }

    /// Puts it where it belongs, also where somebody took it away.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self) -> Result<()> {
        let path = self.folder.runs();
        let written = match &self.on_record[..] {
            [] => remove(&path),
            runs => serde_json::to_vec(runs).map_err(io::Error::from).and_then(|text| replace(&path, &text)),
        };
        written.with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// Ends here and now what was left half-way of a group, waiting for each process for at most so long.
    ///
    /// # Errors
    /// Something of it is still there.
    pub(super) fn end_left(&mut self, group: &str, patience: Duration) -> Result<()> {
        for mark in self.left(group) {
            let remains = Remains::end_marked(of(group), mark.clone());
            ensure!(
                remains.wait(patience),
                "killed, and not gone before what they wait for, such as a disk, answers: {}",
                remains.there().join(", ")
            );
            self.end(&[mark]);
        }
        Ok(())
    }
}

/// Ends what has one of these marks of a group's hooks, and waits until it is gone.
pub(super) async fn end_all(group: &str, marks: &[String]) {
    for mark in marks {
        command::end_marked(&of(group), mark).await;
    }
}

fn of(group: &str) -> String {
    format!("group {group}: a hook")
}

fn read(folder: &RuntimeDir) -> Result<Vec<Run>> {
    let path = folder.runs();
    let shown = path.display();
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.with_context(|| format!("{shown}: cannot be opened"))?,
    };
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).with_context(|| format!("{shown}: cannot be read"))?;
    serde_json::from_slice(&text).with_context(|| format!("{shown}: no record of hooks that run"))
}

/// Nothing runs, and nobody is to look for anything.
pub(super) fn forget(folder: &RuntimeDir) {
    let _ = fs::remove_file(folder.runs());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn folder() -> (tempfile::TempDir, RuntimeDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = RuntimeDir::open(&folder.path().join("run")).unwrap();
        (folder, dir)
    }

    #[test]
    fn what_runs_is_on_record_until_it_ended_and_the_next_life_knows() {
        let (_guard, dir) = folder();
        let mut runs = Runs::read(&dir, 0xabc);
        let [(first, on_record), (second, _)] = ["storage-a", "storage-b"].map(|group| runs.begin(group));
        assert!(on_record.is_ok() && (first.as_str(), second.as_str()) == ("abc.1", "abc.2"));
        runs.end(&[second]);
        let mut next = Runs::read(&dir, 0xdef);
        assert_eq!(
            (next.groups().collect::<Vec<_>>(), next.left("storage-a")),
            (vec!["storage-a"], vec![first.clone()])
        );
        assert_eq!(next.left("storage-b"), [] as [&str; 0]);
        // Another one beside it, and both are on record, also where somebody empties the folder.
        let (third, _) = next.begin("storage-a");
        fs::remove_file(dir.runs()).unwrap();
        next.write().unwrap();
        assert_eq!(Runs::read(&dir, 1).left("storage-a"), [first.clone(), third.clone()]);
        next.end(&[first, third]);
        assert!(!dir.runs().exists());
        fs::write(dir.runs(), "no list").unwrap();
        assert_eq!(Runs::read(&dir, 1).groups().count(), 0);
    }

    #[test]
    fn what_was_left_is_ended_and_what_has_another_mark_or_none_is_not() {
        let (_guard, dir) = folder();
        let mut runs = Runs::read(&dir, 0x1234_5678);
        let (mark, _) = runs.begin("storage-a");
        // A session of its own whose parent has ended, and one more below it.
        let left = |mark: Option<&str>| {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", "setsid sh -c 'echo $$; sleep 1000 & wait' &"]).stdout(Stdio::piped());
            shell.envs(mark.map(|mark| (command::MARK, mark)));
            let mut child = shell.spawn().unwrap();
            let mut line = String::new();
            io::BufRead::read_line(&mut io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
            child.wait().unwrap();
            line.trim().parse::<u32>().unwrap()
        };
        let lives = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        let (ours, other, plain) = (left(Some(&mark)), left(Some(&format!("{mark}1"))), left(None));
        assert!([ours, other, plain].into_iter().all(lives));
        runs.end_left("storage-b", Duration::from_secs(20)).unwrap();
        assert!(lives(ours));
        runs.end_left("storage-a", Duration::from_secs(20)).unwrap();
        assert_eq!([lives(ours), lives(other), lives(plain)], [false, true, true]);
        assert_eq!(runs.groups().count(), 0);
        let groups = [other, plain].map(|pid| nix::unistd::Pid::from_raw(pid.cast_signed()));
        groups
            .into_iter()
            .for_each(|group| nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap());
    }
}
