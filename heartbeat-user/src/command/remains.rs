//! What is left of commands that were killed, or whose agent died: it is ended, and waited for.

use super::tree::Tree;
use std::{fs, time::Duration};
use tokio::{
    process::Child,
    time::{Instant, sleep_until},
};

/// Whoever is not gone by then is said to be there.
const SAID_AFTER: Duration = Duration::from_secs(5);

/// Processes that were killed. Nothing that they do is over before they are gone: a process that waits for a disk cannot end before
/// the disk answers.
#[derive(Debug)]
pub struct Remains {
    /// What they were, for whoever wonders what is waited for.
    what: String,
    /// The command itself, while it was not waited for.
    child: Option<Child>,
    tree: Option<Tree>,
}

impl Remains {
    /// Of a command that ended by itself: what it leaves running, it leaves on purpose.
    pub(super) const fn none() -> Self {
        Self { what: String::new(), child: None, tree: None }
    }

    /// Of a command that was killed.
    pub(super) const fn of(what: String, child: Child, tree: Option<Tree>) -> Self {
        Self { what, child: Some(child), tree }
    }

    /// Ends all processes with this mark in their environment, and all that descend from them, and says whom. That reads
    /// the environment of every process of this host, and waits for one whose memory is being changed. `what` they are of.
    #[must_use]
    pub fn end_marked(what: String, mark: String) -> Self {
        let mut tree = Tree::marked(mark);
        tree.stop();
        let mut remains = Self { what, child: None, tree: Some(tree) };
        let there = remains.there();
        if !there.is_empty() {
            log::warn!("{}: left half-way, so what is left of it is ended: {}", remains.what, there.join(", "));
        }
        remains.tree.iter_mut().for_each(Tree::kill);
        remains
    }

    /// Those that are not gone yet: number and name.
    #[must_use]
    pub fn there(&self) -> Vec<String> {
        let child = self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        let others = self.tree.iter().flat_map(Tree::there);
        let named = |pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{pid} ({})", name.trim_end())
        };
        child.into_iter().chain(others).map(named).collect()
    }

    /// Waits until they are gone, and says who is not where that takes long. Dropping the future changes nothing.
    pub async fn gone(&mut self) {
        let said_at = Instant::now() + SAID_AFTER;
        tokio::select! {
            biased;
            () = self.gone_in_silence() => return,
            () = sleep_until(said_at) => {}
        }
        log::warn!(
            "{}: killed, and not gone before what they wait for, such as a disk, answers: {}",
            self.what,
            self.there().join(", ")
        );
        self.gone_in_silence().await;
    }

    /// The same here and now, for each of them at most so long; whether they are.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        self.tree.as_ref().is_none_or(|tree| tree.wait(patience))
    }

    async fn gone_in_silence(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.wait().await;
            self.child = None;
        }
        if let Some(tree) = &self.tree {
            tree.gone().await;
        }
    }
}

/// Ends what has this mark, as [`Remains::end_marked`], and waits until it is gone.
pub async fn end_marked(what: &str, mark: &str) {
    let (what, mark) = (what.to_owned(), mark.to_owned());
    // On a thread of its own: what it reads may keep it waiting.
    if let Ok(mut remains) = tokio::task::spawn_blocking(move || Remains::end_marked(what, mark)).await {
        remains.gone().await;
    }
}
