//! Learning a vocabulary.
//!
//! Words are counted in bounded chunks on all cores; the merges are then learnt on the counts. Where there are more than
//! `MAX_COUNTED` different words the commoner half is kept and counting goes on. This is looked at after every `CHUNK`
//! bytes of text, however many are read at once, so that the vocabulary does not depend on the memory there is. Merges are
//! learnt on the `MAX_LEARNT` commonest: rarer words hardly change which pairs are frequent, and memory is bounded. The crate's own
//! trainer numbers the `##` letters in the order of a randomly seeded hash map, so they are handed to it in
//! order, as if they were special: the same text gives the same file.

use std::cmp::Reverse;
use std::collections::HashMap;

use rayon::prelude::*;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::Sequence;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use super::pipeline::{self, CONTINUING, SPECIALS, TokenizerKind, TokenizerOptions};
use super::tokenizer::Tokenizer;
use super::words::{Signs, parts};
use crate::budget;
use crate::hash::fnv1a;
use crate::{Error, Result};

/// The smallest vocabulary that holds the specials and ASCII.
pub const MIN_VOCAB: usize = 256;
/// The most tokens a vocabulary may have: no model here embeds more.
pub const MAX_VOCAB: usize = 1 << 20;

/// Bytes of text split into words at once, where there is the memory, and those after which words may be forgotten.
const CHUNK: usize = 8 << 20;
/// Of more different words than these the rarer half is forgotten while counting.
const MAX_COUNTED: usize = 1 << 23;
/// Merges are learnt on at most so many different words. Each takes about 700 bytes while that goes on.
const MAX_LEARNT: usize = 1 << 21;
/// A pair of pieces must occur this often to be merged, a character to have a token.
const MIN_COUNT: u64 = 2;

type Counts = HashMap<String, u64>;

impl Tokenizer {
    /// Learns a tokenizer from `texts`, which are read once, in bounded memory.
    ///
    /// # Errors
    /// The first error among `texts`, a vocabulary below [`MIN_VOCAB`] or beyond [`MAX_VOCAB`], or no word in all the texts.
    pub fn train<I>(texts: I, options: &TokenizerOptions) -> Result<Tokenizer>
    where
        I: IntoIterator<Item = Result<String>>,
    {
        if !(MIN_VOCAB..=MAX_VOCAB).contains(&options.vocab_size) {
            return Err(Error::config(
                "vocab-size",
                format!("{MIN_VOCAB} to {MAX_VOCAB}"),
                options.vocab_size,
            ));
        }
        let bounds = Bounds { read: budget::batch_limit(), chunk: CHUNK, most: MAX_COUNTED };
        let mut words = count_words(texts, options, bounds)?;
        if words.is_empty() {
            return Err(Error::config("tokenizer training text", "at least one word", "none"));
        }
        let counted = words.iter().map(|(word, &count)| (word.as_str(), count));
        let keep = options.keep_accents || pipeline::is_vietnamese(counted);
        if !keep {
            words = drop_accents(words, options)?;
        }
        keep_commonest(&mut words, MAX_LEARNT);
        let pieces = keep_alphabet(&mut words, options);
        let bpe = learn(&words, pieces, options.vocab_size)?;
        assemble(bpe, options, keep)
    }
}

/// What bounds the memory that counting takes.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Bytes read before they are counted, which may be anything.
    read: usize,
    /// Bytes of text after which the rarer words may be forgotten.
    chunk: usize,
    /// Different words that are not too many then.
    most: usize,
}

fn count_words<I>(texts: I, options: &TokenizerOptions, bounds: Bounds) -> Result<Counts>
where
    I: IntoIterator<Item = Result<String>>,
{
    // Accents are dropped from the words, once each, when all are counted: only then is it known whether to.
    let normalizer = pipeline::normalizer(options, true)?;
    let pre_tokenizer = pipeline::pre_tokenizer()?;
    // The special tokens in a text are no tokens when words are counted.
    let signs = Signs::but_for(std::iter::empty());
    let counts = |texts: &[String]| -> Result<Counts> {
        // Cleaning takes most of the time, so what comes again is cleaned once.
        let mut seen: HashMap<&str, u64> = HashMap::new();
        texts
            .iter()
            .flat_map(|text| parts(text, &signs))
            .for_each(|part| *seen.entry(part).or_default() += 1);
        let mut counts = Counts::new();
        for (part, times) in seen {
            let mut add = |word: &str| match counts.get_mut(word) {
                Some(count) => *count += times,
                None => _ = counts.insert(word.to_owned(), times),
            };
            // A page learns from little text, and each of its visitors would fetch this.
            if cfg!(not(target_arch = "wasm32"))
                && let Some(words) = pipeline::plain_words(part, options.keep_case)
            {
                words.for_each(|word| add(&word));
                continue;
            }
            let _turn = budget::tokenizing(part.len() as u64);
            let mut normalized = NormalizedString::from(part);
            let failed =
                |error| Error::config("tokenizer training text", "text that can be split into words", error);
            normalizer.normalize(&mut normalized).map_err(failed)?;
            let mut pieces = PreTokenizedString::from(normalized);
            pre_tokenizer.pre_tokenize(&mut pieces).map_err(failed)?;
            for (word, ..) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
                add(word);
            }
        }
        Ok(counts)
    };
    let mut total = Counts::new();
    let mut texts = texts.into_iter().peekable();
    let mut passed = 0;
    while texts.peek().is_some() {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        while bytes < bounds.read
            && passed < bounds.chunk
            && let Some(text) = texts.next()
        {
            let text = text?;
            bytes += text.len() + size_of::<String>();
            passed += text.len();
            chunk.push(text);
        }
        // Some for each thread, as texts are of all lengths.
        let each = chunk.len().div_ceil(4 * rayon::current_num_threads()).max(1);
        let counted = chunk.par_chunks(each).map(counts);
        let counted = counted.try_reduce(Counts::new, |left, right| Ok(merge(left, right)))?;
        total = merge(total, counted);
        if passed >= bounds.chunk {
            passed %= bounds.chunk;
            if total.len() > bounds.most {
                keep_commonest(&mut total, bounds.most / 2);
            }
        }
    }
    Ok(total)
}

/// Keeps the `most` words that occur most often. Of those that occur equally often as the last of them, the words with the
/// lowest hashes stay, so that the choice depends on nothing but the words and their counts.
fn keep_commonest(words: &mut Counts, most: usize) {
    if words.len() <= most {
        return;
    }
    let rank = |word: &str, count: u64| (Reverse(count), fnv1a(word.as_bytes()));
    let mut ranks: Vec<_> = words.iter().map(|(word, &count)| rank(word, count)).collect();
    let last = *ranks.select_nth_unstable(most.saturating_sub(1)).1;
    drop(ranks);
    words.retain(|word, count| rank(word, *count) <= last);
    words.shrink_to_fit();
}

/// The same counts of the words without their accents.
fn drop_accents(words: Counts, options: &TokenizerOptions) -> Result<Counts> {
    let steps = Sequence::new(pipeline::without_accents(options)?);
    let failed =
        |error| Error::config("tokenizer training text", "words whose accents can be dropped", error);
    let mut plain = Counts::with_capacity(words.len());
    for (word, count) in words {
        let word = match word.is_ascii() {
            true => word,
            false => {
                let mut normalized = NormalizedString::from(word);
                steps.normalize(&mut normalized).map_err(failed)?;
                normalized.get().to_owned()
            }
        };
        *plain.entry(word).or_default() += count;
    }
    Ok(plain)
}

/// Adds the smaller table to the larger.
fn merge(left: Counts, right: Counts) -> Counts {
    let (mut large, small) = if left.len() < right.len() { (right, left) } else { (left, right) };
    for (word, count) in small {
        *large.entry(word).or_default() += count;
    }
    large
}

/// Chooses the characters that get a token, drops the words with others, and returns the `##` pieces in order.
///
/// ASCII is always in; of the rest the most frequent, in at most a quarter of the vocabulary beside it.
fn keep_alphabet(words: &mut Counts, options: &TokenizerOptions) -> Vec<String> {
    // Per character: how often, and whether inside a word.
    let mut seen: HashMap<char, (u64, bool)> = HashMap::new();
    for (word, &count) in words.iter() {
        for (index, character) in word.chars().enumerate() {
            let entry = seen.entry(character).or_default();
            entry.0 += count;
            entry.1 |= index > 0;
        }
    }
    // The ASCII that the pipeline can let through, so that any user's text has tokens.
    let ascii = ('!'..='~').filter(|character| options.keep_case || !character.is_ascii_uppercase());
    for character in ascii.chain(['\n']) {
        let entry = seen.entry(character).or_default();
        *entry = (u64::MAX, character.is_ascii_alphabetic());
    }
    let mut ranked: Vec<_> =
        seen.iter().map(|(&character, &(count, inside))| (count, character, inside)).collect();
    ranked.sort_unstable_by_key(|&(count, character, _)| (Reverse(count), character));
    let mut kept = HashMap::new();
    let mut slots = 0;
    for (count, character, inside) in ranked {
        if count < u64::MAX {
            slots += 1 + usize::from(inside);
            if slots > options.vocab_size / 4 || count < MIN_COUNT {
                break;
            }
        }
        kept.insert(character, inside);
    }
    words.retain(|word, _| word.chars().all(|character| kept.contains_key(&character)));
    let mut pieces: Vec<_> =
        kept.iter().filter(|(_, inside)| **inside).map(|(&character, _)| character).collect();
    pieces.sort_unstable();
    // Characters that no kept word shows would have no token otherwise.
    for character in kept.into_keys() {
        words.entry(character.to_string()).or_insert(1);
    }
    pieces.into_iter().map(|character| format!("{CONTINUING}{character}")).collect()
}

fn learn(words: &Counts, pieces: Vec<String>, vocab_size: usize) -> Result<BPE> {
    let first = SPECIALS.iter().map(|token| token.to_string()).chain(pieces);
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab_size)
        .min_frequency(MIN_COUNT)
        .continuing_subword_prefix(CONTINUING.to_owned())
        .special_tokens(first.map(|token| AddedToken::from(token, true)).collect())
        .build();
    let scale = scale(words);
    let counts = words.iter().map(|(word, count)| (word.as_str().into(), count.div_ceil(scale))).collect();
    let mut bpe = BPE::default();
    bpe.unk_token = Some(SPECIALS[1].to_owned());
    let failed = |error| Error::config("tokenizer training text", "words to learn from", error);
    trainer.do_train(&counts, &mut bpe).map_err(failed)?;
    Ok(bpe)
}

/// The trainer counts pairs in 32 bits: what to divide all counts by so that the commonest pair fits.
fn scale(words: &Counts) -> u64 {
    let mut pairs: HashMap<(char, char), u64> = HashMap::new();
    for (word, count) in words {
        for pair in word.chars().zip(word.chars().skip(1)) {
            *pairs.entry(pair).or_default() += count;
        }
    }
    let most = pairs.into_values().max().unwrap_or(0);
    // Half of the range leaves room for the rounding up of many small counts.
    most / (i32::MAX as u64 / 2) + 1
}

fn assemble(bpe: BPE, options: &TokenizerOptions, keep_accents: bool) -> Result<Tokenizer> {
    let failed = |error: tokenizers::Error| Error::config("tokenizer", "parts that fit", error);
    let mut inner = match options.kind {
        TokenizerKind::Bpe => tokenizers::Tokenizer::new(bpe),
        TokenizerKind::WordPiece => tokenizers::Tokenizer::new(WordPiece::from_bpe(&bpe)),
    };
    inner.with_normalizer(Some(pipeline::normalizer(options, keep_accents)?)).map_err(failed)?;
    inner.with_pre_tokenizer(Some(pipeline::pre_tokenizer()?));
    inner.with_post_processor(Some(pipeline::post_processor()?));
    inner.with_decoder(Some(pipeline::decoder()));
    inner.add_special_tokens(SPECIALS.map(|token| AddedToken::from(token, true))).map_err(failed)?;
    let json = inner.to_string(true).map_err(failed)?;
    Tokenizer::from_bytes(json.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::mix;

    #[test]
    fn what_is_forgotten_does_not_depend_on_how_much_is_read_at_once() {
        // Each of many words comes a few times, now and then, and some keep coming.
        // Digits would be words of their own.
        let word = |n: u64| -> String {
            n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
        };
        let text =
            |n: u64| [n % 7, mix(n) % 500, mix(n + 10_000) % 900].map(|n| format!("w{}", word(n))).join(" ");
        let counted = |read: usize| {
            let texts = (0..2000).map(|n| Ok(text(n)));
            let bounds = Bounds { read, chunk: 1000, most: 100 };
            count_words(texts, &TokenizerOptions::default(), bounds).unwrap()
        };
        let whole = counted(1 << 20);
        assert!(whole.len() > 50 && whole.len() < 800, "{}", whole.len());
        for read in [1, 300, 999, 2000] {
            assert!(counted(read) == whole, "{read}");
        }
    }

    #[test]
    fn words_are_counted_as_the_pipeline_splits_the_text() {
        let long = "x".repeat(250);
        let texts = [
            "The dog's 12 DOGS, it's [MASK]_\u{e9}t\u{c9} \u{2026}",
            "a  b\r\n\t c\u{ad}d",
            "na\u{ef}ve <U+338> <\u{338}",
            &long,
        ];
        for keep_case in [false, true] {
            let options = TokenizerOptions { keep_case, ..TokenizerOptions::default() };
            let bounds = Bounds { read: 10, chunk: 1000, most: 1000 };
            let counted = count_words(texts.map(|text| Ok(text.to_owned())), &options, bounds).unwrap();
            let mut expected = Counts::new();
            for text in texts {
                let mut cleaned = NormalizedString::from(text);
                pipeline::normalizer(&options, true).unwrap().normalize(&mut cleaned).unwrap();
                let mut pieces = PreTokenizedString::from(cleaned);
                pipeline::pre_tokenizer().unwrap().pre_tokenize(&mut pieces).unwrap();
                for (word, ..) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
                    *expected.entry(word.to_owned()).or_default() += 1;
                }
            }
            assert_eq!(counted, expected);
            assert!(counted.contains_key(&"x".repeat(100)) && counted.contains_key(&"x".repeat(50)));
        }
    }

    #[test]
    fn the_commonest_words_stay_whatever_their_order() {
        let word = |number: u64| format!("w{number}");
        // Words 0 to 9 occur often, 10 to 999 once.
        let count = |number: u64| if number < 10 { 100 - number } else { 1 };
        let kept = |numbers: &mut dyn Iterator<Item = u64>, most: usize| {
            let mut words: Counts = numbers.map(|number| (word(number), count(number))).collect();
            keep_commonest(&mut words, most);
            let mut words: Vec<_> = words.into_iter().collect();
            words.sort();
            words
        };
        assert_eq!(kept(&mut (0..1000), 3), [(word(0), 100), (word(1), 99), (word(2), 98)]);
        let some = kept(&mut (0..1000), 500);
        assert_eq!(some.len(), 500);
        assert!((0..10).all(|number| some.contains(&(word(number), count(number)))));
        assert_eq!(some, kept(&mut (0..1000).rev(), 500));
        assert_eq!(kept(&mut (0..1000), 1000).len(), 1000);
    }
}
