//! What the ownership of groups is decided by, and what follows from it.

use crate::{
    core::{
        event::{Reason, Withheld},
        safety::Safety,
    },
    types::{GroupIndex, Node},
};

/// What is known of the peer and of ourselves, as of now.
#[derive(Clone, Copy, Debug)]
pub struct OwnershipFacts {
    /// Some channel works.
    pub peer_good: bool,
    /// All channels are dead.
    pub peer_dead: bool,
    /// It said that it leaves.
    pub peer_leaving: bool,
    /// The groups that it holds, or may hold.
    pub peer_owned: u64,
    /// Of those, the ones of which that is not known: they are not claimed, and no conflict either.
    pub peer_unknown: u64,
    /// Its term.
    pub peer_term: u64,
    /// It knows that both hold something, and of that it took these groups from us.
    pub peer_taken: Option<u64>,
    /// The groups that we wish to be handed.
    pub wants: u64,
    /// What the peer said last, it said knowing that; or it knows nothing of us, and never will.
    pub heeded: bool,
    /// The groups that the peer wishes to be handed.
    pub peer_wants: u64,
    /// Those of them that are the peer's to have, if we let go of them.
    pub granted: u64,
    /// Why they are: a verdict, or a wish of somebody's.
    pub granted_for: Reason,
    /// Why we wish for what we wish for.
    pub wants_for: Reason,
    /// An operator wants nothing to move, here or there.
    pub maintenance: bool,
    /// Groups that the peer kept when it left: it could not let go of them.
    pub kept: u64,
    /// What the guards say where the peer is silent.
    pub guard: Guard,
    /// The same of claims that need the fence, where there is one: of all groups but the exclusive ones that are safe without.
    pub fence: Guard,
    /// Groups that must never be held twice, and what makes it safe to take some of them.
    pub exclusive: u64,
    /// See `exclusive`.
    pub safety: Safety,
    /// The peer's kernel says for which groups it keeps silent; for these.
    pub confirms: bool,
    /// See `confirms`.
    pub closed: u64,
    /// What its host may serve.
    pub served: u64,
    /// Its kernel obeys a higher term than this.
    pub host_term: u64,
    /// The peer, which we hear, hears us nowhere.
    pub deaf: bool,
    /// Of what both hold, what it keeps whatever the terms: it finds us dead.
    pub deaf_keeps: u64,
    /// What is to be let go of at once, because we are alone.
    pub let_go: LetGo,
    /// It counts the same groups as we do.
    pub same_groups: bool,
    /// What an earlier life left is still being let go of.
    pub leftovers: bool,
    /// Somebody else speaks for this controller.
    pub occupied: bool,
}

/// What the guards say of a claim from a silent peer (rule 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing speaks against it.
    Clear,
    /// One of them has yet to answer.
    Asking,
    /// One objects.
    Objects(Withheld),
}

/// What to do about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add its addresses.
    Acquire(GroupIndex, Reason),
    /// Remove them.
    Release(GroupIndex, Reason),
    /// The same of one that could not be let go of before, and is not held.
    Retry(GroupIndex),
    /// Both held it, we keep it, and the other one holds it no more.
    Settled(GroupIndex),
    /// Both hold it; kept by this one. `Release` follows where that is not us.
    Dual(GroupIndex, Node),
    /// Something is not acquired, for this reason.
    Withhold(Withheld),
}

/// Groups that are to be let go of, and for which the kernel keeps silent at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetGo {
    /// We are cut off, or the peer finds us dead.
    pub cut_off: u64,
    /// The arbiter does not grant them, or not any more.
    pub not_granted: u64,
}
