//! GPU compute on wgpu that trains and runs BERT on any GPU.
//!
//! Learns a vocabulary, and trains a small model for some steps on a few sentences:
//!
//! ```
//! use wgrad::models::{Config, Freeze};
//! use wgrad::data::{Batch, MaskingOptions, masking::mask};
//! use wgrad::gpu::{Gpu, GpuOptions};
//! use wgrad::optim::OptimizerOptions;
//! use wgrad::tensor::DType;
//! use wgrad::text::{Tokenizer, TokenizerOptions};
//! use wgrad::train::{MlmOptions, StepEngine, Trainer};
//!
//! # fn main() -> wgrad::Result<()> {
//! # if std::env::var_os("CI").is_none() && pollster::block_on(wgrad::gpu::Gpu::open(&Default::default())).is_err() { return Ok(()); }
//! let sentences = ["the cat sleeps all day.", "the dogs bark at night.", "a bird sings in the morning."];
//! let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
//! let tokenizer = Tokenizer::train(sentences.map(|text| Ok(text.to_owned())), &options)?;
//! let texts = sentences.map(|text| tokenizer.encode_with_specials(text).unwrap());
//!
//! let specials = *tokenizer.specials();
//! let config = Config {
//!     vocab_size: tokenizer.vocab_size(),
//!     hidden_size: 32,
//!     intermediate_size: 64,
//!     pad_token_id: specials.pad,
//!     cls_token_id: specials.cls,
//!     sep_token_id: specials.sep,
//!     mask_token_id: specials.mask,
//!     ..Config::preset("micro")?
//! };
//! let (micro_batch, seq_len) = (texts.len(), 16);
//! let optimizer = OptimizerOptions::default();
//! let options = MlmOptions {
//!     micro_batch,
//!     seq_len,
//!     targets: 16,
//!     storage: DType::F32,
//!     optimizer,
//!     freeze: Freeze::Nothing,
//!     recompute: 0,
//!     seed: 0,
//! };
//!
//! pollster::block_on(async {
//!     let gpu = Gpu::open(&GpuOptions::default()).await?;
//!     let mut trainer = Trainer::pretraining(&gpu, config, options)?;
//!     let mut losses = Vec::new();
//!     for step in 0..20 {
//!         let masking = MaskingOptions::default();
//!         let masked = (0..).zip(&texts).map(|(n, ids)| mask(ids, 0, step, n, &masking, tokenizer.table()));
//!         let batch = Batch::new(&masked.collect::<Vec<_>>(), seq_len, specials.pad, true);
//!         losses.push(trainer.step(&[batch], 1e-2).await?.loss);
//!     }
//!     assert!(losses[19] < losses[0], "{losses:?}");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Files become shards with [`data::prepare()`], [`train::pretrain()`] is a whole run with checkpoints and a model at its end,
//! [`train::finetune::finetune`] teaches a model a task, and [`infer`] runs it: [`infer::Embedder`], [`infer::FillMask`],
//! [`infer::Classifier`].
//!
//! The floors, each of which knows only those below it: [`train`], [`infer`] and [`viz`]; [`files`]; [`models`]; [`nn`] and
//! [`optim`]; [`ops`], [`autograd`] and [`tensor`]; [`gpu`]; [`store`] and [`error`]. Beside them [`text`] and [`data`],
//! which know no GPU.

#![cfg_attr(
    target_arch = "wasm32",
    allow(
        clippy::arc_with_non_send_sync,
        reason = "a page has one thread; everywhere else the same code has several"
    )
)]
// Library code reports errors; it neither prints nor panics on what a user can cause.
#![warn(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

pub mod autograd;
pub mod budget;
pub mod data;
pub mod error;
pub mod files;
pub mod format;
pub mod gpu;
pub mod infer;
pub mod models;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod random;
pub mod shape;
pub mod store;
pub mod tensor;
pub mod text;
pub mod train;
pub mod viz;

mod hash;
mod json;
#[cfg(target_arch = "wasm32")]
#[allow(
    unreachable_pub,
    missing_debug_implementations,
    reason = "only JavaScript, which knows no Debug, holds these"
)]
mod web;

pub use error::{Error, Result};
