//! Tokenizing a text a word at a time, where that gives the same tokens: most words were seen before, and their tokens are known.
//!
//! Cleaning, splitting and the search for pieces look no further than the blanks around a word, in the tokenizers that are
//! trained here and in BERT's. Others may look further, as those that keep a blank with the word after it, and are given
//! their texts whole.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

use super::pipeline::{self, TokenizerOptions};
use crate::Result;

/// So many words are known at most, to each thread; then it begins anew, as texts may have changed.
const MOST_WORDS: usize = 1 << 17;
/// What is longer hardly comes again.
const LONGEST_WORD: usize = 48;

/// A word by itself takes about so many times as long as within a text.
const ALONE: usize = 4;
/// Of a text with many words that were not seen, one in so many parts is found out by itself.
const LEARNT: usize = 16;

type Known = HashMap<Box<str>, Box<[u32]>>;

/// The tokens of words that were seen.
pub(super) struct Words {
    signs: Signs,
    /// One for each text that is being tokenized at the same time, so that threads do not wait for each other.
    idle: Mutex<Vec<Known>>,
}

impl fmt::Debug for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Words").finish_non_exhaustive()
    }
}

impl Words {
    /// None where a tokenizer may make something else of a text than of its words.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let model = match tokenizer.get_model() {
            // Merges that are left out by chance come out differently each time.
            ModelWrapper::BPE(model) => model.dropout.is_none(),
            ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) | ModelWrapper::Unigram(_) => true,
        };
        let added = tokenizer.get_added_tokens_decoder();
        let within_words = added.values().all(|token| {
            let plain = !token.normalized || token.content.is_ascii();
            plain && !token.lstrip && !token.rstrip && !token.content.contains(char::is_whitespace)
        });
        // Our own cleaning is compiled to be compared with, which takes longest, so it comes last.
        let divides = model
            && within_words
            && tokenizer.get_pre_tokenizer().is_some_and(splits_words)
            && tokenizer.get_normalizer().is_none_or(cleans_words);
        let signs = Signs::but_for(added.values().map(|token| token.content.as_str()));
        divides.then(|| Words { signs, idle: Mutex::default() })
    }

    /// The tokens of `text`; `whole` tokenizes what was not seen: parts of it, or all of it where that costs less.
    ///
    /// # Errors
    /// Those of `whole`.
    pub(super) fn encode(&self, text: &str, whole: impl Fn(&str) -> Result<Vec<u32>>) -> Result<Vec<u32>> {
        let mut known = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let parts: Vec<&str> = parts(text, &self.signs).collect();
        let seen: Vec<Option<&[u32]>> = parts.iter().map(|part| known.get(*part).map(|ids| &**ids)).collect();
        let missing = seen.iter().filter(|seen| seen.is_none()).count();
        let mut new = Vec::new();
        let tokens = if missing * ALONE > parts.len() {
            // Some are found out all the same, or nothing would ever be known.
            let unseen =
                parts.iter().zip(&seen).filter(|(part, seen)| seen.is_none() && part.len() <= LONGEST_WORD);
            for (part, _) in unseen.take(parts.len() / LEARNT + 1) {
                new.push((*part, whole(part)?));
            }
            whole(text)?
        } else {
            let mut tokens = Vec::with_capacity(text.len() / 4);
            for (part, seen) in parts.iter().zip(seen) {
                if let Some(seen) = seen {
                    tokens.extend_from_slice(seen);
                    continue;
                }
                let found = whole(part)?;
                tokens.extend_from_slice(&found);
                if part.len() <= LONGEST_WORD {
                    new.push((*part, found));
                }
            }
            tokens
        };
        if known.len() + new.len() > MOST_WORDS {
            known.clear();
        }
        known.extend(new.into_iter().take(MOST_WORDS).map(|(part, found)| (part.into(), found.into())));
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(known);
        Ok(tokens)
    }
}

/// The signs of ASCII that are words of their own, whatever stands beside them.
pub(super) struct Signs([bool; 128]);

impl Signs {
    /// All of them, but for those that some token has in it. An underscore is none: whether a token that must be a word stands
    /// alone is told by the letters beside it, and those by which that is told count the underscore in.
    pub(super) fn but_for<'a>(tokens: impl Iterator<Item = &'a str>) -> Self {
        let mut signs = std::array::from_fn(|code| (code as u8).is_ascii_punctuation());
        signs[usize::from(b'_')] = false;
        tokens.flat_map(str::bytes).filter(u8::is_ascii).for_each(|byte| signs[usize::from(byte)] = false);
        Signs(signs)
    }

    fn holds(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).is_some_and(|&sign| sign)
    }

    /// Whether a word ends between two bytes that follow each other.
    fn end_between(&self, before: u8, after: u8) -> bool {
        before.is_ascii_alphanumeric() && self.holds(after)
            || self.holds(before) && after.is_ascii_alphanumeric()
    }
}

/// The parts of a text between blanks that stand alone between two [solid](is_solid) characters, where nothing but a blank can
/// come of them, and between a sign and a letter or digit of ASCII. Line ends, which may be tokens, stay within a part, and so
/// do runs of blanks.
pub(super) fn parts<'t>(text: &'t str, signs: &Signs) -> impl Iterator<Item = &'t str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let ends = |at: usize, before: u8, after: u8| match after {
            b' ' => {
                let next = text[at + 1..].chars().next();
                text[..at].chars().next_back().is_some_and(is_solid) && next.is_some_and(is_solid)
            }
            _ => signs.end_between(before, after),
        };
        let mut pairs = text.bytes().zip(text.bytes().skip(1)).enumerate();
        let end =
            pairs.find_map(|(at, (before, after))| ends(at + 1, before, after).then_some((at + 1, after)));
        rest = end.map(|(at, after)| &text[at + usize::from(after == b' ')..]);
        Some(end.map_or(text, |(at, _)| &text[..at]))
    })
}

/// Whether cleaning is sure to leave something of a character that is no blank.
fn is_solid(character: char) -> bool {
    character.is_ascii_graphic() || character.is_alphanumeric()
}

/// Whether two parts of a tokenizer are the same.
fn is_same(one: &impl Serialize, other: &impl Serialize) -> bool {
    let [one, other] = [serde_json::to_value(one), serde_json::to_value(other)];
    matches!((one, other), (Ok(one), Ok(other)) if one == other && one != Value::Null)
}

/// Whether cleaning a word gives what it becomes in a text.
fn cleans_words(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::BertNormalizer(_) => return true,
        NormalizerWrapper::Sequence(_) => {}
        _ => return false,
    }
    let own = |number: u8| {
        let [keep_case, keep_accents, keep] = [1, 2, 4].map(|bit| number & bit != 0);
        let options = TokenizerOptions { keep_case, keep_accents, ..TokenizerOptions::default() };
        pipeline::normalizer(&options, keep)
    };
    (0..8).any(|number| own(number).is_ok_and(|own| is_same(normalizer, &NormalizerWrapper::Sequence(own))))
}

/// Whether a word is split as it is in a text.
fn splits_words(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::BertPreTokenizer(_) => return true,
        PreTokenizerWrapper::Split(_) => {}
        _ => return false,
    }
    pipeline::pre_tokenizer().is_ok_and(|own| is_same(pre_tokenizer, &PreTokenizerWrapper::Split(own)))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::text::{Tokenizer, TokenizerKind};

    /// What texts are made of that may go wrong: blanks of all kinds, what is dropped, marks and joiners that look at what stands
    /// before them, signs that become two, tokens whole and torn.
    const BITS: [&str; 48] = [
        " ",
        " ",
        " ",
        " ",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\u{a0}",
        "\u{85}",
        "\u{2028}",
        "\u{200b}",
        "\u{200c}",
        "\u{200d}",
        "\u{feff}",
        "\u{ad}",
        "\0",
        "\u{301}",
        "\u{345}",
        "\u{5b0}",
        "[MASK]",
        "[SEP]",
        "[MA",
        "K]",
        "a",
        "dog",
        "Dogs",
        "qqq",
        "é",
        "e\u{301}",
        "ß",
        "Σ",
        "й",
        "中",
        "か\u{3099}",
        "한",
        "สวัสดี",
        "می",
        "ﬁ",
        "…",
        "12",
        "dog,",
        ".5",
        "<",
        "\u{338}",
        "_",
        "—",
    ];

    fn texts() -> impl Strategy<Value = String> {
        let bit = prop_oneof![
            6 => prop::sample::select(&BITS[..]).prop_map(str::to_owned),
            1 => any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(bit, 0..40).prop_map(|bits| bits.concat())
    }

    /// One of each kind that takes texts word by word: ours in all their forms, and BERT's in its.
    fn tokenizers() -> Vec<Tokenizer> {
        let corpus = || {
            BITS.iter()
                .filter(|bit| **bit != "qqq")
                .map(|bit| Ok(format!("the dog barks, at the dogs: {bit} {bit}x x{bit} {bit}{bit}")))
        };
        let ours = (0..8).map(|number: u8| {
            let [keep_case, keep_accents, wordpiece] = [1, 2, 4].map(|bit| number & bit != 0);
            let kind = if wordpiece { TokenizerKind::WordPiece } else { TokenizerKind::Bpe };
            let options = TokenizerOptions { vocab_size: 320, kind, keep_case, keep_accents };
            Tokenizer::train(corpus(), &options).unwrap()
        });
        let mut all: Vec<Tokenizer> = ours.collect();
        for number in 0..8_u8 {
            let [clean_text, lowercase, ideographs] = [1, 2, 4].map(|bit| number & bit != 0);
            let mut file: Value = serde_json::from_slice(all[4 + usize::from(number % 4)].json()).unwrap();
            file["normalizer"] = json!({ "type": "BertNormalizer", "clean_text": clean_text,
                "handle_chinese_chars": ideographs, "strip_accents": null, "lowercase": lowercase });
            file["pre_tokenizer"] = json!({ "type": "BertPreTokenizer" });
            // A token that must stand alone, as a whole word.
            let mut token = file["added_tokens"][4].clone();
            (token["id"], token["content"], token["single_word"]) = (json!(400), json!("qqq"), json!(true));
            file["added_tokens"].as_array_mut().unwrap().push(token);
            all.push(Tokenizer::from_bytes(file.to_string()).unwrap());
        }
        all
    }

    #[test]
    fn words_of_a_text_are_tokenized_as_the_text_is() {
        let tokenizers = tokenizers();
        assert!(tokenizers.iter().all(Tokenizer::takes_words));
        let mut runner = proptest::test_runner::TestRunner::default();
        let check = |text: String| {
            for tokenizer in &tokenizers {
                let whole = tokenizer.encode_with_offsets(&text).unwrap();
                let whole: Vec<u32> = whole.into_iter().map(|(id, _)| id).collect();
                // More of its words are known each time.
                for time in 1..=6 {
                    prop_assert_eq!(&tokenizer.encode(&text).unwrap(), &whole, "{:?}, time {}", text, time);
                }
            }
            Ok(())
        };
        runner.run(&texts(), check).unwrap();
    }

    #[test]
    fn a_tokenizer_that_looks_past_blanks_is_given_texts_whole() {
        let texts = ["the dogs bark at night.", "the dog barks."].map(|text| Ok(text.to_owned()));
        let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
        let file: Value = serde_json::from_slice(Tokenizer::train(texts, &options).unwrap().json()).unwrap();
        let with = |change: fn(&mut Value)| {
            let mut file = file.clone();
            change(&mut file);
            Tokenizer::from_bytes(file.to_string()).unwrap().takes_words()
        };
        assert!(with(|_| ()));
        let space = |file: &mut Value| {
            file["pre_tokenizer"] =
                json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always" });
        };
        let bytes = |file: &mut Value| {
            file["pre_tokenizer"] =
                json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true });
        };
        let step = |file: &mut Value| {
            let steps = file["normalizer"]["normalizers"].as_array_mut().unwrap();
            steps.push(json!({ "type": "Replace", "pattern": { "Regex": "e d" }, "content": "x" }));
        };
        assert!(![space, bytes, step].into_iter().any(with));
        // Blanks beside or within an added token are a part of it.
        assert!(!with(|file| file["added_tokens"][4]["lstrip"] = json!(true)));
        assert!(!with(|file| {
            let mut token = file["added_tokens"][4].clone();
            (token["id"], token["content"]) = (json!(256), json!("the dog"));
            file["added_tokens"].as_array_mut().unwrap().push(token);
        }));
    }

    #[test]
    fn words_are_looked_up_and_no_more_are_kept_than_there_is_room_for() {
        let words = Words { signs: Signs::but_for(["[MASK]"].into_iter()), idle: Mutex::default() };
        // What was asked for. The tokens are the letters.
        let asked = RefCell::new(Vec::new());
        let letters =
            |text: &str| text.bytes().filter(|byte| *byte != b' ').map(u32::from).collect::<Vec<_>>();
        let encode = |text: &str| {
            let found = words.encode(text, |part| {
                asked.borrow_mut().push(part.to_owned());
                Ok(letters(part))
            });
            assert_eq!(found.unwrap(), letters(text));
            asked.take()
        };
        // All of a text whose words are new, and one of them by itself.
        assert_eq!(encode("a dog and a  dog\nand a dog "), ["a", "a dog and a  dog\nand a dog "]);
        assert_eq!(encode("a dog"), ["dog", "a dog"]);
        assert_eq!(encode("dog a dog"), [""; 0]);
        // One new word of many, next to a sign, which is a word, unless it may be a part of a token.
        assert_eq!(encode("dog a dog a dog a dog dog,a"), [","]);
        assert_eq!(encode("dog a dog a dog a dog dog,a[and_a]"), ["a[and_a]"]);
        assert_eq!(encode("dog,a"), [""; 0]);
        let many: Vec<String> = (0..MOST_WORDS + 1000).map(|number| number.to_string()).collect();
        for some in many.chunks(100) {
            (0..16).for_each(|_| _ = encode(&some.join(" ")));
        }
        let kept: Vec<usize> = words.idle.lock().unwrap().iter().map(Known::len).collect();
        assert_eq!(kept.len(), 1);
        assert!((500..=MOST_WORDS).contains(&kept[0]), "{kept:?}");
    }
}
