//! Which tokens of a `tokenizer.json` have which part in a sequence: found by what the file does with them, whatever
//! they are called.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The ids of the special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpecialIds {
    /// Fills a batch's short sequences: BERT's `[PAD]`.
    pub pad: u32,
    /// A character outside the vocabulary: `[UNK]`.
    pub unk: u32,
    /// Opens a sequence: `[CLS]`.
    pub cls: u32,
    /// Closes a text: `[SEP]`.
    pub sep: u32,
    /// Stands where a token is to be guessed: `[MASK]`.
    pub mask: u32,
}

impl SpecialIds {
    /// The five ids, ascending.
    pub fn sorted(&self) -> [u32; 5] {
        let mut ids = [self.pad, self.unk, self.cls, self.sep, self.mask];
        ids.sort_unstable();
        ids
    }

    /// Whether `id` is one of the five.
    pub fn contains(&self, id: u32) -> bool {
        [self.pad, self.unk, self.cls, self.sep, self.mask].contains(&id)
    }
}

/// What the special tokens of a file are called, as far as it has them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// Fills a batch's short sequences.
    pub pad: Option<String>,
    /// A character outside the vocabulary.
    pub unk: Option<String>,
    /// Opens a sequence.
    pub cls: Option<String>,
    /// Closes a text.
    pub sep: Option<String>,
    /// Stands where a token is to be guessed.
    pub mask: Option<String>,
}

impl SpecialTokens {
    /// Reads a `tokenizer.json`: what opens and closes a text says its post-processor, what is unknown its model, what
    /// fills its padding. What the file does not say is known by the names that BERT and RoBERTa gave.
    pub fn of(file: &Value) -> Self {
        let [cls, sep] = file.get("post_processor").map(around_a_text).unwrap_or_default();
        let text = |pointer: &str| Some(file.pointer(pointer)?.as_str()?.to_owned());
        let unk = text("/model/unk_token").or_else(|| {
            // A unigram model names its unknown token by number.
            let number = file.pointer("/model/unk_id")?.as_u64()?;
            Some(file.pointer(&format!("/model/vocab/{number}/0"))?.as_str()?.to_owned())
        });
        let called =
            |names: [&str; 2]| names.into_iter().find(|name| id(file, name).is_some()).map(str::to_owned);
        SpecialTokens {
            pad: text("/padding/pad_token").or_else(|| called(["[PAD]", "<pad>"])),
            unk: unk.or_else(|| called(["[UNK]", "<unk>"])),
            cls: cls.or_else(|| called(["[CLS]", "<s>"])),
            sep: sep.or_else(|| called(["[SEP]", "</s>"])),
            mask: called(["[MASK]", "<mask>"]),
        }
    }

    /// [`SpecialTokens::of`] a file, but for those that `named`, which other files name.
    pub fn with(file: &Value, named: &SpecialTokens) -> Self {
        named.clone().known(file).or(Self::of(file))
    }

    /// These, and what they lack as `others` has it.
    fn or(self, others: SpecialTokens) -> Self {
        SpecialTokens {
            pad: self.pad.or(others.pad),
            unk: self.unk.or(others.unk),
            cls: self.cls.or(others.cls),
            sep: self.sep.or(others.sep),
            mask: self.mask.or(others.mask),
        }
    }

    /// Those that are tokens of the file; a name that is none is no name.
    fn known(self, file: &Value) -> Self {
        let known = |token: Option<String>| token.filter(|token| id(file, token).is_some());
        SpecialTokens {
            pad: known(self.pad),
            unk: known(self.unk),
            cls: known(self.cls),
            sep: known(self.sep),
            mask: known(self.mask),
        }
    }

    /// Each with what it is for, as `tokenizer_config.json` names that.
    pub fn roles(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("pad_token", self.pad.as_deref()),
            ("unk_token", self.unk.as_deref()),
            ("cls_token", self.cls.as_deref()),
            ("sep_token", self.sep.as_deref()),
            ("mask_token", self.mask.as_deref()),
        ]
    }
}

/// The special tokens that a `tokenizer.json` has, as the key in `config.json` and the id; `named` are those that other
/// files name. What is not there, or broken, is left out: reading the tokenizer says so.
pub fn special_token_ids(json: &[u8], named: &SpecialTokens) -> Vec<(&'static str, u32)> {
    let file: Value = serde_json::from_slice(json).unwrap_or_default();
    let SpecialTokens { pad, cls, sep, mask, .. } = SpecialTokens::with(&file, named);
    [("pad_token_id", pad), ("cls_token_id", cls), ("sep_token_id", sep), ("mask_token_id", mask)]
        .into_iter()
        .filter_map(|(key, token)| Some((key, id(&file, &token?)?)))
        .collect()
}

/// The id of a token.
fn id(file: &Value, token: &str) -> Option<u32> {
    let called = |entry: &&Value| entry.get("content").and_then(Value::as_str) == Some(token);
    let added = file.get("added_tokens").and_then(Value::as_array);
    let added = added.and_then(|list| list.iter().find(called)).and_then(|entry| entry.get("id"));
    let id = added.or_else(|| file.get("model")?.get("vocab")?.get(token));
    id.and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok())
}

/// The first special tokens that a post-processor puts before and after a single text.
fn around_a_text(processor: &Value) -> [Option<String>; 2] {
    if let Some(parts) = processor.get("processors").and_then(Value::as_array) {
        let parts = parts.iter().map(around_a_text);
        return parts.fold([None, None], |[cls, sep], [before, after]| [cls.or(before), sep.or(after)]);
    }
    // The processors of BERT and RoBERTa have a name and an id of each.
    let pair = |key: &str| Some(processor.get(key)?.get(0)?.as_str()?.to_owned());
    let mut found = [pair("cls"), pair("sep")];
    let mut side = 0;
    for part in processor.get("single").and_then(Value::as_array).into_iter().flatten() {
        if part.get("Sequence").is_some() {
            side = 1;
        }
        let token = part.pointer("/SpecialToken/id").and_then(Value::as_str);
        found[side] = found[side].take().or_else(|| token.map(str::to_owned));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_are_known_by_what_the_file_does_with_them() {
        let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let added = |id: u32, content: &str| json!({"id": id, "content": content});
        let file = json!({
            "added_tokens": [added(7, "<mask>"), added(9, "start"), added(8, "end")],
            "padding": {"pad_token": "fill"},
            "post_processor": {"type": "Sequence", "processors": [
                {"type": "ByteLevel"},
                {"type": "TemplateProcessing", "single": [special("start"), text, special("end")]},
            ]},
            "model": {"unk_id": 1, "vocab": [["fill", 0.0], ["odd", 0.0]]},
        });
        let found = SpecialTokens::of(&file);
        let found = found.roles().map(|(_, token)| token.unwrap_or_default().to_owned());
        assert_eq!(found, ["fill", "odd", "start", "end", "<mask>"]);
        let ids = special_token_ids(file.to_string().as_bytes(), &SpecialTokens::default());
        assert_eq!(ids, [("cls_token_id", 9), ("sep_token_id", 8), ("mask_token_id", 7)]);

        let roberta = json!({
            "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]},
            "model": {"vocab": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}},
        });
        let ids = special_token_ids(roberta.to_string().as_bytes(), &SpecialTokens::default());
        let expected = [("pad_token_id", 1), ("cls_token_id", 0), ("sep_token_id", 2), ("mask_token_id", 4)];
        assert_eq!(ids, expected);
    }
}
