//! Two judgements against each other in virtual time: every fault that a pair can have, and a random walk over all.

mod adversity;
mod judging;
mod kernel;
mod life;
mod network;
mod orders;
mod partition;
mod side;
mod start;
mod walk;
mod world;
