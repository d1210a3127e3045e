//! Labelled texts for finetuning: GLUE's folders and one's own tables, as token ids.

mod columns;
mod encode;
mod glue;
mod kind;
mod labels;
mod lengths;
mod lists;
mod negatives;
mod table;
mod words;

pub use columns::{Columns, WordColumns};
pub use encode::{Encoded, encode, encode_all};
pub use glue::{GlueFiles, glue_files};
pub use kind::{Kind, Task};
pub use labels::{Labels, scores};
pub use lengths::{batches, padded};
pub use table::{Example, Table};
pub use words::{EncodedWords, encode_words};
