//! Model folders and the checkpoints of a run: sound, broken, and interrupted at every operation.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

#[path = "checkpoint/card.rs"]
mod card;
#[path = "checkpoint/heads.rs"]
mod heads;
#[path = "checkpoint/hugging_face.rs"]
mod hugging_face;
#[path = "checkpoint/interrupted.rs"]
mod interrupted;
#[path = "checkpoint/model_folder.rs"]
mod model_folder;
#[path = "checkpoint/run_folder.rs"]
mod run_folder;
