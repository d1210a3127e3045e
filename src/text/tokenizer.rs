//! A trained tokenizer: text to ids, ids to text, and what is known of each id.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
#[cfg(not(target_arch = "wasm32"))]
use std::sync::Arc;

use tokenizers::{EncodeInput, Encoding, ModelWrapper, NormalizedString, Normalizer};

use super::check;
use super::companions::{Companions, SETTINGS_FILE, SPECIAL_TOKENS_FILE};
use super::growth;
use super::reserved::Reserved;
use super::scores;
use super::specials::{SpecialIds, SpecialTokens};
use super::vocabulary::{VOCABULARY_FILE, tokenizer_json};
#[cfg(not(target_arch = "wasm32"))]
use super::words::Words;
use crate::budget;
use crate::hash::fnv1a;
use crate::json;
use crate::store::{CHECKSUMS_FILE, Disk, Store, checksums, write_atomic};
use crate::{Error, Result};

/// The file's name inside a model or data folder.
pub use super::companions::TOKENIZER_FILE as FILE;

/// A bigger `tokenizer.json` is refused unread.
const MAX_FILE: u64 = json::MAX_BYTES as u64;

/// How a vocabulary marks the pieces of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Marker {
    /// `##ing`: on pieces that continue a word.
    Continuing(String),
    /// `ing</w>`: on the last piece of a word.
    Ending(String),
    /// `Ġgoing`, `▁going`: on pieces that begin a word.
    Starting(char),
    /// Every token is a word.
    Words,
}

/// A token of an encoded text or pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The token.
    pub id: u32,
    /// Its type.
    pub of_type: u32,
    /// Which of the texts it is of; none for a special token.
    pub text: Option<usize>,
}

/// A token of a text, and where in the text it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordPiece {
    /// The token.
    pub id: u32,
    /// The bytes of the text that it stands for.
    pub bytes: Range<usize>,
    /// Whether it begins a word: see [`Tokenizer::encode_with_words`].
    pub begins: bool,
}

/// What is known of each id without the text: enough to mask whole words, and cheap to share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTable {
    specials: SpecialIds,
    /// One byte per id: the bits `STARTS` and `ENDS`.
    flags: Vec<u8>,
}

const STARTS: u8 = 1;
const ENDS: u8 = 2;

impl TokenTable {
    /// A table in which `starts(id)` says whether the token begins a word.
    pub fn from_starts(vocab_size: usize, specials: SpecialIds, starts: impl Fn(u32) -> bool) -> Self {
        let flags = (0..vocab_size as u32).map(|id| if starts(id) { STARTS } else { 0 }).collect();
        TokenTable { specials, flags }
    }

    /// How many ids there are; every id is below it.
    pub fn vocab_size(&self) -> usize {
        self.flags.len()
    }

    /// The special tokens.
    pub fn specials(&self) -> &SpecialIds {
        &self.specials
    }

    /// Whether the token `id` begins a word, given the token before it. Specials and unknown ids do.
    pub fn is_word_start(&self, previous: Option<u32>, id: u32) -> bool {
        let flags = |id: u32| self.flags.get(id as usize).copied().unwrap_or(STARTS | ENDS);
        flags(id) & STARTS != 0 || previous.is_none_or(|previous| flags(previous) & ENDS != 0)
    }
}

/// Text to ids and back. Cleaning, cutting and special tokens are those of its `tokenizer.json`.
///
/// ```
/// use wgrad::text::{Tokenizer, TokenizerOptions};
///
/// let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
/// let texts = ["the dogs bark at night.", "the dog barks."].map(|text| Ok(text.to_owned()));
/// let tokenizer = Tokenizer::train(texts, &options)?;
/// let ids = tokenizer.encode("the dogs bark.")?;
/// assert_eq!(tokenizer.decode(&ids, true)?, "the dogs bark.");
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The file as it was read or made, so that a copy is the same to the byte.
    json: Vec<u8>,
    table: TokenTable,
    special_tokens: SpecialTokens,
    /// How many times as many bytes as a text has its cleaning may give.
    growth: f64,
    /// The tokens of words that were seen, where texts are taken word by word. A page tokenizes little, and each of its visitors
    /// would fetch the rules of this.
    #[cfg(not(target_arch = "wasm32"))]
    words: Option<Arc<Words>>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, or the one in a folder. What a `tokenizer_config.json` beside it says of case and accents
    /// holds, as in Python's `transformers`.
    ///
    /// # Errors
    /// A file that cannot be read, that is no valid tokenizer, or that lacks one of the five special tokens.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, true)
    }

    /// [`Tokenizer::load`]; without `verify` the files are not compared with the folder's checksums.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn load_with(path: impl AsRef<Path>, verify: bool) -> Result<Self> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            // A vocabulary alone is a tokenizer where nothing more is there.
            let alone = !path.join(FILE).exists() && path.join(VOCABULARY_FILE).exists();
            path.push(if alone { VOCABULARY_FILE } else { FILE });
        }
        let size = std::fs::metadata(&path).map_err(Error::io(&path, "read"))?.len();
        if size > MAX_FILE {
            return Err(Error::file(&path, format!("at most {MAX_FILE} bytes"), format!("{size}")));
        }
        if let Some(folder) = path.parent().filter(|_| verify && path.ends_with(FILE)) {
            let files = [FILE, SETTINGS_FILE, SPECIAL_TOKENS_FILE];
            checksums::verify(&Disk, folder, &[FILE], |name| files.contains(&name))?;
        }
        let companions = match path.parent() {
            Some(folder) => Companions::read(&Disk, folder)?,
            None => Companions::default(),
        };
        let bytes = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
        let json = match path.ends_with(VOCABULARY_FILE) {
            true => tokenizer_json(&bytes, &path, &companions)?,
            false => bytes,
        };
        Self::with_roles(companions.overrule(json), &path, &companions.roles())
    }

    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn from_bytes(json: impl Into<Vec<u8>>) -> Result<Self> {
        Self::from_named(json.into(), Path::new(FILE))
    }

    /// `path` is only for messages.
    pub(crate) fn from_named(json: Vec<u8>, path: &Path) -> Result<Self> {
        Self::with_roles(json, path, &SpecialTokens::default())
    }

    /// [`Tokenizer::from_named`] with the special tokens that other files name.
    pub(crate) fn with_roles(json: Vec<u8>, path: &Path, named: &SpecialTokens) -> Result<Self> {
        let growth = check::check(&json).map_err(|(expected, found)| Error::file(path, expected, found))?;
        // The crate below panics on some crafted files that `check` does not foresee; a probe finds those
        // that only fail when they are used.
        let built = catch_unwind(AssertUnwindSafe(|| -> std::result::Result<_, tokenizers::Error> {
            let mut inner = tokenizers::Tokenizer::from_bytes(scores::as_in_python(&json))?;
            inner.with_truncation(None)?;
            inner.with_padding(None);
            let alone = inner.encode("A ção, 1.", true)?;
            let pair = inner.encode(("A", "b"), true)?;
            inner.decode(alone.get_ids(), true)?;
            Ok((inner, alone.get_ids().iter().chain(pair.get_ids()).copied().max()))
        }));
        let found = |what: String| Error::file(path, "a tokenizer that can be used", what);
        let (inner, highest) = match built {
            Ok(Ok(built)) => built,
            Ok(Err(error)) => return Err(found(error.to_string())),
            Err(_) => return Err(found("one whose parts contradict each other".to_owned())),
        };
        let special_tokens = SpecialTokens::with(&serde_json::from_slice(&json).unwrap_or_default(), named);
        let table =
            table(&inner, &special_tokens).map_err(|(expected, found)| Error::file(path, expected, found))?;
        if highest.is_some_and(|id| id as usize >= table.vocab_size()) {
            return Err(found(format!("a template with ids past the {} tokens", table.vocab_size())));
        }
        #[cfg(not(target_arch = "wasm32"))]
        let words = Words::of(&inner).map(Arc::new);
        Ok(Tokenizer {
            inner,
            json,
            table,
            special_tokens,
            growth,
            #[cfg(not(target_arch = "wasm32"))]
            words,
        })
    }

    /// Writes `tokenizer.json` into `folder`, which is created if need be.
    ///
    /// # Errors
    /// When the operating system refuses, or another process writes there.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<PathBuf> {
        self.save_in(&Reserved::new(folder)?)
    }

    /// As [`Tokenizer::save`], into a folder that was reserved before the tokenizer was learnt.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn save_in(&self, reserved: &Reserved) -> Result<PathBuf> {
        let folder = reserved.folder();
        let path = folder.join(FILE);
        let save = || write_atomic(&Disk, &path, |sink| sink.put(&self.json));
        if reserved.is_alone() || Disk.exists(&folder.join(CHECKSUMS_FILE)) {
            checksums::replacing(&Disk, folder, || Ok(vec![(FILE, save()?)]))?;
        } else {
            save()?;
        }
        Ok(path)
    }

    /// Whether a `tokenizer.json` says the same as this one's, whatever either says of truncation and padding, which are
    /// not looked at here.
    pub fn is_of(&self, json: &[u8]) -> bool {
        let parsed = |json: &[u8]| {
            let mut file: serde_json::Value = serde_json::from_slice(json).ok()?;
            let keys = file.as_object_mut()?;
            ["truncation", "padding"].iter().for_each(|key| _ = keys.remove(*key));
            Some(file)
        };
        self.json == json || parsed(&self.json).is_some_and(|own| Some(own) == parsed(json))
    }

    /// The bytes of the `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The ids of `text`, without special tokens around it. `[MASK]` and the like in the text become their ids.
    ///
    /// # Errors
    /// When the tokenizer has no token for an unknown piece, which one trained here always has.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let whole = |text: &str| Ok(self.encoding([text], false)?.get_ids().to_vec());
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(words) = &self.words {
            return words.encode(text, whole);
        }
        whole(text)
    }

    /// Whether texts are taken word by word, which gives the same tokens in less time.
    #[cfg(test)]
    pub(super) fn takes_words(&self) -> bool {
        self.words.is_some()
    }

    /// The ids of `text` as [`Tokenizer::encode`] gives them, each with the bytes of `text` that it stands for.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let _turn = self.turn([text])?;
        let encoding = caught(|| self.inner.encode(text, false))?;
        let ranges = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok(encoding.get_ids().iter().copied().zip(ranges).collect())
    }

    /// The tokens of `text` as [`Tokenizer::encode`] gives them, and which of them begin a word: what the text is split into
    /// before pieces are looked for, or where the vocabulary does not mark pieces that continue a word, what blanks divide.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_words(&self, text: &str) -> Result<Vec<WordPiece>> {
        let _turn = self.turn([text])?;
        let encoding = caught(|| self.inner.encode(text, false))?;
        let marked = matches!(marker(&self.inner), Marker::Continuing(_) | Marker::Words);
        let words = encoding.get_word_ids();
        let offsets = encoding.get_offsets();
        let begins = |place: usize| {
            let Some(before) = place.checked_sub(1) else { return true };
            let ((begun, ended), (start, _)) = (offsets[before], offsets[place]);
            if marked {
                return words[place].is_none() || words[place] != words[before];
            }
            // A piece of nothing but the blank before a word belongs to the word, and several may share a character.
            let blank = |text: Option<&str>| text.is_none_or(|text| text.trim().is_empty());
            let alone = blank(text.get(begun..ended));
            let last = text.get(..start).and_then(|text| text.chars().next_back());
            let first = text.get(start..).and_then(|text| text.chars().next());
            let apart = [last, first].into_iter().flatten().any(char::is_whitespace);
            !alone && start >= ended && apart
        };
        let pieces = encoding.get_ids().iter().zip(offsets).enumerate();
        Ok(pieces
            .map(|(place, (&id, &(start, end)))| WordPiece { id, bytes: start..end, begins: begins(place) })
            .collect())
    }

    /// The ids of `[CLS] text [SEP]`.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_specials(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encoding([text], true)?.get_ids().to_vec())
    }

    /// The ids of `[CLS] left [SEP] right [SEP]`, and for each whether it is of the first (0) or the second part (1).
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_pair(&self, left: &str, right: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        let encoding = self.encoding([left, right], true)?;
        Ok((encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec()))
    }

    /// What the tokenizer makes of one text or of two, its special tokens counted, and which text each piece is of.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn pieces(&self, left: &str, right: Option<&str>) -> Result<Vec<Piece>> {
        let encoding = match right {
            None => self.encoding([left], true)?,
            Some(right) => self.encoding([left, right], true)?,
        };
        let texts = encoding.get_sequence_ids();
        let pieces = encoding.get_ids().iter().zip(encoding.get_type_ids()).zip(texts);
        Ok(pieces.map(|((&id, &of_type), text)| Piece { id, of_type, text }).collect())
    }

    /// The encoding of a text, or of two.
    fn encoding<const N: usize>(&self, texts: [&str; N], specials: bool) -> Result<Encoding> {
        let _turn = self.turn(texts)?;
        let input = match texts.as_slice() {
            [left, right] => EncodeInput::from((*left, *right)),
            others => others.first().copied().unwrap_or_default().into(),
        };
        caught(|| self.inner.encode_fast(input, specials))
    }

    /// Waits until there is memory to tokenize a text, or two.
    fn turn<const N: usize>(&self, texts: [&str; N]) -> Result<budget::Turn> {
        growth::turn(self.inner.get_normalizer(), self.growth, &texts)
    }

    /// The text of `ids`, the specials left out if `skip_specials`. Unknown ids are left out.
    ///
    /// # Errors
    /// When the tokenizer's decoder refuses the tokens.
    pub fn decode(&self, ids: &[u32], skip_specials: bool) -> Result<String> {
        let decoded = self.inner.decode(ids, skip_specials);
        decoded.map_err(|error| Error::config("tokenizer", "a decoder for its tokens", error))
    }

    /// How many ids there are: the highest id and one.
    pub fn vocab_size(&self) -> usize {
        self.table.vocab_size()
    }

    /// The token `id` as it is spelled in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The special tokens.
    pub fn specials(&self) -> &SpecialIds {
        &self.table.specials
    }

    /// What the special tokens are called.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special_tokens
    }

    /// What is known of each id.
    pub fn table(&self) -> &TokenTable {
        &self.table
    }

    /// A text as the normalizer leaves it, of which pieces are made.
    pub(super) fn normalized(&self, text: &str) -> Result<String> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.inner.get_normalizer() {
            let failed = |error| Error::config("text", "one that the tokenizer's normalizer can take", error);
            normalizer.normalize(&mut normalized).map_err(failed)?;
        }
        Ok(normalized.get().to_owned())
    }

    /// A number that differs between different `tokenizer.json` files.
    pub fn fingerprint(&self) -> u64 {
        fnv1a(&self.json)
    }
}

/// The encoding that `encode` gives, or an error.
fn caught(encode: impl FnOnce() -> std::result::Result<Encoding, tokenizers::Error>) -> Result<Encoding> {
    // A crafted pattern, such as one that matches nothing before a certain letter, panics in the crate below.
    let found = match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(Ok(encoding)) => return Ok(encoding),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "a pattern that cannot split it".to_owned(),
    };
    Err(Error::config("tokenizer", "a token for every piece of the text", found))
}

fn table(inner: &tokenizers::Tokenizer, tokens: &SpecialTokens) -> Result<TokenTable, check::Complaint> {
    let ids = tokens.roles().map(|(role, token)| (role, token.and_then(|token| inner.token_to_id(token))));
    let [(_, Some(pad)), (_, Some(unk)), (_, Some(cls)), (_, Some(sep)), (_, Some(mask))] = ids else {
        let named = ids.iter().zip(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]);
        let missing = named.filter(|((_, id), _)| id.is_none());
        let missing: Vec<_> = missing.map(|((role, _), name)| format!("no {role} such as {name}")).collect();
        let expected = format!("the special tokens {}", ids.map(|(role, _)| role).join(", "));
        return Err((expected, missing.join(", ")));
    };
    let vocab = inner.get_vocab(true);
    let marker = marker(inner);
    let size = vocab.values().max().map_or(0, |&id| id as usize + 1);
    let mut flags = vec![STARTS; size];
    for (token, &id) in &vocab {
        flags[id as usize] = match &marker {
            Marker::Continuing(prefix) if token.starts_with(prefix.as_str()) => 0,
            Marker::Ending(suffix) if token.ends_with(suffix.as_str()) => ENDS,
            Marker::Ending(_) => 0,
            Marker::Starting(mark) if !token.starts_with(*mark) => 0,
            _ => STARTS,
        };
    }
    let specials = SpecialIds { pad, unk, cls, sep, mask };
    for id in specials.sorted() {
        flags[id as usize] = STARTS | ENDS;
    }
    Ok(TokenTable { specials, flags })
}

fn marker(inner: &tokenizers::Tokenizer) -> Marker {
    match inner.get_model() {
        ModelWrapper::WordPiece(model) => Marker::Continuing(model.continuing_subword_prefix.clone()),
        ModelWrapper::BPE(model) => match (&model.continuing_subword_prefix, &model.end_of_word_suffix) {
            (Some(prefix), _) if !prefix.is_empty() => Marker::Continuing(prefix.clone()),
            (_, Some(suffix)) if !suffix.is_empty() => Marker::Ending(suffix.clone()),
            // Byte-level BPE writes the space before a word as Ġ, SentencePiece's as ▁.
            _ if inner.get_vocab(false).keys().any(|token| token.starts_with('Ġ')) => Marker::Starting('Ġ'),
            _ => Marker::Starting('▁'),
        },
        ModelWrapper::Unigram(_) => Marker::Starting('▁'),
        ModelWrapper::WordLevel(_) => Marker::Words,
    }
}
