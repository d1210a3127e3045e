//! Text and data: everything between raw text and batches of token ids. Nothing here touches the GPU.

pub mod grammar;
