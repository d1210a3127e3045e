//! `tokenizer_config.json`, which stands beside a `tokenizer.json` and overrules what that says of case and accents.

use serde_json::Value;

/// The file's name.
pub(super) const FILE: &str = "tokenizer_config.json";

/// What the one file calls a setting, and what BERT's normalizer in the other calls it.
const SETTINGS: [(&str, &str); 3] = [
    ("do_lower_case", "lowercase"),
    ("strip_accents", "strip_accents"),
    ("tokenize_chinese_chars", "handle_chinese_chars"),
];

/// The `tokenizer.json` that Python's `transformers` makes of both files; none where they agree, where the normalizer is
/// not BERT's, or where either file is no JSON, which is for others to tell.
pub(crate) fn overruled(tokenizer: &[u8], config: &[u8]) -> Option<Vec<u8>> {
    let config: Value = serde_json::from_slice(config).ok()?;
    let mut file: Value = serde_json::from_slice(tokenizer).ok()?;
    let normalizer = file.get_mut("normalizer")?;
    if normalizer.get("type")?.as_str()? != "BertNormalizer" {
        return None;
    }
    let mut changed = false;
    for (name, called) in SETTINGS {
        let Some(said) = config.get(name) else { continue };
        if (said.is_boolean() || said.is_null()) && normalizer.get(called).is_some_and(|has| has != said) {
            // Null says nothing but of accents, where it means: as case goes.
            if said.is_null() && called != "strip_accents" {
                continue;
            }
            normalizer[called] = said.clone();
            changed = true;
        }
    }
    changed.then(|| serde_json::to_vec_pretty(&file).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrule(normalizer: &str, config: &str) -> Option<Value> {
        let tokenizer = format!("{{\"normalizer\": {normalizer}}}");
        let changed = overruled(tokenizer.as_bytes(), config.as_bytes())?;
        Some(serde_json::from_slice::<Value>(&changed).unwrap()["normalizer"].clone())
    }

    #[test]
    fn case_and_accents_follow_the_configuration() {
        let lower = r#"{"type": "BertNormalizer", "lowercase": true, "strip_accents": true, "handle_chinese_chars": true}"#;
        let changed = overrule(lower, r#"{"do_lower_case": false, "strip_accents": null}"#).unwrap();
        assert_eq!((&changed["lowercase"], &changed["strip_accents"]), (&Value::Bool(false), &Value::Null));
        let changed = overrule(lower, r#"{"tokenize_chinese_chars": false}"#).unwrap();
        assert_eq!(changed["handle_chinese_chars"], false);
        for config in [
            r#"{"do_lower_case": true}"#,
            r#"{"do_lower_case": null}"#,
            r#"{"do_lower_case": "no"}"#,
            "{}",
            "no",
        ] {
            assert!(overrule(lower, config).is_none(), "{config}");
        }
        assert!(overrule(r#"{"type": "Lowercase"}"#, r#"{"do_lower_case": false}"#).is_none());
        assert!(overrule("null", r#"{"do_lower_case": false}"#).is_none());
    }
}
