//! What a tokenizer trained here does to raw text, spelled as `tokenizer.json` components.
//!
//! In order:
//!
//! 1. Line ends (CRLF, CR, NEL, form feed, U+2028, U+2029) become `\n`.
//! 2. Control, format and private-use characters, NUL and U+FFFD are dropped, but for joiners (U+200C, U+200D) that follow
//!    a letter or mark: they spell words in Persian and in India's scripts.
//! 3. NFC: what looks alike is the same.
//! 4. Lower-cased, unless `keep_case`.
//! 5. Default only: accents are dropped from Latin and Greek letters, and the stress mark from Cyrillic vowels; the Latin
//!    letters that have no decomposition are spelled out (`ß` ss, `æ` ae, `œ` oe, `ø` o, `ł` l, `đ` d). Vietnamese, which
//!    accents spell, keeps all that.
//! 6. Default only: curly quotes and the dashes become ASCII, and the ligatures of print (`ﬁ`) and `…` are spelled out.
//! 7. Runs of blanks become one space; a run of blanks with a line end in it becomes one `\n`.
//! 8. The text is split into words (letters, marks and joiners; after 100 characters a new one begins), and every digit,
//!    every symbol and every `\n` alone.
//!
//! Pieces never cross a word. A piece that continues a word begins with `##`, in BPE as in WordPiece; a piece
//! without it begins a word. The newline is kept as a symbol of its own.
//!
//! Letters of other scripts are kept as they are, with their marks: `й` is a letter, and so are `が` and `한`.

use std::borrow::Cow;

use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, NFD, Replace, Sequence, Strip};
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
    /// The same vocabulary, split greedily by the longest piece.
    WordPiece,
}

/// How to train a tokenizer. The default: 32768 tokens, BPE, lower-cased, without accents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// How many tokens at most, specials included; 256 to 1048576. A small corpus may give fewer.
    pub vocab_size: usize,
    /// How words are split.
    pub kind: TokenizerKind,
    /// Keep capitals.
    pub keep_case: bool,
    /// Keep the accents of Latin and Greek letters (Portuguese, German, …). Those of Vietnamese are kept anyway.
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

/// The longest word. Scripts without spaces write sentences as one run of letters, which is cut, and WordPiece knows no
/// longer word.
const LONGEST_WORD: usize = 100;

/// Letters that Vietnamese alone writes, composed and in lower case: those with a horn, a hook, or two marks.
const VIETNAMESE: &str = "ảấầẩẫậắằẳẵặẻếềểễệỉỏốồổỗộơớờởỡợủưứừửữựỷ";

/// Whether a text is Vietnamese of which so many letters were counted: one in fifty of its Latin letters is of those that
/// only Vietnamese writes. In Vietnamese text one in seven is.
pub(super) fn is_vietnamese<'a>(words: impl Iterator<Item = (&'a str, u64)>) -> bool {
    let (mut latin, mut own) = (0_u64, 0_u64);
    for (word, count) in words {
        for letter in word.chars() {
            // The Latin letters lie below Greek's, and the composed ones at U+1E00.
            let is_latin =
                letter.is_alphabetic() && (letter < '\u{250}' || ('\u{1e00}'..'\u{1f00}').contains(&letter));
            if is_latin {
                let own_letter =
                    letter.to_lowercase().next().is_some_and(|letter| VIETNAMESE.contains(letter));
                latin += count;
                own += if own_letter { count } else { 0 };
            }
        }
    }
    own * 50 > latin
}

/// The cleaning of text, before it is split into words; of accents none if `keep` says so.
pub(super) fn normalizer(options: &TokenizerOptions, keep: bool) -> Result<Sequence> {
    // Literal characters, plain classes and a look at one character: Python's engine (Oniguruma) and ours must agree.
    let mut steps = vec![
        replace("\r\n?|[\u{b}\u{c}\u{85}\u{2028}\u{2029}]", "\n")?,
        replace(r"[^\P{Cc}\n\t]|[^\P{Cf}\x{200C}\x{200D}]|[\p{Co}\x{FFFD}]", "")?,
        replace(r"(?<![\p{L}\p{M}\x{200C}\x{200D}])[\x{200C}\x{200D}]+", "")?,
        NFC.into(),
    ];
    if !options.keep_case {
        steps.push(Lowercase.into());
    }
    if !keep {
        steps.extend(without_accents(options)?);
    }
    if !options.keep_accents {
        let print = [("ﬀ", "ff"), ("ﬁ", "fi"), ("ﬂ", "fl"), ("ﬃ", "ffi"), ("ﬄ", "ffl"), ("…", "...")];
        steps.push(replace("[‘’‚‛′]", "'")?);
        steps.push(replace("[“”„‟″«»]", "\"")?);
        steps.push(replace("[‐‑‒–—―−]", "-")?);
        for (letter, ascii) in print {
            steps.push(replace(letter, ascii)?);
        }
    }
    // Two steps, each linear in every regex engine; `\s*\n\s*` would be quadratic in a backtracking one.
    steps.extend([replace(r"[^\S\n]+", " ")?, replace(r" ?\n[ \n]*", "\n")?]);
    steps.push(Strip::new(true, true).into());
    Ok(Sequence::new(steps))
}

/// What drops the accents of text in NFC.
pub(super) fn without_accents(options: &TokenizerOptions) -> Result<Vec<NormalizerWrapper>> {
    let letters = [("ß", "ss"), ("æ", "ae"), ("œ", "oe"), ("ø", "o"), ("ł", "l"), ("đ", "d")];
    let capitals = [("ẞ", "SS"), ("Æ", "AE"), ("Œ", "OE"), ("Ø", "O"), ("Ł", "L"), ("Đ", "D")];
    let mut steps = vec![
        // Where no letter has it, the acute marks the stress; `ѓ` and `ќ` are one letter each.
        replace("(?<=[аеёиоуыэюяєіїѣАЕЁИОУЫЭЮЯЄІЇѢ])\u{301}", "")?,
        NFD.into(),
        replace(r"(?<=[\p{Latin}\p{Greek}])\p{Mn}+", "")?,
        NFC.into(),
    ];
    for (letter, ascii) in letters.iter().chain(capitals.iter().filter(|_| options.keep_case)) {
        steps.push(replace(letter, ascii)?);
    }
    Ok(steps)
}

/// Words, and every digit, symbol and newline alone; spaces are dropped.
pub(super) fn pre_tokenizer() -> Result<Split> {
    let pattern = format!(r"[\p{{L}}\p{{M}}\x{{200C}}\x{{200D}}]{{1,{LONGEST_WORD}}}|[^ ]");
    Split::new(SplitPattern::Regex(pattern), SplitDelimiterBehavior::Removed, true)
        .map_err(|error| Error::config("tokenizer pattern", "a regular expression", error))
}

/// The words of a text of ASCII without blanks, which no step but that of capitals changes; none for any other text. Most of
/// English is counted by this in a fraction of the time that cleaning takes.
pub(super) fn plain_words<'t>(text: &'t str, keep_case: bool) -> Option<impl Iterator<Item = Cow<'t, str>>> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut rest = text;
    Some(std::iter::from_fn(move || {
        let letters = rest.bytes().take(LONGEST_WORD).take_while(u8::is_ascii_alphabetic).count();
        let (word, after) = rest.split_at_checked(letters.max(1))?;
        rest = after;
        let capitals = !keep_case && word.bytes().any(|byte| byte.is_ascii_uppercase());
        Some(if capitals { word.to_ascii_lowercase().into() } else { word.into() })
    }))
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
