//! Weights as `torch.save` writes them: `pytorch_model.bin`. Tensors are built of them and nothing else is done.

mod archive;
mod legacy;
mod machine;
mod state_dict;
mod values;

use std::path::Path;

use safetensors::tensor::TensorInfo;

use super::header::MAX_HEADER;
use crate::{Error, Result};

/// The tensors of a file, by name.
#[derive(Default)]
pub(super) struct Contents {
    /// Those that lie in the file as they are, with their places in it.
    pub in_place: Vec<(String, TensorInfo)>,
    /// Those that were copied, with their places in the copies.
    pub copied: Vec<(String, TensorInfo)>,
    pub copied_bytes: Vec<u8>,
}

/// Whether a file begins as those of `torch.save` do.
pub(super) fn is_pickle(bytes: &[u8]) -> bool {
    // The length of a safetensors header may begin with the same two bytes.
    let header = bytes.first_chunk().is_some_and(|prefix| u64::from_le_bytes(*prefix) <= MAX_HEADER);
    is_archive(bytes) || (!header && matches!(bytes, [0x80, 2..=5, ..]))
}

fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Reads a file; `path` is for the messages.
///
/// # Errors
/// [`Error::File`] for a file that is broken, asks for more than tensors, or is of a form that is not read here.
pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Contents> {
    let read = if is_archive(bytes) { archive::read(bytes) } else { legacy::read(bytes) };
    read.map_err(|found| {
        let found = format!(
            "{found}. Where it is a model that you trust, Python can convert it: `from safetensors.torch import \
             save_file; w = torch.load(FILE, weights_only=True); \
             save_file({{k: v.contiguous().clone() for k, v in w.items()}}, 'model.safetensors')`"
        );
        Error::file(path, "a PyTorch pickle of tensors by their names and nothing else", found)
    })
}
