//! GPU compute on wgpu that trains and runs BERT on any GPU.
//!
//! The floors, each of which knows only those below it: [`train`], [`infer`] and [`viz`]; [`checkpoint`];
//! [`bert`]; [`nn`] and [`optim`]; [`ops`], [`autograd`] and [`tensor`]; [`gpu`]; [`error`]. Beside them [`text`]
//! and [`data`], which know no GPU.

// Library code reports errors; it neither prints nor panics on what a user can cause.
#![cfg_attr(
    target_arch = "wasm32",
    allow(
        clippy::arc_with_non_send_sync,
        reason = "a page has one thread; everywhere else the same code has several"
    )
)]
#![warn(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

pub mod autograd;
pub mod bert;
pub mod checkpoint;
pub mod data;
pub mod error;
pub mod format;
pub mod gpu;
pub mod infer;
pub mod memory;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod random;
pub mod shape;
pub mod tensor;
pub mod text;
pub mod train;
pub mod viz;

mod hash;
mod json;
#[cfg(target_arch = "wasm32")]
mod web;

pub use error::{Error, Result};
