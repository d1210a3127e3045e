//! Models and tokenizers without what a text does not need.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::program::{command, error, json as said, stdout};
use serde_json::{Value, json};
use wgrad::files::ModelFolder;
use wgrad::text::{Tokenizer, TokenizerKind, TokenizerOptions, Trimming};

/// Lines of made-up words of two languages that share some letters and syllables.
fn lines(language: usize) -> Vec<String> {
    const SYLLABLES: [[&str; 8]; 2] = [
        ["ka", "lo", "mi", "ran", "té", "su", "pel", "o"],
        ["ka", "zu", "ming", "ran", "ßt", "wo", "o", "ж"],
    ];
    let draw = |n: usize| wgrad::random::mix((n * 2 + language) as u64) as usize;
    let word = |n: usize| -> String {
        (0..1 + draw(n) % 4).map(|i| SYLLABLES[language][draw(n * 7 + i) % 8]).collect()
    };
    (0..150).map(|n| (0..8).map(|i| word(n * 8 + i)).collect::<Vec<_>>().join(" ")).collect()
}

/// A unigram model with every part of the words as a token, likelier the more often it comes.
fn unigram() -> Vec<u8> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for line in lines(0).iter().chain(&lines(1)) {
        for word in line.split(' ') {
            let letters: Vec<char> = format!("▁{word}").chars().collect();
            for start in 0..letters.len() {
                for end in start + 1..=letters.len().min(start + 5) {
                    *counts.entry(letters[start..end].iter().collect()).or_default() += 1;
                }
            }
        }
    }
    // A character that the text has and the vocabulary does not.
    counts.retain(|token, count| !token.contains('é') && *count > 1);
    let mut vocabulary: Vec<Value> =
        ["<s>", "<pad>", "</s>", "<unk>"].iter().map(|token| json!([token, 0.0])).collect();
    vocabulary.extend(counts.iter().map(|(token, count)| {
        json!([token, (f64::from(*count) / 50_000.0).ln() * (1.0 + 1.0 / token.chars().count() as f64)])
    }));
    vocabulary.push(json!(["<mask>", 0.0]));
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    };
    let last = vocabulary.len() - 1;
    let specials = [(0, "<s>"), (1, "<pad>"), (2, "</s>"), (3, "<unk>"), (last, "<mask>")];
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "added_tokens": specials.map(|(id, content)| special(id, content)),
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
                           "trim_offsets": true, "add_prefix_space": true},
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocabulary, "byte_fallback": false}
    })
    .to_string()
    .into_bytes()
}

fn trained(kind: TokenizerKind) -> Vec<u8> {
    let texts = lines(0).into_iter().chain(lines(1)).map(Ok);
    let options =
        TokenizerOptions { vocab_size: 400, kind, keep_accents: true, ..TokenizerOptions::default() };
    Tokenizer::train(texts, &options).unwrap().json().to_vec()
}

/// Every kind of tokenizer there is here, with its name.
fn tokenizers() -> Vec<(&'static str, Vec<u8>)> {
    let words: BTreeMap<String, usize> = {
        let all = lines(0).join(" ") + " " + &lines(1).join(" ");
        let words: std::collections::BTreeSet<_> = all.split(' ').map(str::to_owned).collect();
        words.into_iter().filter(|word| word.len() != 5).zip(5..).collect()
    };
    let mut file: Value = serde_json::from_slice(&common::folder::tokenizer(5)).unwrap();
    for (word, id) in words {
        file["model"]["vocab"][word] = json!(id);
    }
    // Byte-level BPE, as RoBERTa has it: learned by the crate itself.
    vec![
        ("Unigram", unigram()),
        ("WordPiece", trained(TokenizerKind::WordPiece)),
        ("BPE", trained(TokenizerKind::Bpe)),
        ("WordLevel", file.to_string().into_bytes()),
    ]
}

fn spelled(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode_with_specials(text).unwrap();
    ids.into_iter().map(|id| tokenizer.token(id).unwrap()).collect()
}

#[test]
fn what_is_kept_splits_as_before() {
    for (kind, json) in tokenizers() {
        let before = Tokenizer::from_bytes(json).unwrap();
        let mut trimming = Trimming::new(before.clone()).unwrap();
        let texts = [lines(0), vec!["kalo ☃mi lo☃ ☃☃ kamipel".to_owned()]].concat();
        texts.iter().for_each(|line| trimming.keep_text(line).unwrap());
        let trimmed = trimming.apply().unwrap();
        let after = Tokenizer::from_bytes(trimmed.json.clone()).unwrap();
        let (tokens, all) = (after.vocab_size(), before.vocab_size());
        assert_eq!(tokens, trimmed.kept.len(), "{kind}");
        assert!(tokens < all * 4 / 5, "{kind}: {tokens} of {all}");
        for text in &texts {
            assert_eq!(spelled(&after, text), spelled(&before, text), "{kind}");
            // Each new id stands for the old one that the model's tables are cut by.
            let old: Vec<u32> =
                after.encode(text).unwrap().into_iter().map(|id| trimmed.kept[id as usize]).collect();
            assert_eq!(old, before.encode(text).unwrap(), "{kind}");
        }
        let same = |ids: [u32; 5]| ids.map(|id| trimmed.kept[id as usize]);
        assert_eq!(same(after.specials().sorted()), before.specials().sorted(), "{kind}");
        // The other language does not fail, it only falls into smaller pieces.
        lines(1).iter().for_each(|line| assert!(!after.encode(line).unwrap().is_empty()));
    }
}

/// WordPiece takes `ab` of `abc`, finds no `##c` and gives up; without `ab` it would find `a` and `##bc`. What it gives up on
/// is the word as the normalizer leaves it.
#[test]
fn words_that_were_unknown_stay_so_whatever_becomes_of_their_letters() {
    let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "ab", "##bc", "##b", "x", "##y", "q"];
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().zip(0..).map(|(token, id)| (token.to_string(), json!(id))).collect();
    let mut file: Value = serde_json::from_slice(&common::folder::tokenizer(5)).unwrap();
    file["normalizer"] = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                                "strip_accents": null, "lowercase": false});
    file["pre_tokenizer"] = json!({"type": "BertPreTokenizer"});
    file["model"] = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                           "max_input_chars_per_word": 100, "vocab": vocabulary});
    // As a folder says it that has been made from a model without capitals.
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("tokenizer.json"), file.to_string()).unwrap();
    fs::write(place.path().join("tokenizer_config.json"), json!({"do_lower_case": true}).to_string())
        .unwrap();
    let before = Tokenizer::load(place.path()).unwrap();
    for text in ["abc", "ABC", "ÁBC xy", "x ábc", "XY ÂbC ab"] {
        let mut trimming = Trimming::new(before.clone()).unwrap();
        trimming.keep_text(text).unwrap();
        let after = Tokenizer::from_bytes(trimming.apply().unwrap().json).unwrap();
        assert!(spelled(&before, text).contains(&"[UNK]".to_owned()), "{text}");
        assert_eq!(spelled(&after, text), spelled(&before, text), "{text}");
        assert!(after.vocab_size() < before.vocab_size());
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families").join(name)
}

#[test]
fn vectors_stay_what_they_were() {
    if common::gpu().is_none() {
        return;
    }
    let text = "w7 w9 w30 w9 w12";
    for name in ["roberta", "xlm_roberta", "distilbert", "electra", "bert_relu"] {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("text.txt"), format!("{text}\nw11 w12 w30\n")).unwrap();
        let model = golden(name);
        let run = |arguments: &[&str]| command(arguments).current_dir(place.path()).output().unwrap();
        let arguments =
            ["--model", model.to_str().unwrap(), "--tokens-of", "text.txt", "--out", "small", "--json"];
        let answer = said(&["trim"], &run(&[&["trim"], &arguments[..]].concat()));
        // Five special tokens, five words of the one line and w11 of the other.
        assert_eq!((&answer["tokens"], &answer["tokens_before"]), (&json!(10), &json!(45)), "{name}");
        let vectors = |model: &str| -> Value {
            serde_json::from_str(&stdout(&run(&["embed", "--model", model, "--pooling", "mean", text])))
                .unwrap()
        };
        assert_eq!(vectors("small")["embedding"], vectors(model.to_str().unwrap())["embedding"], "{name}");

        let arguments = ["trim", "--model", model.to_str().unwrap(), "--layers", "1", "--out", "low"];
        stdout(&run(&arguments));
        let (low, whole) =
            (ModelFolder::load(place.path().join("low")).unwrap(), ModelFolder::load(&model).unwrap());
        assert_eq!((low.config.num_hidden_layers, low.config.vocab_size), (1, 45));
        for spec in low.config.parameters() {
            assert_eq!(low.weights.f32(&spec.name).unwrap(), whole.weights.f32(&spec.name).unwrap());
        }
        let card = fs::read_to_string(place.path().join("small/README.md")).unwrap();
        assert!(card.contains("with 10 of its 45 tokens and 2 of its 2 layers"), "{card}");
    }
}

#[test]
fn a_sentence_embedder_stays_one() {
    if common::gpu().is_none() {
        return;
    }
    let model = golden("").with_file_name("sentence_transformers");
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("text.txt"), "w7 w9 w30\n").unwrap();
    let run = |arguments: &[&str]| command(arguments).current_dir(place.path()).output().unwrap();
    let model = model.to_str().unwrap();
    stdout(&run(&["trim", "--model", model, "--tokens-of", "text.txt", "--out", "small"]));
    let vectors = |model: &str| stdout(&run(&["embed", "--model", model, "w9 w7 w30"]));
    assert_eq!(vectors("small"), vectors(model));
    let said = error(&run(&["trim", "--model", model, "--layers", "1", "--out", "small"]), 1);
    assert!(said.contains("a new or empty folder"), "{said}");
    let said = error(&run(&["trim", "--model", model, "--layers", "9", "--out", "other"]), 1);
    assert!(said.contains("layers") && said.contains("found 9"), "{said}");
}

/// Which layers are local is said layer by layer, so that fewer layers have a shorter list.
#[test]
fn layers_of_a_model_with_local_ones_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families/modernbert");
    let before = ModelFolder::load(&golden).unwrap().config;
    for layers in 1..=before.num_hidden_layers {
        let out = folder.path().join(layers.to_string());
        let mut command = command(&["trim", "--layers", &layers.to_string()]);
        command.arg("--model").arg(&golden).arg("--out").arg(&out).assert().success();
        let after = ModelFolder::load(&out).unwrap().config;
        assert_eq!(after.num_hidden_layers, layers);
        let local = |config: &wgrad::models::Config, layer: usize| {
            let rotary = config.rotary.as_ref().unwrap();
            rotary.local.as_ref().is_some_and(|local| local.layers[layer])
        };
        assert!((0..layers).all(|layer| local(&after, layer) == local(&before, layer)));
    }
}
