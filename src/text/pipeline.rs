//! What a tokenizer trained here does to raw text, spelled as `tokenizer.json` components.
//!
//! In order:
//!
//! 1. Line ends (CRLF, CR, NEL, form feed, U+2028, U+2029) become `\n`.
//! 2. Control, format and private-use characters, NUL and U+FFFD are dropped.
//! 3. Default: NFKD, accents dropped. With `keep_accents`: NFC, so accents and every script survive.
//! 4. Lower-cased, unless `keep_case`.
//! 5. Default only: curly quotes and the dashes become ASCII, and the Latin letters that have no decomposition
//!    are spelled out (`ß` ss, `æ` ae, `œ` oe, `ø` o, `ł` l, `đ` d).
//! 6. Runs of blanks become one space; a run of blanks with a line end in it becomes one `\n`.
//! 7. The text is split into words (letters and marks), and every digit, every symbol and every `\n` alone.
//!
//! Pieces never cross a word. A piece that continues a word begins with `##`, in BPE as in WordPiece; a piece
//! without it begins a word. The newline is kept as a symbol of its own.
//!
//! Where the default differs from a full transliteration to ASCII: letters of other scripts are kept as they
//! are rather than romanised, and marks that spell vowels (Indic scripts) are dropped with the accents, so
//! such text wants `keep_accents`.

use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, NFKD, Replace, Sequence, Strip, StripAccents};
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{NormalizerWrapper, SplitDelimiterBehavior};

use crate::{Error, Result};

/// What marks a piece that continues a word.
pub const CONTINUING: &str = "##";

/// The special tokens, in the order of their ids 0 to 4.
pub const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// How words are split into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenizerKind {
    /// Byte-pair encoding on characters: replays the merges in the order in which they were learnt.
    #[default]
    Bpe,
    /// The same vocabulary, split greedily by the longest piece; words over 100 characters become `[UNK]`.
    WordPiece,
}

/// How to train a tokenizer. The default: 32768 tokens, BPE, lower-cased, without accents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// How many tokens at most, specials included; at least 256. A small corpus may give fewer.
    pub vocab_size: usize,
    /// How words are split.
    pub kind: TokenizerKind,
    /// Keep capitals.
    pub keep_case: bool,
    /// Keep accents and all combining marks (Portuguese, Hindi, …).
    pub keep_accents: bool,
}

impl Default for TokenizerOptions {
    fn default() -> Self {
        TokenizerOptions {
            vocab_size: 32768,
            kind: TokenizerKind::default(),
            keep_case: false,
            keep_accents: false,
        }
    }
}

fn replace(pattern: &str, content: &str) -> Result<NormalizerWrapper> {
    Replace::new(ReplacePattern::Regex(pattern.to_owned()), content)
        .map(NormalizerWrapper::Replace)
        .map_err(|error| Error::config("tokenizer pattern", "a regular expression", error))
}

/// The cleaning of text, before it is split into words.
pub(super) fn normalizer(options: &TokenizerOptions) -> Result<Sequence> {
    // Literal characters and plain classes only: Python's engine (Oniguruma) and ours must agree on them.
    let mut steps = vec![
        replace("\r\n?|[\u{b}\u{c}\u{85}\u{2028}\u{2029}]", "\n")?,
        replace(r"[^\P{Cc}\n\t]|[\p{Cf}\p{Co}\x{FFFD}]", "")?,
    ];
    if options.keep_accents {
        steps.push(NFC.into());
    } else {
        steps.extend([NFKD.into(), StripAccents.into()]);
    }
    if !options.keep_case {
        steps.push(Lowercase.into());
    }
    if !options.keep_accents {
        let letters = [("ß", "ss"), ("æ", "ae"), ("œ", "oe"), ("ø", "o"), ("ł", "l"), ("đ", "d")];
        let capitals = [("ẞ", "SS"), ("Æ", "AE"), ("Œ", "OE"), ("Ø", "O"), ("Ł", "L"), ("Đ", "D")];
        steps.push(replace("[‘’‚‛′]", "'")?);
        steps.push(replace("[“”„‟″«»]", "\"")?);
        steps.push(replace("[‐‑‒–—―−]", "-")?);
        for (letter, ascii) in letters.iter().chain(capitals.iter().filter(|_| options.keep_case)) {
            steps.push(replace(letter, ascii)?);
        }
    }
    // Two steps, each linear in every regex engine; `\s*\n\s*` would be quadratic in a backtracking one.
    steps.extend([replace(r"[^\S\n]+", " ")?, replace(r" ?\n[ \n]*", "\n")?]);
    steps.push(Strip::new(true, true).into());
    Ok(Sequence::new(steps))
}

/// Words, and every digit, symbol and newline alone; spaces are dropped.
pub(super) fn pre_tokenizer() -> Result<Split> {
    let pattern = SplitPattern::Regex(r"[\p{L}\p{M}]+|[^ ]".to_owned());
    Split::new(pattern, SplitDelimiterBehavior::Removed, true)
        .map_err(|error| Error::config("tokenizer pattern", "a regular expression", error))
}

/// `[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]`.
pub(super) fn post_processor() -> Result<TemplateProcessing> {
    let failed = |error: String| Error::config("tokenizer template", "a template", error);
    TemplateProcessing::builder()
        .try_single("[CLS]:0 $A:0 [SEP]:0")
        .map_err(failed)?
        .try_pair("[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")
        .map_err(failed)?
        .special_tokens(vec![("[CLS]", 2), ("[SEP]", 3)])
        .build()
        .map_err(|error| failed(error.to_string()))
}

/// Pieces back to text: `##` joined to the piece before, no space before `.`, `,`, `?` and `!`.
pub(super) fn decoder() -> WordPieceDecoder {
    WordPieceDecoder::new(CONTINUING.to_owned(), true)
}
