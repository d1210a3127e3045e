//! What the cleaning does to forty languages, and that Python's `tokenizers` does the same with the same file.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use wgrad::text::{Tokenizer, TokenizerKind, TokenizerOptions};

fn golden(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn train(text: &str, keep_accents: bool) -> Tokenizer {
    let options = TokenizerOptions { vocab_size: 400, keep_accents, ..Default::default() };
    Tokenizer::train((0..5).map(|_| Ok(text.to_owned())), &options).unwrap()
}

#[test]
fn every_language_decodes_to_what_the_guide_promises() {
    let rows = golden("languages.json");
    let ids = golden("languages_ids.json");
    assert!(rows.len() >= 30 && rows.len() == ids.len());
    let page = include_str!("../docs/languages.md");
    for (row, ids) in rows.iter().zip(&ids) {
        let [language, text] = ["language", "text"].map(|key| row[key].as_str().unwrap());
        let mut line = format!("| {language} | {text} |");
        for (way, keep) in [("default", false), ("keep_accents", true)] {
            let expected = row[way].as_str().unwrap();
            let tokenizer = train(text, keep);
            let found = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&found, true).unwrap(), expected, "{language}, {way}");
            assert_eq!(serde_json::json!(found), ids[way], "{language}, {way}: Python's ids");
            line += &format!(" {expected} |");
        }
        assert!(page.contains(&line), "docs/languages.md lacks {line}");
    }
}

/// Scripts without spaces write a sentence as one run of letters.
#[test]
fn long_runs_are_cut_and_not_dropped() {
    for text in ["วันนี้อากาศดีมากแมวนอนอยู่บนหลังคา", "猫が屋根の上で眠る", "ကြောင်ကအမိုးပေါ်မှာ", "abcdefghij"]
    {
        let run = text.repeat(40);
        for kind in [TokenizerKind::Bpe, TokenizerKind::WordPiece] {
            let options = TokenizerOptions { vocab_size: 400, kind, ..Default::default() };
            let tokenizer = Tokenizer::train((0..5).map(|_| Ok(run.clone())), &options).unwrap();
            let ids = tokenizer.encode(&run).unwrap();
            assert!(!ids.contains(&tokenizer.specials().unk), "{text}");
            let decoded = tokenizer.decode(&ids, true).unwrap().replace(' ', "");
            assert_eq!(decoded, run, "{text}, {kind:?}");
        }
    }
}

#[test]
fn joiners_survive_within_words_alone() {
    let text = "می\u{200c}خواهم ශ්\u{200d}රී";
    let tokenizer = train(text, true);
    assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap(), true).unwrap(), text);
    let tokenizer = train("the dog and the dog", false);
    let ids = |text: &str| tokenizer.encode(text).unwrap();
    assert_eq!(ids("the \u{200c}dog\u{feff}"), ids("the dog"));
    assert_eq!(ids("\u{200d}the 1\u{200d}dog"), ids("the 1dog"));
}

#[test]
fn vietnamese_is_known_by_its_own_letters() {
    let plain = |text: &str, sentence: &str| {
        let tokenizer = train(text, false);
        tokenizer.decode(&tokenizer.encode(sentence).unwrap(), true).unwrap()
    };
    let vietnamese = "Con mèo nằm trên mái nhà và ngủ.";
    assert_eq!(plain(vietnamese, "mèo"), "mèo");
    // Accents that others write too, and a name or two, do not make a text Vietnamese.
    let french = "Le garçon a mangé une crêpe là où le café est à côté. ".repeat(8);
    assert_eq!(plain(&format!("{french} Nguyễn mèo"), "mangé mèo"), "mange meo");
}
