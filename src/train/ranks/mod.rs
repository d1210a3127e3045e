//! Data parallelism that changes no bit: the micro-batches of a step divided into blocks, which several processes compute,
//! or one after the other.
//!
//! A step's micro-batches are divided into as many contiguous blocks as the recipe says. Gradients accumulate on the device
//! within a block; the sums of the blocks are read to the host and added in the order of the blocks, in f32. So the bits
//! depend on the number of blocks, and not on how many ranks compute them.
//!
//! The whole run is on rank 0, which sees one [`StepEngine`](super::StepEngine), [`DataParallel`]. The other ranks [work](work()):
//! they hold a trainer, and compute what they are sent. They read no files, so that nothing of theirs can differ but the
//! program, which a [`Team`] compares, and the adapter.
//!
//! [`LocalTraining`] gives the bits up for a network that is slow: ranks learn by themselves, and compare what they have learned now and
//! then.

mod blocks;
mod engine;
mod exchange;
mod learn;
mod link;
mod local;
mod message;
mod outer;
mod plan;
mod team;
mod times;
mod wire;
mod worker;

pub use blocks::{blocks_of, shares};
pub use engine::DataParallel;
pub use link::{Link, Local, locals};
pub use local::LocalTraining;
pub use plan::{Learns, TrainerPlan};
pub use team::{Hello, Team};
pub use times::StepTimes;
pub use wire::Packed;
pub use worker::work;
