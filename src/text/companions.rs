//! What the files beside a `tokenizer.json` say of it: `transformers` takes from them what a token is for, and how words
//! are cleaned.

use std::path::Path;

use serde_json::{Map, Value};

use super::specials::SpecialTokens;
use crate::Result;
use crate::json::weigh;
use crate::store::{Store, read_settings};

/// The `tokenizer_config.json` and the `special_tokens_map.json` of a folder, as far as they are there.
#[derive(Debug, Clone, Default)]
pub struct Companions {
    /// `tokenizer_config.json`
    pub settings: Map<String, Value>,
    /// `special_tokens_map.json`
    pub special_tokens: Map<String, Value>,
}

/// The tokenizer itself.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// What Python needs to know of a tokenizer beside its `tokenizer.json`, and how long texts may be.
pub const SETTINGS_FILE: &str = "tokenizer_config.json";
/// What the special tokens of a tokenizer are called, by what they are for.
pub const SPECIAL_TOKENS_FILE: &str = "special_tokens_map.json";

impl Companions {
    /// Those in a folder.
    ///
    /// # Errors
    /// [`crate::Error::Io`]; [`crate::Error::File`] for one that is no object in JSON.
    pub fn read(store: &dyn Store, dir: &Path) -> Result<Self> {
        Ok(Companions {
            settings: read_settings(store, &dir.join(SETTINGS_FILE))?,
            special_tokens: read_settings(store, &dir.join(SPECIAL_TOKENS_FILE))?,
        })
    }

    /// What the special tokens are called, as far as the files say it.
    pub fn roles(&self) -> SpecialTokens {
        // A token is its text, or an object that holds it.
        let text = |value: &Value| match value {
            Value::Object(token) => Some(token.get("content")?.as_str()?.to_owned()),
            other => other.as_str().map(str::to_owned),
        };
        let named = |key: &str| {
            let value = self.special_tokens.get(key).and_then(text);
            value.or_else(|| self.settings.get(key).and_then(text))
        };
        SpecialTokens {
            pad: named("pad_token"),
            unk: named("unk_token"),
            cls: named("cls_token").or_else(|| named("bos_token")),
            sep: named("sep_token").or_else(|| named("eos_token")),
            mask: named("mask_token"),
        }
    }

    /// The `tokenizer.json` as `transformers` takes it where `tokenizer_config.json` says otherwise: with other cleaning,
    /// and with one type for both texts of a pair. One with which the two agree comes back as it is.
    pub fn overrule(&self, json: Vec<u8>) -> Vec<u8> {
        // What is too much to parse is refused by whoever opens it.
        let parsed = weigh(&json).ok().and_then(|()| serde_json::from_slice::<Value>(&json).ok());
        let Some(before) = parsed else { return json };
        let mut file = before.clone();
        self.overrule_cleaning(&mut file);
        self.overrule_types(&mut file);
        if file == before { json } else { serde_json::to_vec(&file).unwrap_or(json) }
    }

    /// BERT's tokenizers believe `tokenizer_config.json` about case, accents and Chinese characters.
    fn overrule_cleaning(&self, file: &mut Value) {
        let class = self.settings.get("tokenizer_class").and_then(Value::as_str);
        // These two classes take the file as it is. Without a class `transformers` takes that of the model's family, and a
        // file whose normalizer is BERT's belongs to a family whose class is BERT's or made from it.
        if class.is_some_and(|class| class.starts_with("PreTrainedTokenizer") || class == "TokenizersBackend")
        {
            return;
        }
        let Some(Value::Object(normalizer)) = file.get_mut("normalizer") else { return };
        if normalizer.get("type").and_then(Value::as_str) != Some("BertNormalizer") {
            return;
        }
        for (ours, theirs) in [
            ("lowercase", "do_lower_case"),
            ("strip_accents", "strip_accents"),
            ("handle_chinese_chars", "tokenize_chinese_chars"),
        ] {
            let said = self.settings.get(theirs);
            // Null says nothing but of accents, where it means: as case goes.
            let said =
                said.filter(|value| value.is_boolean() || (value.is_null() && ours == "strip_accents"));
            if let Some(value) = said {
                normalizer.insert(ours.into(), value.clone());
            }
        }
    }

    /// A model that is not given types has that of the first text everywhere.
    fn overrule_types(&self, file: &mut Value) {
        let inputs = self.settings.get("model_input_names").and_then(Value::as_array);
        if inputs.is_none_or(|names| names.iter().any(|name| name == "token_type_ids")) {
            return;
        }
        let Some(parts) = file.pointer_mut("/post_processor/pair").and_then(Value::as_array_mut) else {
            return;
        };
        for kind in parts.iter_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            if let Some(of_type) = kind.get_mut("type_id") {
                *of_type = 0.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn companions(settings: &Value, tokens: &Value) -> Companions {
        let map = |value: &Value| value.as_object().cloned().unwrap_or_default();
        Companions { settings: map(settings), special_tokens: map(tokens) }
    }

    #[test]
    fn roles_are_named_by_either_file() {
        let settings =
            json!({"mask_token": "{mask}", "pad_token": "no", "eos_token": "end", "bos_token": null});
        let tokens = json!({"pad_token": {"content": "fill", "lstrip": false}, "cls_token": "begin"});
        let roles = companions(&settings, &tokens).roles();
        let found = roles.roles().map(|(_, token)| token);
        assert_eq!(found, [Some("fill"), None, Some("begin"), Some("end"), Some("{mask}")]);
    }

    #[test]
    fn cleaning_is_overruled_for_berts_tokenizers_alone() {
        let file = |lower: bool, accents: Value| {
            json!({"normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": accents, "lowercase": lower}})
        };
        let overruled = |settings: &Value, file: &Value| -> Value {
            let json = companions(settings, &json!({})).overrule(file.to_string().into_bytes());
            serde_json::from_slice(&json).unwrap()
        };
        let cased =
            json!({"tokenizer_class": "BertTokenizer", "do_lower_case": false, "strip_accents": false});
        assert_eq!(overruled(&cased, &file(true, json!(null))), file(false, json!(false)));
        let any = json!({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": false});
        assert_eq!(overruled(&any, &file(true, json!(null))), file(true, json!(null)));
        let silent = json!({"do_lower_case": null, "tokenize_chinese_chars": "no"});
        assert_eq!(overruled(&silent, &file(true, json!(null))), file(true, json!(null)));
        let accents = json!({"strip_accents": null});
        assert_eq!(overruled(&accents, &file(true, json!(true))), file(true, json!(null)));
        let pairs = |of_type: u32| {
            json!({"post_processor": {"type": "TemplateProcessing", "pair": [
                {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": of_type}}]}})
        };
        let untyped = json!({"model_input_names": ["input_ids", "attention_mask"]});
        assert_eq!(overruled(&untyped, &pairs(1)), pairs(0));
        let typed = json!({"model_input_names": ["input_ids", "token_type_ids"]});
        assert_eq!(overruled(&typed, &pairs(1)), pairs(1));
        let other = json!({"normalizer": {"type": "NFC"}});
        assert_eq!(overruled(&cased, &other), other);
    }
}
