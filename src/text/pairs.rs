//! How a `tokenizer.json` joins two texts.

use serde_json::Value;

/// The same file with `[CLS] a [SEP] b` for two texts, whatever the tokens are called, so that Python joins them as the model was finetuned. A file
/// whose template is another comes back as it is.
pub fn open_pairs(json: &[u8]) -> Vec<u8> {
    let changed = || {
        let mut file: Value = serde_json::from_slice(json).ok()?;
        let processor = file.get_mut("post_processor")?;
        if processor.get("type")?.as_str()? != "TemplateProcessing" {
            return None;
        }
        let parts = processor.get_mut("pair")?.as_array_mut()?;
        let named = |part: &Value, kind: &str| Some(part.get(kind)?.get("id")?.as_str()?.to_owned());
        let ids: Vec<_> = parts
            .iter()
            .map(|part| named(part, "SpecialToken").or_else(|| named(part, "Sequence")))
            .collect();
        let ids: Vec<&str> = ids.iter().map(|id| id.as_deref().unwrap_or_default()).collect();
        let [_, "A", between, "B", last] = ids[..] else { return None };
        if between != last {
            return None;
        }
        parts.pop();
        serde_json::to_vec_pretty(&file).ok()
    };
    changed().unwrap_or_else(|| json.to_vec())
}
