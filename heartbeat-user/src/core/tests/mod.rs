//! Two judgements against each other in virtual time: every fault that a pair can have, and a random walk over all.

mod kernel;
mod side;
mod walk;
mod world;
