//! A model's configuration, its parameters and their first values.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::HashSet;

use serde_json::{Value, json};
use wgrad::models::{Config, HeadInit, PositionEmbedding};
use wgrad::nn::Role;
use wgrad::nn::{Init, ParameterSpec, initial_values};

fn preset(name: &str) -> Config {
    Config::preset(name).unwrap()
}

/// The micro preset's JSON with some keys replaced.
fn edited(edits: &[(&str, Value)]) -> Vec<u8> {
    let mut config = serde_json::to_value(preset("micro")).unwrap();
    for (key, value) in edits {
        config[*key] = value.clone();
    }
    serde_json::to_vec(&config).unwrap()
}

fn refusal(edits: &[(&str, Value)]) -> String {
    Config::from_json(&edited(edits), "m/config.json").unwrap_err().to_string()
}

#[test]
fn presets_have_their_documented_sizes() {
    let counts = [
        ("notebook", 135_330_816),
        ("small", 13_669_376),
        ("tiny", 7_353_344),
        ("micro", 1_447_424),
        // As many as `transformers` counts in ModernBERT-base.
        ("modern-base", 149_655_232),
        ("modern-tiny", 4_401_664),
    ];
    for (name, count) in counts {
        let config = preset(name);
        config.validate().unwrap();
        assert_eq!(config.parameter_count(), count, "{name}");
    }
    let head = preset("notebook").parameters().pop().unwrap();
    assert_eq!(head.name, "cls.predictions.decoder.weight");
    assert_eq!(135_330_816 - head.elements(), 110_164_992);
    let error = Config::preset("huge\n").unwrap_err().to_string();
    let known = "`notebook`, `small`, `tiny`, `micro`, `modern-base`, `modern-tiny`";
    assert_eq!(error, format!(r"preset: expected one of {known}, found `huge\n`"));
}

#[test]
fn parameters_follow_the_layout() {
    let config = preset("micro");
    let specs = config.parameters();
    let names: Vec<&str> = specs.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        &names[..14],
        [
            "bert.embeddings.word_embeddings.weight",
            "bert.embeddings.LayerNorm.weight",
            "bert.embeddings.LayerNorm.bias",
            "bert.encoder.layer.0.attention.LayerNorm.weight",
            "bert.encoder.layer.0.attention.LayerNorm.bias",
            "bert.encoder.layer.0.attention.self.query.weight",
            "bert.encoder.layer.0.attention.self.key.weight",
            "bert.encoder.layer.0.attention.self.value.weight",
            "bert.encoder.layer.0.attention.self.distance_embedding.weight",
            "bert.encoder.layer.0.attention.output.dense.weight",
            "bert.encoder.layer.0.intermediate.LayerNorm.weight",
            "bert.encoder.layer.0.intermediate.LayerNorm.bias",
            "bert.encoder.layer.0.intermediate.dense.weight",
            "bert.encoder.layer.0.output.dense.weight",
        ]
    );
    assert_eq!(
        &names[25..],
        ["bert.LayerNorm.weight", "bert.LayerNorm.bias", "cls.predictions.decoder.weight"]
    );
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    assert_eq!(specs[8].shape, [32, 64]);
    assert_eq!(specs[12].shape, [512, 128]);
    assert_eq!(specs[13].shape, [128, 512]);
    assert_eq!(specs[9].init, Init::Normal(0.02 / 4f64.sqrt()));
    assert_eq!(specs[13].init, Init::Normal(0.02));
    assert!(specs.iter().all(|s| (s.role == Role::Vector) == s.name.contains("LayerNorm")));

    let roles: Vec<_> = specs.iter().map(|spec| spec.role).collect();
    let distances = specs.iter().position(|spec| spec.name.contains("distance_embedding")).unwrap();
    assert_eq!([roles[0], roles[distances], roles[27]], [Role::Embedding, Role::Embedding, Role::Head]);
    assert_eq!(roles.iter().filter(|&&role| role == Role::Matrix).count(), 2 * 6);

    let absolute = Config { position_embedding_type: PositionEmbedding::Absolute, ..config.clone() };
    let specs = absolute.parameters();
    assert_eq!(specs[1].name, "bert.embeddings.position_embeddings.weight");
    assert_eq!(specs[1].shape, [64, 128]);
    assert!(!specs.iter().any(|s| s.name.contains("distance_embedding")));

    let tied = Config { tie_word_embeddings: true, ..config };
    assert!(!tied.parameters().iter().any(|s| s.name.starts_with("cls.")));
    let small_tied = Config { tie_word_embeddings: true, vocab_size: 16384, ..preset("small") };
    assert_eq!(small_tied.parameter_count(), preset("small").parameter_count());
}

#[test]
fn the_head_starts_as_configured() {
    let head = |config: Config| config.parameters().pop().unwrap().init;
    assert_eq!(head(preset("notebook")), Init::Uniform(1.0 / 768f64.sqrt()));
    assert_eq!(head(Config { head_init: HeadInit::Normal, ..preset("notebook") }), Init::Normal(0.02));
}

#[test]
fn json_round_trips_and_ignores_foreign_keys() {
    for name in Config::presets() {
        let config = preset(name);
        let text = config.to_json();
        let (class, family) = match name.starts_with("modern") {
            true => ("ModernBertForMaskedLM", "modernbert"),
            false => ("WgradForMaskedLM", "wgrad"),
        };
        assert!(text.contains(class) && text.contains(&format!(r#""model_type": "{family}""#)));
        assert_eq!(text.contains(r#""position_embedding_type": "relative_bucket""#), family == "wgrad");
        assert_eq!(Config::from_json(text.as_bytes(), "config.json").unwrap(), config);
    }
    let foreign = edited(&[("transformers_version", json!("5.0")), ("torch_dtype", json!("float32"))]);
    assert_eq!(Config::from_json(&foreign, "config.json").unwrap(), preset("micro"));

    let mut short = serde_json::to_value(preset("micro")).unwrap();
    for key in
        ["initializer_range", "relative_attention_num_buckets", "mask_padding", "use_bias", "head_init"]
    {
        short.as_object_mut().unwrap().remove(key);
    }
    let read = Config::from_json(short.to_string().as_bytes(), "config.json").unwrap();
    assert_eq!(read, Config { head_init: HeadInit::Uniform, ..preset("micro") });
}

#[test]
fn impossible_sizes_are_refused_by_name() {
    let cases = [
        ("vocab_size", json!(0)),
        ("vocab_size", json!(1u64 << 31)),
        ("hidden_size", json!(0)),
        ("hidden_size", json!(1u64 << 40)),
        ("hidden_size", json!(130)),
        ("num_hidden_layers", json!(0)),
        ("num_hidden_layers", json!(1_000_000)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(129)),
        ("intermediate_size", json!(0)),
        ("intermediate_size", json!(511)),
        ("max_position_embeddings", json!(0)),
        ("relative_attention_num_buckets", json!(0)),
        ("relative_attention_num_buckets", json!(31)),
        ("layer_norm_eps", json!(0.0)),
        ("layer_norm_eps", json!(-1e-6)),
        ("initializer_range", json!(0.0)),
        ("use_bias", json!(true)),
        ("type_vocab_size", json!(2)),
        ("pooler", json!(true)),
        ("norm_position", json!("post")),
        ("model_type", json!("gpt2")),
        ("position_embedding_type", json!("rotary")),
        ("hidden_dropout_prob", json!(1.0)),
        ("mask_token_id", json!(4096)),
        ("sep_token_id", json!(1)),
    ];
    for (key, value) in cases {
        let message = refusal(&[(key, value.clone())]);
        assert!(
            message.starts_with(&format!("m/config.json: expected `{key}` to be ")),
            "{value}: {message}"
        );
        assert!(!message.contains('\n'));
    }
    let message = refusal(&[("num_attention_heads", json!(3))]);
    assert_eq!(
        message,
        "m/config.json: expected `hidden_size` to be a multiple of `num_attention_heads` (3), found 128"
    );
    let message = refusal(&[("vocab_size", json!(1 << 20)), ("hidden_size", json!(8192))]);
    assert!(message.contains("every tensor within"), "{message}");
}

#[test]
fn unknown_words_and_wrong_types_are_refused_by_name() {
    let cases = [
        ("hidden_act", json!("mish")),
        ("architectures", json!("BertModel")),
        ("position_embedding_type", json!("alibi")),
        ("norm_position", json!("middle")),
        ("head_init", json!(7)),
        ("hidden_size", json!("wide")),
        ("hidden_size", json!(-8)),
        ("hidden_size", json!(1.5)),
        ("vocab_size", json!(null)),
        ("mask_padding", json!("yes")),
        ("pad_token_id", json!(1u64 << 40)),
    ];
    for (key, value) in cases {
        let message = refusal(&[(key, value)]);
        assert!(
            message.starts_with("m/config.json: expected a config.json of the family `wgrad`, found "),
            "{message}"
        );
        assert!(message.ends_with(&format!(" in `{key}`")), "{message}");
    }
    let mut missing = serde_json::to_value(preset("micro")).unwrap();
    missing.as_object_mut().unwrap().remove("hidden_size");
    let error = Config::from_json(missing.to_string().as_bytes(), "config.json").unwrap_err().to_string();
    assert!(error.contains("missing field `hidden_size`"), "{error}");

    let twice = br#"{"hidden_size": 8, "hidden_size": 16}"#;
    let error = Config::from_json(twice, "config.json").unwrap_err().to_string();
    assert!(error.contains("duplicate field `hidden_size`"), "{error}");
    for broken in [&b""[..], b"[]", b"<html>", b"\xff\xfe{", b"{\"a\": "] {
        assert!(Config::from_json(broken, "config.json").is_err());
    }
    assert!(Config::from_json("[".repeat(100_000).as_bytes(), "config.json").is_err());
}

#[test]
fn the_family_is_the_model_type_whatever_class_is_named() {
    let read = |edits: &[(&str, Value)]| Config::from_json(&edited(edits), "m/config.json").unwrap();
    for classes in [json!(["GptForMaskedLM"]), json!(["BertForMaskedLM"]), json!([]), json!(null)] {
        assert_eq!(read(&[("architectures", classes)]).architectures, ["WgradModel"]);
    }
    assert_eq!(
        read(&[("architectures", json!(["WgradForMaskedLM", "Other"]))]).architectures,
        ["WgradForMaskedLM"]
    );

    // Old files say their class alone; a position that is padding's has a row in RoBERTa's table.
    let mut keys = serde_json::to_value(preset("micro")).unwrap();
    for key in ["model_type", "norm_position", "use_bias", "position_embedding_type"] {
        keys.as_object_mut().unwrap().remove(key);
    }
    keys["architectures"] = json!(["XLMRobertaForMaskedLM"]);
    keys["pad_token_id"] = json!(1);
    keys["type_vocab_size"] = json!(1);
    keys["cls_token_id"] = json!(0);
    let read = |keys: &Value| Config::from_json(keys.to_string().as_bytes(), "config.json");
    let config = read(&keys).unwrap();
    assert_eq!((config.model_type.name(), config.max_position_embeddings), ("xlm-roberta", 62));
    let written: Value = serde_json::from_str(&config.to_json()).unwrap();
    assert_eq!(written["max_position_embeddings"], json!(64));
    let positions = config.parameters().into_iter().find(|spec| spec.name.contains("position_embeddings"));
    assert_eq!(positions.unwrap().shape, [64, 128]);
    // RoBERTa's class under XLM-R's name, and a table as wide as the layers; neither is another head or width.
    keys["model_type"] = json!("xlm-roberta");
    keys["architectures"] = json!(["RobertaForMaskedLM"]);
    keys["embedding_size"] = json!(64);
    assert_eq!(read(&keys).unwrap(), config);
    keys["max_position_embeddings"] = json!(2);
    let error = read(&keys).unwrap_err().to_string();
    assert!(error.contains("`max_position_embeddings` to be more than 2, found 2"), "{error}");
}

#[test]
fn keys_at_fault_are_called_as_the_file_spells_them() {
    let told = |key: &str, value: Value| {
        let mut keys = json!({"model_type": "distilbert", "vocab_size": 61, "dim": 40, "n_layers": 2, "n_heads": 5,
            "hidden_dim": 96, "max_position_embeddings": 16, "pad_token_id": 0, "cls_token_id": 2,
            "sep_token_id": 3, "mask_token_id": 4});
        keys[key] = value;
        Config::from_json(keys.to_string().as_bytes(), "config.json").unwrap_err().to_string()
    };
    assert!(told("dim", json!(0)).contains("`dim` to be a number from 8"));
    assert!(told("activation", json!("mish")).ends_with("in `activation`"));
    assert!(told("n_heads", json!(7)).contains("`dim` to be a multiple of `n_heads` (7)"));
    let mut electra = serde_json::to_value(preset("micro")).unwrap();
    electra["model_type"] = json!("electra");
    electra["type_vocab_size"] = json!(2);
    electra["position_embedding_type"] = json!("absolute");
    for (value, says) in
        [(json!(30), "`embedding_size` to be a multiple of 4"), (json!("x"), "in `embedding_size`")]
    {
        electra["embedding_size"] = value;
        let error = Config::from_json(electra.to_string().as_bytes(), "config.json").unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

fn spec(name: &str, shape: &[usize], init: Init) -> ParameterSpec {
    ParameterSpec { name: name.into(), shape: shape.into(), init, role: Role::Matrix, padding: None }
}

#[test]
fn initial_values_have_their_distribution() {
    let values = initial_values(&spec("a", &[257, 1001], Init::Normal(0.02)), 7);
    let n = values.len() as f64;
    let moment = |k: i32| values.iter().map(|&v| (f64::from(v) / 0.02).powi(k)).sum::<f64>() / n;
    // Standard errors at n = 257,257: 0.002, 0.0028, 0.0076 and 0.0193; four of them are allowed.
    assert!(moment(1).abs() < 0.008, "mean {}", moment(1));
    assert!((moment(2) - 1.0).abs() < 0.0112, "variance {}", moment(2));
    assert!(moment(3).abs() < 0.031, "skewness {}", moment(3));
    assert!((moment(4) - 3.0).abs() < 0.078, "kurtosis {}", moment(4));
    let pairs = values.chunks_exact(2).map(|p| f64::from(p[0]) * f64::from(p[1]) / 0.0004).sum::<f64>();
    assert!((pairs / (n / 2.0)).abs() < 0.012, "correlation in pairs {}", pairs / (n / 2.0));

    let values = initial_values(&spec("a", &[100_003], Init::Uniform(0.5)), 7);
    let n = values.len() as f64;
    assert!(values.iter().all(|v| v.abs() <= 0.5));
    assert!((values.iter().map(|&v| f64::from(v)).sum::<f64>() / n).abs() < 0.0037);
    assert!((values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n - 1.0 / 12.0).abs() < 0.001);

    assert_eq!(initial_values(&spec("a", &[3], Init::Ones), 7), [1.0; 3]);
    assert_eq!(initial_values(&spec("a", &[3], Init::Zeros), 7), [0.0; 3]);
}

#[test]
fn initial_values_depend_on_seed_and_name_only() {
    let a = spec("a", &[40_000], Init::Normal(1.0));
    let first = initial_values(&a, 1);
    assert_eq!(first, initial_values(&a, 1));
    assert_ne!(first, initial_values(&a, 2));
    assert_ne!(first, initial_values(&spec("b", &[40_000], Init::Normal(1.0)), 1));
    // A longer tensor begins with the shorter one's values, and chunks do not repeat.
    assert_eq!(first[..30_001], initial_values(&spec("a", &[30_001], Init::Normal(1.0)), 1)[..]);
    assert_ne!(first[..16_384], first[16_384..32_768]);
}
