//! Tokenizers of each kind give the ids that Python gives, in twenty scripts: `tests/golden/twenty_scripts.py` makes the
//! files, and `scripts/long/tokenizer-ids` compares 2,000 lines.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use wgrad::text::Tokenizer;

fn read<T: DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_kind_gives_pythons_ids() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/twenty_scripts");
    let lines: Vec<String> = read(&golden.join("lines.json"));
    let ids: BTreeMap<String, Vec<Vec<u32>>> = read(&golden.join("ids.json"));
    assert_eq!((lines.len(), ids.len()), (60, 11));
    for (name, expected) in &ids {
        let tokenizer = Tokenizer::load(golden.join(name)).unwrap();
        for (line, expected) in lines.iter().zip(expected) {
            assert_eq!(&tokenizer.encode_with_specials(line).unwrap(), expected, "{name}: {line:?}");
        }
    }
    // What a `tokenizer_config.json` overrules changes ids, or nothing was compared.
    for name in ["cased", "accents", "no_accents", "runs_of_han"] {
        assert_ne!(ids[&format!("overruled_{name}")], ids["word_piece"], "{name}");
    }
    assert_eq!(ids["vocabulary_cased"], ids["overruled_cased"]);
}
