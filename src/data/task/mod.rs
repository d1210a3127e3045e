//! Labelled texts for finetuning: GLUE's folders and one's own tables, as token ids. A page, which does not finetune, has
//! the token ids alone.

#[cfg(not(target_arch = "wasm32"))]
mod columns;
mod encode;
#[cfg(not(target_arch = "wasm32"))]
mod glue;
#[cfg(not(target_arch = "wasm32"))]
mod kind;
#[cfg(not(target_arch = "wasm32"))]
mod labels;
#[cfg(not(target_arch = "wasm32"))]
mod lengths;
#[cfg(not(target_arch = "wasm32"))]
mod lists;
#[cfg(not(target_arch = "wasm32"))]
mod negatives;
#[cfg(not(target_arch = "wasm32"))]
mod table;
#[cfg(not(target_arch = "wasm32"))]
mod words;

pub use encode::{Encoded, encode};

#[cfg(not(target_arch = "wasm32"))]
pub use self::{
    columns::{Columns, WordColumns},
    encode::encode_all,
    glue::{GlueFiles, glue_files},
    kind::{Kind, Task},
    labels::{Labels, scores},
    lengths::{batches, padded},
    table::{Example, Table},
    words::{EncodedWords, encode_words, joined_words},
};
