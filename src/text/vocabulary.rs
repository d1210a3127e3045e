//! A `vocab.txt`, all that older folders of BERT have of their tokenizer, as the `tokenizer.json` that stands for it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::companions::Companions;
use crate::error::quoted;
use crate::{Error, Result};

/// The file: a token to a line, whose number is its id.
pub const VOCABULARY_FILE: &str = "vocab.txt";

/// More than any published vocabulary has.
const MAX_TOKENS: usize = 1 << 21;

/// Classes of `transformers` whose tokenizer this is.
const CLASSES: [&str; 3] = ["BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"];

/// The `tokenizer.json` that `transformers` makes of the bytes of a `vocab.txt`: text is lower-cased unless
/// `tokenizer_config.json` says otherwise, and its special tokens are BERT's unless the files beside it name others.
///
/// # Errors
/// [`Error::File`] for a vocabulary without BERT's special tokens, or of another tokenizer.
pub(crate) fn tokenizer_json(bytes: &[u8], path: &Path, companions: &Companions) -> Result<Vec<u8>> {
    let class = companions.settings.get("tokenizer_class").and_then(Value::as_str).unwrap_or(CLASSES[0]);
    if !CLASSES.contains(&class.trim_end_matches("Fast")) {
        let expected =
            "a tokenizer.json beside it, as only BERT's tokenizer follows from the vocabulary alone";
        return Err(Error::file(path, expected, format!("`tokenizer_class` {}", quoted(class))));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::file(path, "a token to a line", error.to_string()))?;
    // Blank lines at the end are no tokens, however an editor left them there.
    let text = text.trim_end_matches(['\r', '\n']);
    let tokens = text.lines().count();
    if tokens > MAX_TOKENS {
        return Err(Error::file(path, format!("at most {MAX_TOKENS} tokens"), tokens.to_string()));
    }
    let (mut vocab, mut twice) = (Map::new(), None);
    for (id, line) in text.lines().enumerate() {
        if vocab.insert(line.to_owned(), json!(id)).is_some() {
            twice.get_or_insert(line);
        }
    }
    let roles = companions.roles();
    let special = |role: Option<String>, name: &str| {
        let token = role.unwrap_or_else(|| name.to_owned());
        match vocab.get(&token) {
            Some(id) => Ok((token, id.clone())),
            None => Err(Error::file(path, format!("the special token {}", quoted(&token)), "none")),
        }
    };
    let unk = special(roles.unk, "[UNK]")?;
    let cls = special(roles.cls, "[CLS]")?;
    let sep = special(roles.sep, "[SEP]")?;
    let all =
        [special(roles.pad, "[PAD]")?, unk.clone(), cls.clone(), sep.clone(), special(roles.mask, "[MASK]")?];
    // A file that is no vocabulary at all has been told so before.
    if let Some(line) = twice {
        return Err(Error::file(path, "tokens that come once", format!("{} twice", quoted(line))));
    }
    let added = all.iter().map(|(token, id)| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    });
    let added: Vec<Value> = added.collect();
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": [sep.0, sep.1], "cls": [cls.0, cls.1]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": unk.0, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    });
    Ok(file.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nparis\nParis\ncafe\ncaf\u{e9}\n##s\n\u{4eca}\n";

    fn ids(settings: Value, text: &str) -> Vec<u32> {
        let Value::Object(settings) = settings else { return Vec::new() };
        let companions = Companions { settings, ..Companions::default() };
        let json = tokenizer_json(WORDS.as_bytes(), Path::new(VOCABULARY_FILE), &companions).unwrap();
        Tokenizer::from_bytes(companions.overrule(json)).unwrap().encode_with_specials(text).unwrap()
    }

    #[test]
    fn a_vocabulary_is_enough() {
        let text = "Paris caf\u{e9}s\u{4eca}x";
        assert_eq!(ids(json!({}), text), [2, 5, 7, 9, 10, 1, 3]);
        let cased = json!({"do_lower_case": false, "tokenizer_class": "BertTokenizer"});
        assert_eq!(ids(cased, text), [2, 6, 8, 9, 10, 1, 3]);
        assert_eq!(ids(json!({"strip_accents": false}), text), [2, 5, 8, 9, 10, 1, 3]);
    }

    #[test]
    fn blank_lines_at_the_end_are_no_tokens() {
        let json =
            |text: &str| tokenizer_json(text.as_bytes(), Path::new(VOCABULARY_FILE), &Companions::default());
        assert_eq!(json(&format!("{WORDS}\n\r\n\n")).unwrap(), json(WORDS).unwrap());
        assert!(json(&format!("{WORDS}\n\nx\n")).unwrap_err().to_string().contains("tokens that come once"));
    }

    #[test]
    fn a_vocabulary_of_another_tokenizer_is_refused() {
        let settings = Map::from_iter([("tokenizer_class".to_owned(), json!("BertJapaneseTokenizer"))]);
        let companions = Companions { settings, ..Companions::default() };
        let refused = |text: &[u8], companions: &Companions| {
            tokenizer_json(text, Path::new(VOCABULARY_FILE), companions).unwrap_err().to_string()
        };
        assert!(
            refused(WORDS.as_bytes(), &companions)
                .contains("found `tokenizer_class` `BertJapaneseTokenizer`")
        );
        assert!(refused(b"a\nb\n", &Companions::default()).contains("the special token `[UNK]`, found none"));
        assert!(refused(b"\xff", &Companions::default()).contains("a token to a line"));
    }
}
