//! Text files to batches of token ids: reading, preparing, shuffling, masking. Knows nothing of a GPU.
//!
//! [`prepare`](prepare::prepare) turns text into a folder of token shards once; a [`Dataset`] maps the folder,
//! an [`Order`] shuffles it, [`mask`](masking::mask) hides tokens and a [`Batcher`] puts it all together. Every
//! random choice is a function of (seed, epoch, sequence, position) through [`rng`], so a batch depends
//! neither on the batch size nor on what came before, and a short script in any language can repeat it.

pub mod batch;
pub mod masking;
pub mod order;
pub mod rng;

#[cfg(not(target_arch = "wasm32"))]
pub mod batcher;
#[cfg(not(target_arch = "wasm32"))]
pub mod clean;
#[cfg(not(target_arch = "wasm32"))]
pub mod dataset;
// The made-up language and its oracle run on every core, which a page cannot.
#[cfg(not(target_arch = "wasm32"))]
pub mod grammar;
#[cfg(not(target_arch = "wasm32"))]
pub mod manifest;
pub mod npy;
#[cfg(not(target_arch = "wasm32"))]
pub mod prepare;
#[cfg(not(target_arch = "wasm32"))]
pub mod reader;
#[cfg(not(target_arch = "wasm32"))]
pub mod rows;
#[cfg(not(target_arch = "wasm32"))]
pub mod source;
#[cfg(not(target_arch = "wasm32"))]
pub mod texts;

#[cfg(not(target_arch = "wasm32"))]
mod cut;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
#[cfg(not(target_arch = "wasm32"))]
mod held_out;
#[cfg(not(target_arch = "wasm32"))]
mod shard;
mod spans;

pub use batch::Batch;
pub use masking::{Masked, MaskingOptions, Objective};
pub use order::Order;

#[cfg(not(target_arch = "wasm32"))]
pub use batcher::{Batcher, BatcherOptions};
#[cfg(not(target_arch = "wasm32"))]
pub use dataset::{Dataset, Split};
#[cfg(not(target_arch = "wasm32"))]
pub use prepare::{HeldOut, PrepareOptions, Summary, prepare};
#[cfg(not(target_arch = "wasm32"))]
pub use reader::{Document, Documents, ReadCounts, ReadOptions, Reader};
#[cfg(not(target_arch = "wasm32"))]
pub use texts::Texts;
