//! Text to token ids and back.
//!
//! All cleaning lives in `tokenizer.json`, as its normalizers and pre-tokenizers, so the same raw text gives the
//! same ids here, in Python's `tokenizers` and in a browser. See [`pipeline`] for what the cleaning does.

pub mod companions;
pub mod pipeline;
mod scores;
pub mod tokenizer;
pub mod train;
mod vocabulary;

mod check;
mod growth;
mod pairs;
mod reserved;
mod specials;
mod template;
pub mod trim;
#[cfg_attr(
    target_arch = "wasm32",
    allow(dead_code, reason = "a page learns from words, and tokenizes texts whole")
)]
mod words;

pub use companions::Companions;
pub use pairs::open_pairs;
pub use pipeline::{TokenizerKind, TokenizerOptions};
pub use reserved::Reserved;
pub use specials::{SpecialIds, SpecialTokens, special_token_ids};
pub use template::Template;
pub use tokenizer::{Piece, TokenTable, Tokenizer, WordPiece};
pub use trim::{Trimmed, Trimming};
pub use vocabulary::VOCABULARY_FILE;
pub(crate) use vocabulary::tokenizer_json;
