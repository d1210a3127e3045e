//! Recipes from presets, files and single settings.

use std::path::PathBuf;

use crate::Place;
use wgrad::models::Config;
use wgrad::nn::Role;
use wgrad::train::schedule::{Ramp, Schedule};
use wgrad::train::{Settings, TrainConfig};

fn file(place: &Place, name: &str, text: &str) -> PathBuf {
    let path = place.path(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn presets_are_sound() {
    for name in Config::presets() {
        let config = TrainConfig::preset(name).unwrap();
        config.check().unwrap();
        assert_eq!(config.seq_len, config.model.max_position_embeddings);
        assert_eq!(config.optimizer.betas, [0.9, 0.98]);
        assert_eq!(config.masking.rate, 0.15);
    }
    let micro = TrainConfig::preset("micro").unwrap();
    let plan = micro.plan().unwrap();
    assert_eq!((plan.total_steps(), plan.total_sequences() * 64), (1500, 3_072_000));
    let rate = |index| plan.step(index).unwrap().learning_rate;
    assert!((rate(0) - 2e-5).abs() < 1e-12 && (rate(99) - 2e-3).abs() < 1e-12 && rate(1499) < 2e-6);
    let notebook = TrainConfig::preset("notebook").unwrap();
    let plan = notebook.plan().unwrap();
    assert_eq!((notebook.steps, notebook.sequences), (None, Some(1 << 23)));
    assert_eq!((plan.step(0).unwrap().sequences, plan.largest_batch()), (32, 2048));
    assert_eq!((notebook.schedule, notebook.ramp), (Schedule::Notebook, Ramp::Notebook));
    assert!(TrainConfig::preset("huge").is_err());
}

#[test]
fn toml_and_json_say_the_same() {
    let place = Place::new();
    let toml = "preset = \"tiny\"\nlearning_rate = 3e-4\nsequences = 64000\nschedule = \"cosine\"\n\
                [model]\nnum_hidden_layers = 3\ntie_word_embeddings = true\n[masking]\nobjective = \"span\"\n\
                [optimizer]\nbetas = [0.9, 0.95]\nclip = 1\n";
    let json = r#"{"preset": "tiny", "learning_rate": 3e-4, "sequences": 64000, "schedule": "cosine",
        "model": {"num_hidden_layers": 3, "tie_word_embeddings": true}, "masking": {"objective": "span"},
        "optimizer": {"betas": [0.9, 0.95], "clip": 1}}"#;
    let [toml, json] = [("a.toml", toml), ("b.json", json)]
        .map(|(name, text)| Settings::file(&file(&place, name, text)).unwrap().config().unwrap());
    assert_eq!(toml, json);
    assert_eq!((toml.sequences, toml.steps), (Some(64000), None));
    assert_eq!((toml.model.num_hidden_layers, toml.model.hidden_size), (3, 256));
    assert_eq!((toml.optimizer.clip, toml.optimizer.eps), (1.0, 1e-12));
    assert_eq!(toml.masking.objective, wgrad::data::Objective::Span);

    // Every key, so that no preset is needed; written and read back.
    let text = serde_json::to_string(&toml).unwrap();
    assert_eq!(Settings::file(&file(&place, "c.json", &text)).unwrap().config().unwrap(), toml);
    let text = toml::to_string(&toml).unwrap();
    assert_eq!(Settings::file(&file(&place, "d.toml", &text)).unwrap().config().unwrap(), toml);
}

/// Which layers attend to what is near follows their number.
#[test]
fn layers_of_both_kinds_follow_their_number() {
    let local = |settings: &Settings| {
        let model = settings.config().unwrap().model;
        let layers = model.rotary.and_then(|rotary| rotary.local).unwrap().layers;
        assert_eq!(layers.len(), model.num_hidden_layers);
        layers
    };
    let mut settings = Settings::preset("modern-tiny").unwrap();
    assert_eq!(local(&settings), [false, true, true, false]);
    settings.set("model.num_hidden_layers=7").unwrap();
    assert_eq!(local(&settings), [false, true, true, false, true, true, false]);
    settings.set("model.num_hidden_layers=2").unwrap();
    assert_eq!(local(&settings), [false, true]);
    // What is said stays, whichever comes first.
    let mut settings = Settings::preset("modern-tiny").unwrap();
    settings.set("model.rotary.local.layers=[true, false]").unwrap();
    settings.set("model.num_hidden_layers=2").unwrap();
    assert_eq!(local(&settings), [true, false]);
    settings.set("model.num_hidden_layers=3").unwrap();
    let told = settings.config().unwrap_err().to_string();
    assert!(told.contains("one for each of 3 layers"), "{told}");
    let place = Place::new();
    let toml = file(&place, "a.toml", "preset = \"modern-tiny\"\n[model]\nnum_hidden_layers = 5\n");
    let read = Settings::file(&toml).unwrap();
    assert_eq!(local(&read), [false, true, true, false, true]);
    let whole = serde_json::to_string(&read.config().unwrap()).unwrap();
    assert_eq!(local(&Settings::file(&file(&place, "b.json", &whole)).unwrap()), local(&read));
}

#[test]
fn bad_files_are_refused_by_key() {
    let place = Place::new();
    let cases = [
        ("learningrate = 1", "`learningrate` to be a known setting, perhaps `learning_rate`"),
        ("[model]\nhiden_size = 8", "`model.hiden_size` to be a known setting, perhaps `model.hidden_size`"),
        ("vocab_size = 8", "perhaps `model.vocab_size`"),
        ("model_type = \"bert\"\nvocab_size = 8", "config.json of a model (--from takes its folder"),
        ("zebra = 8", "`zebra` to be a known setting, found"),
        ("[seed]\nx = 1", "`seed"),
        ("model = 3", "`model`"),
        ("learning_rate = \"fast\"", "`learning_rate` to be a value like 0.001, found \"fast\""),
        ("steps = 1.5", "`steps` to be a value like 10000, found 1.5"),
        ("steps = -1", "`steps`"),
        ("steps = 5\nsequences = 5", "one of `steps` and `sequences`, found both"),
        ("schedule = \"lineal\"", "linear"),
        ("[optimizer]\nbetas = [0.9]", "`optimizer.betas`"),
        ("learning_rate = nan", "`learning_rate`"),
        ("learning_rate = ", "settings in TOML"),
    ];
    for (number, (text, expected)) in cases.into_iter().enumerate() {
        let text = match text.starts_with('[') {
            true => format!("preset = \"tiny\"\n{text}\n"),
            false => format!("{text}\npreset = \"tiny\"\n"),
        };
        let path = file(&place, &format!("{number}.toml"), &text);
        let error = Settings::file(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(&format!("{number}.toml")), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let path = file(&place, "part.toml", "learning_rate = 1e-3\nsteps = 10\n");
    let error = Settings::file(&path).unwrap_err().to_string();
    assert!(error.contains("every key, or `preset`") && error.contains("`batch_sequences`"), "{error}");
    assert!(!error.contains("`sequences`") && !error.contains("`steps`"), "{error}");
    assert!(Settings::file(&place.path("none.toml")).unwrap_err().to_string().contains("cannot read"));
    let path = file(&place, "who.toml", "preset = \"huge\"");
    assert!(Settings::file(&path).unwrap_err().to_string().contains("`notebook`"));
}

#[test]
fn single_settings() {
    let mut settings = Settings::preset("micro").unwrap();
    for set in
        ["learning_rate=1e-3", " seed = 7 ", "model.tie_word_embeddings=true", "optimizer.betas=[0.8,0.9]"]
    {
        settings.set(set).unwrap();
    }
    settings.set("schedule=cosine").unwrap();
    settings.set("sequences=640").unwrap();
    settings.set("warmup_steps=3").unwrap();
    let config = settings.config().unwrap();
    assert_eq!((config.learning_rate, config.seed, config.schedule), (1e-3, 7, Schedule::Cosine));
    assert_eq!((config.steps, config.plan().unwrap().total_steps()), (None, 20));
    assert!(config.model.tie_word_embeddings);
    assert_eq!(config.optimizer.betas, [0.8, 0.9]);

    let cases = [
        ("learning_rate", "set: expected key=value, found `learning_rate`"),
        (
            "learning_rat=1",
            "learning_rat: expected a known setting, perhaps `learning_rate` (there are `batch_sequences`",
        ),
        ("model=1", "model: expected one of `model.architectures`"),
        ("model.=1", "a known setting"),
        ("=1", "a known setting"),
        ("steps=1e3", "steps: expected a value like 1500, found 1000.0"),
        ("steps=many", "steps: expected a value like 1500, found \"many\""),
        ("model.tie_word_embeddings=yes", "model.tie_word_embeddings: expected a value like false"),
        ("model.hidden_act=mish", "gelu"),
    ];
    let mut settings = Settings::preset("micro").unwrap();
    for (set, expected) in cases {
        let error = settings.set(set).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // What was refused has changed nothing.
    assert_eq!(settings.config().unwrap(), TrainConfig::preset("micro").unwrap());
}

#[test]
fn settings_that_do_not_fit_each_other_are_refused() {
    let cases: [(&[&str], &str); 15] = [
        (&["model.hidden_size=130"], "model.hidden_size: expected a multiple of 4"),
        (&["micro_batch=24"], "micro_batch: expected a divisor of `batch_sequences` (32), found 24"),
        (&["micro_batch=0"], "micro_batch: "),
        (&["steps=0"], "steps: expected 1 to "),
        (&["steps=100", "warmup_steps=100"], "warmup_steps: expected fewer than the run's 100 steps"),
        (&["learning_rate=0"], "learning_rate: "),
        (&["masking.rate=1.5"], "masking.rate: expected a number from 0 to 1"),
        (&["masking.mask=0.8", "masking.random=0.3"], "masking.mask: "),
        (&["optimizer.betas=[0.9,1.0]"], "optimizer.betas: "),
        (&["optimizer.eps=-1"], "optimizer.eps: "),
        (&["checkpoint.keep=0"], "checkpoint.keep: "),
        (&["max_skipped=0"], "max_skipped: "),
        (&["seq_len=2"], "seq_len: "),
        (&["steps=null"], "steps: expected one of `steps` and `sequences`, found neither"),
        (
            &["model.position_embedding_type=absolute", "seq_len=65"],
            "model.max_position_embeddings: expected at least `seq_len` (65)",
        ),
    ];
    for (changes, expected) in cases {
        let mut settings = Settings::preset("micro").unwrap();
        changes.iter().for_each(|change| settings.set(change).unwrap());
        let error = settings.config().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let mut settings = Settings::preset("micro").unwrap();
    settings.set("micro_batch=100").unwrap();
    assert_eq!(settings.config().unwrap().micro_batch_sequences(), 32);
}

#[test]
fn the_data_decides_what_was_not_asked_for() {
    let place = Place::new();
    let data = &place.dataset;
    let config = Settings::preset("micro").unwrap().for_data(data).unwrap();
    let specials = data.table().specials();
    assert_eq!((config.model.vocab_size, config.seq_len), (data.vocab_size(), 16));
    assert_eq!((config.model.pad_token_id, config.model.mask_token_id), (specials.pad, specials.mask));
    assert_eq!((config.model.cls_token_id, config.model.sep_token_id), (specials.cls, specials.sep));
    assert_eq!(config.model.max_position_embeddings, 16);

    // What was asked for must be the data's: fault 17.
    let path = file(&place, "v.toml", "preset = \"micro\"\n[model]\nvocab_size = 4096\n");
    let error = Settings::file(&path).unwrap().for_data(data).unwrap_err().to_string();
    assert!(
        error.contains("v.toml: expected `model.vocab_size` to be ") && error.ends_with("found 4096"),
        "{error}"
    );
    let mut settings = Settings::preset("micro").unwrap();
    settings.set("seq_len=64").unwrap();
    let error = settings.for_data(data).unwrap_err().to_string();
    assert_eq!(error, "seq_len: expected 16, the data's, found 64");
    let mut settings = Settings::preset("micro").unwrap();
    settings.set(&format!("model.vocab_size={}", data.vocab_size())).unwrap();
    settings.set("model.max_position_embeddings=99").unwrap();
    assert_eq!(settings.for_data(data).unwrap().model.max_position_embeddings, 99);
}

/// What recipes of earlier versions do not have is not written either, and may be set all the same.
#[test]
fn the_optimizer_has_tables_by_role() {
    let keys = |config: &TrainConfig| {
        let tree = serde_json::to_value(config).unwrap();
        tree["optimizer"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
    };
    let plain = TrainConfig::preset("micro").unwrap();
    assert_eq!(keys(&plain), "betas eps weight_decay clip");

    let mut settings = Settings::preset("micro").unwrap();
    for set in [
        "optimizer.rule=lion",
        "optimizer.embedding.lr=0.5",
        "optimizer.vector.rule=adamw",
        "optimizer.vector.betas=[0.8, 0.9]",
        "optimizer.head.weight_decay=0",
    ] {
        settings.set(set).unwrap();
    }
    let config = settings.config().unwrap();
    assert_eq!(keys(&config), "rule betas eps weight_decay clip embedding head vector");
    let options = config.optimizer.options();
    let of = |role| options.of(role);
    assert_eq!(Role::ALL.map(|role| of(role).rule.name()), ["lion", "lion", "lion", "adamw"]);
    assert_eq!(Role::ALL.map(|role| of(role).learning_rate), [1.0, 0.5, 1.0, 1.0]);
    assert_eq!(Role::ALL.map(|role| of(role).weight_decay), [0.01, 0.01, 0.0, 0.0]);
    assert_eq!((of(Role::Vector).beta1, of(Role::Matrix).beta1), (0.8, 0.9));
    assert_eq!(options.division().parts(), 0..4);

    // A file with tables, and what is written of it.
    let place = Place::new();
    let text = "preset = \"micro\"\n[optimizer]\nrule = \"lion\"\n[optimizer.embedding]\nlr = 0.5\n\
                [optimizer.vector]\nrule = \"adamw\"\nbetas = [0.8, 0.9]\n[optimizer.head]\nweight_decay = 0\n";
    let of_file = |name, text: &str| Settings::file(&file(&place, name, text)).unwrap().config().unwrap();
    assert_eq!(of_file("tables.toml", text), config);
    assert_eq!(of_file("all.toml", &toml::to_string(&config).unwrap()), config);
    assert_eq!(of_file("all.json", &serde_json::to_string(&config).unwrap()), config);

    // Taking all of it back leaves the recipe of before.
    for set in
        ["rule=adamw", "embedding.lr=null", "vector.rule=null", "vector.betas=null", "head.weight_decay=null"]
    {
        settings.set(&format!("optimizer.{set}")).unwrap();
    }
    assert_eq!(settings.config().unwrap(), plain);

    for (set, expected) in [
        ("optimizer.embeding.lr=1", "a known setting, perhaps `optimizer.embedding.lr`"),
        ("optimizer.embedding=1", "one of `optimizer.embedding.betas`"),
        ("optimizer.embedding.lr=fast", "optimizer.embedding.lr: expected a number, found \"fast\""),
        ("optimizer.rule=lino", "one of `adamw`, `lion`"),
    ] {
        let error = settings.set(set).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    settings.set("optimizer.head.betas=[0.9, 1]").unwrap();
    let error = settings.config().unwrap_err().to_string();
    assert!(error.starts_with("optimizer.head.betas: expected two numbers"), "{error}");
}

#[test]
fn a_short_run_has_a_short_warm_up() {
    let config = |changes: &[&str]| {
        let mut settings = Settings::preset("micro").unwrap();
        changes.iter().for_each(|change| settings.set(change).unwrap());
        settings.config()
    };
    assert_eq!(config(&["steps=50"]).unwrap().warmup_steps, 5);
    assert_eq!(config(&["steps=1"]).unwrap().warmup_steps, 0);
    assert_eq!(config(&["steps=400"]).unwrap().warmup_steps, 100);
    // What a person says, holds.
    assert_eq!(config(&["steps=50", "warmup_steps=40"]).unwrap().warmup_steps, 40);
    assert!(config(&["steps=50", "warmup_steps=100"]).is_err());
}
