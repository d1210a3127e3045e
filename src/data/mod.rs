//! Text files to batches of token ids: reading, preparing, shuffling, masking. Knows nothing of a GPU.
//!
//! [`prepare`](prepare::prepare) turns text into a folder of token shards once; a [`Dataset`] maps the folder,
//! an [`Order`] shuffles it, [`mask`](masking::mask) masks tokens and a [`Batcher`] puts it all together. Every
//! random choice is a function of (seed, epoch, sequence, position) through [`rng`], so a batch depends
//! neither on the batch size nor on what came before, and a short script in any language can repeat it.

#[cfg(not(target_arch = "wasm32"))]
pub mod about;
pub mod batch;
pub mod batcher;
pub mod clean;
pub mod dataset;
#[cfg(not(target_arch = "wasm32"))]
pub mod files;
pub mod grammar;
pub mod lost;
pub mod manifest;
pub mod masking;
pub mod npy;
pub mod order;
pub mod prepare;
#[cfg(not(target_arch = "wasm32"))]
pub mod prepare_shard;
pub mod reader;
#[cfg(not(target_arch = "wasm32"))]
pub mod retrieval;
pub mod rng;
pub mod rows;
mod separated;
pub mod sniff;
pub mod source;
pub mod task;
#[cfg(not(target_arch = "wasm32"))]
pub mod texts;

#[cfg(not(target_arch = "wasm32"))]
mod archive;
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "no page goes on with a preparation"))]
mod held_out;
mod json_rows;
mod kinds;
#[cfg(not(target_arch = "wasm32"))]
mod listing;
mod pack;
#[cfg(not(target_arch = "wasm32"))]
mod parquet_pages;
#[cfg(not(target_arch = "wasm32"))]
mod parquet_rows;
mod preparation;
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "no page goes on with a preparation"))]
mod resume;
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "no page goes on with a preparation"))]
mod sequences;
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "no page goes on with a preparation"))]
mod shard;
mod spans;
mod utf16;
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "no page goes on with a preparation"))]
mod work;

pub use batch::Batch;
pub use batcher::{Batcher, BatcherOptions};
pub use dataset::{Dataset, MaskedCount, Segment, Split};
pub use masking::{Masked, MaskingOptions, Objective};
pub use order::Order;
#[cfg(not(target_arch = "wasm32"))]
pub use prepare::prepare;
pub use prepare::{HeldOut, PrepareOptions, Summary, prepare_in};
pub use reader::{Document, Documents, ReadCounts, ReadOptions, Reader};
pub use source::FileOptions;
#[cfg(not(target_arch = "wasm32"))]
pub use texts::Texts;
