//! Tokenizers: training, cleaning, special tokens, and files that are not what they should be.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use wgrad::Error;
use wgrad::text::{Tokenizer, TokenizerKind, TokenizerOptions};

const ENGLISH: &[&str] = &[
    "The quick brown fox jumps over the lazy dog, and the dog sleeps.",
    "A fox is quicker than a dog; dogs are slower than foxes.",
    "In 1999 the foxes and the dogs were sleeping there, weren't they?",
];
const PORTUGUESE: &[&str] = &[
    "A ação da instituição não começou às três horas da manhã.",
    "Não há solução: a coração e a educação são atenções do cidadão.",
    "A avó e o avô tomam café à tarde, com pão e maçã.",
];

fn train(texts: &[&str], options: &TokenizerOptions) -> Tokenizer {
    // Repeated, so that every pair is frequent enough to be merged.
    let texts = (0..5).flat_map(|_| texts.iter().map(|text| Ok(text.to_string())));
    Tokenizer::train(texts, options).unwrap()
}

fn small() -> TokenizerOptions {
    TokenizerOptions { vocab_size: 400, ..Default::default() }
}

fn tokens(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    tokenizer.encode(text).unwrap().into_iter().map(|id| tokenizer.token(id).unwrap()).collect()
}

#[test]
fn specials_come_first() {
    let tokenizer = train(ENGLISH, &small());
    for (id, name) in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].iter().enumerate() {
        assert_eq!(tokenizer.token(id as u32).as_deref(), Some(*name));
    }
    let specials = tokenizer.specials();
    assert_eq!(specials.sorted(), [0, 1, 2, 3, 4]);
    let ids = tokenizer.encode_with_specials("the dog").unwrap();
    assert_eq!((ids[0], *ids.last().unwrap()), (specials.cls, specials.sep));
    assert_eq!(ids[1..ids.len() - 1], tokenizer.encode("the dog").unwrap());
    assert!(tokenizer.vocab_size() <= 400);
    let (pair, types) = tokenizer.encode_pair("the dog", "a fox").unwrap();
    assert_eq!(pair[..ids.len()], ids);
    assert_eq!(pair[ids.len()..pair.len() - 1], tokenizer.encode("a fox").unwrap());
    assert_eq!(pair.last(), Some(&specials.sep));
    assert!(
        types[..ids.len()].iter().all(|&part| part == 0) && types[ids.len()..].iter().all(|&part| part == 1)
    );
}

#[test]
fn text_is_cleaned_and_cut() {
    let tokenizer = train(ENGLISH, &small());
    assert_eq!(tokens(&tokenizer, "The  DOG's\t1999"), ["the", "dog", "'", "s", "1", "9", "9", "9"]);
    assert_eq!(tokens(&tokenizer, "  the\r\n \r\n dog \n"), ["the", "\n", "dog"]);
    assert_eq!(tokens(&tokenizer, "t\u{0}h\u{200b}e"), ["the"]);
    assert_eq!(tokens(&tokenizer, "thé “dog” — dog"), ["the", "\"", "dog", "\"", "-", "dog"]);
    assert_eq!(tokens(&tokenizer, ""), Vec::<String>::new());
    assert_eq!(tokens(&tokenizer, " \u{a0}\t "), Vec::<String>::new());
    assert!(tokens(&tokenizer, "日").contains(&"[UNK]".to_string()));
}

#[test]
fn mask_is_found_in_raw_text() {
    let tokenizer = train(ENGLISH, &small());
    let ids = tokenizer.encode("The [MASK] sleeps.").unwrap();
    assert_eq!(ids[1], tokenizer.specials().mask);
    assert_eq!(ids.iter().filter(|&&id| id == tokenizer.specials().mask).count(), 1);
}

#[test]
fn pieces_stay_inside_words_and_words_decode() {
    for kind in [TokenizerKind::Bpe, TokenizerKind::WordPiece] {
        let tokenizer = train(ENGLISH, &TokenizerOptions { kind, ..small() });
        let text = "quickest foxes, dogs and sleepers.";
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text, "{kind:?}");
        let mut starts = 0;
        let mut previous = None;
        for &id in &ids {
            let continues = tokenizer.token(id).unwrap().starts_with("##");
            assert_eq!(tokenizer.table().is_word_start(previous, id), !continues);
            starts += usize::from(!continues);
            previous = Some(id);
        }
        assert_eq!(starts, 7, "{kind:?}: five words and two symbols");
    }
}

#[test]
fn portuguese_survives_when_asked() {
    let options = TokenizerOptions { keep_accents: true, keep_case: true, ..small() };
    let kept = train(PORTUGUESE, &options);
    let text = "Não há educação às três, avô.";
    assert_eq!(kept.decode(&kept.encode(text).unwrap(), true).unwrap(), text);
    // Decomposed accents are the same text.
    assert_eq!(kept.encode("educac\u{327}a\u{303}o").unwrap(), kept.encode("educação").unwrap());
    let lower = train(PORTUGUESE, &TokenizerOptions { keep_accents: true, ..small() });
    assert_eq!(lower.decode(&lower.encode(text).unwrap(), true).unwrap(), "não há educação às três, avô.");
    let plain = train(PORTUGUESE, &small());
    assert_eq!(plain.decode(&plain.encode(text).unwrap(), true).unwrap(), "nao ha educacao as tres, avo.");
}

#[test]
fn training_is_deterministic() {
    let texts: Vec<_> = ENGLISH.iter().chain(PORTUGUESE).copied().collect();
    let options = TokenizerOptions { keep_accents: true, ..small() };
    let first = train(&texts, &options);
    for _ in 0..4 {
        assert_eq!(train(&texts, &options).json(), first.json());
    }
}

#[test]
fn saved_and_loaded_again_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = train(ENGLISH, &small());
    let path = tokenizer.save(folder.path().join("made")).unwrap();
    for place in [path.as_path(), path.parent().unwrap()] {
        let loaded = Tokenizer::load(place).unwrap();
        assert_eq!(loaded.json(), tokenizer.json());
        assert_eq!(loaded.fingerprint(), tokenizer.fingerprint());
        assert_eq!(loaded.table(), tokenizer.table());
        assert_eq!(loaded.encode("The fox [MASK]").unwrap(), tokenizer.encode("The fox [MASK]").unwrap());
    }
    // Itself and its checksum.
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
}

#[test]
fn a_vocabulary_too_small_or_no_text_is_an_error() {
    let options = TokenizerOptions { vocab_size: 100, ..small() };
    let error = Tokenizer::train([Ok("text".to_owned())], &options).unwrap_err();
    assert!(error.to_string().contains("expected 256 to 1048576"), "{error}");
    let error = Tokenizer::train([Ok(" \n ".to_owned())], &small()).unwrap_err();
    assert!(error.to_string().contains("at least one word"), "{error}");
    let bad = Err(Error::config("this", "that", "those"));
    assert!(Tokenizer::train([Ok("text".to_owned()), bad], &small()).is_err());
}

#[test]
fn rare_characters_cannot_overflow_the_vocabulary() {
    let han: String = (0x4e00..0x5200).filter_map(char::from_u32).collect();
    let texts = (0..3).map(|_| Ok(format!("the dog {han}")));
    let tokenizer = Tokenizer::train(texts, &TokenizerOptions { vocab_size: 512, ..small() }).unwrap();
    assert!(tokenizer.vocab_size() <= 512, "{}", tokenizer.vocab_size());
    assert_eq!(tokenizer.decode(&tokenizer.encode("xyz").unwrap(), true).unwrap(), "xyz");
}

#[test]
fn a_long_run_of_marks_or_letters_ends() {
    let kept = train(PORTUGUESE, &TokenizerOptions { keep_accents: true, ..small() });
    let plain = train(ENGLISH, &small());
    let marks = format!("a{}", "\u{301}".repeat(1_000_000));
    assert_eq!(tokens(&plain, &marks), ["a"]);
    assert!(!kept.encode(&marks).unwrap().is_empty());
    assert!(!plain.encode(&"ab".repeat(200_000)).unwrap().is_empty());
    assert!(plain.encode(&" ".repeat(1_000_000)).unwrap().is_empty());
}

/// Parsers take the last of two, so that a token would have an id that no person sees.
#[test]
fn faults_6_and_69_a_token_or_a_key_that_comes_twice_is_refused() {
    let tokenizer = train(ENGLISH, &small());
    let json = String::from_utf8(tokenizer.json().to_vec()).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        Tokenizer::from_bytes(json.replacen(from, to, 1)).unwrap_err().to_string()
    };
    assert!(refused("\"[PAD]\": 0", "\"[PAD]\": 0, \"the\": 9999").contains("`the` twice"));
    assert!(refused("\"version\":", "\"model\": {}, \"version\":").contains("`model` twice"));
    // As a list, which Unigram models have, and as lines.
    let listed = refused("\"vocab\": {", "\"vocab\": [[\"a\", 0], [\"b\", 0], [\"a\", -1]], \"other\": {");
    assert!(listed.contains("`a` twice"), "{listed}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vocab.txt");
    std::fs::write(&path, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n").unwrap();
    assert!(Tokenizer::load(dir.path()).is_ok());
    std::fs::write(&path, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n").unwrap();
    assert!(Tokenizer::load(dir.path()).unwrap_err().to_string().contains("`a` twice"));
}

/// Fault 15.
#[test]
fn a_crafted_file_is_an_error() {
    let json = String::from_utf8(train(ENGLISH, &small()).json().to_vec()).unwrap();
    let broken = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
        change(&mut value);
        Tokenizer::from_bytes(value.to_string())
    };
    assert!(broken(&|_| {}).is_ok());
    let message = |result: wgrad::Result<Tokenizer>| result.unwrap_err().to_string();

    // The crate would subtract past zero on a merge shorter than the prefix.
    let short = broken(&|json| json["model"]["merges"][0] = serde_json::json!(["t", "h"]));
    assert!(message(short).contains("merge 0"));
    let unknown = broken(&|json| json["model"]["merges"][3] = serde_json::json!(["zzz", "##q"]));
    assert!(message(unknown).contains("merge 3"));
    let twice = broken(&|json| json["model"]["vocab"]["the"] = 7.into());
    assert!(message(twice).contains("id 7 twice"));
    let huge = broken(&|json| json["model"]["vocab"]["the"] = 4_000_000_000_u64.into());
    assert!(message(huge).contains("token ids below"));
    let template = broken(&|json| json["post_processor"]["special_tokens"] = serde_json::json!({}));
    assert!(message(template).contains("known special tokens"));
    // The crate below panics where such a pattern matches.
    let pattern = serde_json::json!({"type": "Replace", "pattern": {"Regex": "(?=q)"}, "content": "x"});
    if let Ok(tokenizer) = broken(&|json| json["normalizer"] = pattern.clone()) {
        assert!(tokenizer.encode("the dog").is_ok());
        let _ = tokenizer.encode("a quick fox");
    }
    let past =
        broken(&|json| json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = serde_json::json!([9999]));
    assert!(message(past).contains("template with ids past"));
    assert!(broken(&|json| json["normalizer"] = serde_json::json!({"type": "Sequence"})).is_err());
    assert!(broken(&|json| json["pre_tokenizer"]["pattern"] = serde_json::json!({"Regex": "("})).is_err());
    assert!(broken(&|json| json["model"] = serde_json::json!([])).is_err());

    // The crate's tree of such a piece would overflow the stack when it is dropped, which no error would tell of.
    let long = broken(&|json| {
        json["model"] = serde_json::json!({
            "type": "Unigram", "unk_id": 0, "vocab": [["[UNK]", 0.0], ["x".repeat(1_000_000), -1.0]]
        });
    });
    assert!(message(long).contains("pieces of at most 4096 bytes, found a longer one"));

    let lacking = json.replace("[MASK]", "[MUSK]").replace("[PAD]", "[PUD]");
    let error = message(Tokenizer::from_bytes(lacking));
    assert!(error.contains("no pad_token such as [PAD], no mask_token such as [MASK]"), "{error}");
    // What the template puts around a text is known by that, whatever it is called.
    let renamed = Tokenizer::from_bytes(json.replace("[SEP]", "</s>").replace("[CLS]", "<start>")).unwrap();
    assert_eq!(renamed.specials(), Tokenizer::from_bytes(json.clone()).unwrap().specials());
    assert_eq!(renamed.special_tokens().cls.as_deref(), Some("<start>"));

    for length in (0..json.len()).step_by(json.len() / 50) {
        assert!(Tokenizer::from_bytes(&json.as_bytes()[..length]).is_err(), "cut at {length}");
    }
    assert!(message(Tokenizer::from_bytes("<!doctype html>")).contains("HTML"));
    assert!(message(Tokenizer::from_bytes("version https://git-lfs.github.com/spec/v1")).contains("LFS"));
    assert!(Tokenizer::from_bytes("[".repeat(100_000)).is_err());
    assert!(Tokenizer::from_bytes([0xff, 0xfe, 0x00]).is_err());
    let missing = Tokenizer::load(Path::new("no/such/folder")).unwrap_err();
    assert!(missing.to_string().contains("no/such/folder"));
}
