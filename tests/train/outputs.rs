//! What a run leaves: a model folder, metrics, a picture; and what it refuses to begin with.

use crate::toy::Script;
use crate::{Place, kill_at, train, train_with};
use wgrad::data::Split;
use wgrad::files::ModelFolder;
use wgrad::train::{Precision, RunOptions, Settings, TrainConfig, metrics};

#[test]
fn a_run_leaves_a_model_its_metrics_and_a_picture() {
    let place = Place::new();
    let options = place.options("small-model", &["steps=60", "evaluate.every=20", "checkpoint.every=25"]);
    let (summary, told) = train(&options);
    assert_eq!(told.warnings, Vec::<String>::new());
    assert_eq!(told.checkpoints, [25, 50, 60]);

    // It learned: better at the end than before, and than guessing by frequency.
    let rows = metrics::read(&options.out).unwrap();
    assert_eq!(rows.len(), 61);
    assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), (0..=60).collect::<Vec<_>>());
    let measured: Vec<_> = rows.iter().filter(|row| row.eval_loss.is_some()).map(|row| row.step).collect();
    assert_eq!(measured, [0, 20, 40, 60]);
    let (first, last) = (rows[0].eval_loss.unwrap(), summary.eval_loss.unwrap());
    assert!(last < 0.7 * first && last < summary.unigram_entropy.unwrap(), "{first} to {last}: {summary:?}");
    assert_eq!(summary.unigram_entropy, place.dataset.unigram_entropy());
    assert_eq!(rows[60].eval_loss, Some(last));

    let (step, plan) = (&rows[30], options.config.plan().unwrap());
    assert_eq!((step.sequences, step.batch_sequences), (240, 8));
    assert_eq!(step.lr, plan.step(29).unwrap().learning_rate);
    assert!(step.tokens > 240 * 3 && step.tokens <= 240 * 16 && step.grad_norm > 0.0);
    assert_eq!((summary.sequences, summary.tokens), (480, rows[60].tokens));
    let mean = rows[1..].iter().map(|row| row.loss).sum::<f64>() / 60.0;
    assert!((summary.loss.unwrap() - mean).abs() < 1e-9);

    let model = ModelFolder::load(&options.out).unwrap();
    assert_eq!(model.config, options.config.model);
    let card = std::fs::read_to_string(options.out.join("README.md")).unwrap();
    let loss = (last * 1e4).round() / 1e4;
    for text in ["# small-model", "- sentences", "60 of 60", "0.15", &loss.to_string(), "unigram", "toy"] {
        let text =
            if text == "0.15" { "15% of tokens (80% [MASK], 10% random), token objective" } else { text };
        assert!(card.contains(text), "no {text} in {card}");
    }
    let picture = std::fs::read_to_string(options.out.join("loss.svg")).unwrap();
    for text in ["small-model", "unigram entropy", "held-out loss", "toy"] {
        assert!(picture.contains(text), "no {text}");
    }
    let mut kept: Vec<_> = std::fs::read_dir(options.out.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, ["step-00000050", "step-00000060"]);
    // The recipe in the folder is the recipe, and says what computed where nobody had decided.
    let again = Settings::file(&options.out.join("train.json")).unwrap().for_data(&place.dataset).unwrap();
    assert_eq!(again, TrainConfig { precision: Precision::F32, ..options.config });
}

#[test]
fn an_unfinished_model_says_so() {
    let place = Place::new();
    let options = place.options("run", &[]);
    let done = train_with(&options, &Script::new(|_, _| None), Some(6)).0.unwrap().steps;
    let card = std::fs::read_to_string(options.out.join("README.md")).unwrap();
    assert!(card.contains("unfinished") && card.contains(&format!("{done} of 12")), "{card}");
}

#[test]
fn checkpoints_by_time() {
    let place = Place::new();
    let options = place.options("run", &["checkpoint.every=0", "checkpoint.minutes=1e-9"]);
    assert_eq!(train(&options).1.checkpoints, (1..=12).collect::<Vec<_>>());
    let options = place.options("slow", &["checkpoint.every=0", "checkpoint.minutes=1e9"]);
    assert_eq!(train(&options).1.checkpoints, [12]);
}

#[test]
fn the_micro_batch_does_not_change_what_is_seen() {
    let place = Place::new();
    let tokens = [1, 2, 4, 8, 100].map(|micro| {
        let options = place.options(&format!("micro-{micro}"), &[&format!("micro_batch={micro}")]);
        let (summary, told) = train(&options);
        let losses: Vec<_> = told.steps[1..].iter().map(|row| row.loss).collect();
        (summary.tokens, losses, summary.eval_loss.unwrap())
    });
    for (count, losses, held_out) in &tokens[1..] {
        assert_eq!(*count, tokens[0].0);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-4;
        assert!(losses.iter().zip(&tokens[0].1).all(|(a, b)| close(*a, *b)), "{losses:?} {:?}", tokens[0].1);
        assert!(close(*held_out, tokens[0].2));
    }
}

#[test]
fn a_corpus_smaller_than_a_batch_is_refused_with_both_numbers() {
    let place = Place::new();
    let length = place.dataset.len(Split::Train);
    let options = place.options("run", &["batch_sequences=64", "micro_batch=32"]);
    let script = Script::new(|_, _| None);
    let error = train_with(&options, &script, None).0.unwrap_err().to_string();
    assert!(error.starts_with("batch_sequences: expected at most the "), "{error}");
    assert!(error.contains(&format!("the {length} sequences")) && error.ends_with("found 64"), "{error}");
    assert_eq!(script.opened.get(), 0);
    assert!(!options.out.exists());
    let options = place.options("whole", &[&format!("batch_sequences={length}"), "micro_batch=64"]);
    train(&options);
}

#[test]
fn data_without_held_out_sequences_trains_with_a_warning() {
    let place = Place::with(40, 0);
    let options = place.options("run", &[]);
    let (summary, told) = train(&options);
    assert_eq!((summary.eval_loss, summary.unigram_entropy), (None, None));
    assert!(told.warnings.len() == 1 && told.warnings[0].contains("no held-out"), "{:?}", told.warnings);
    assert_eq!(metrics::read(&options.out).unwrap().len(), 12);
    // Asked for none: nothing to tell.
    let options = place.options("quiet", &["evaluate.sequences=0"]);
    assert_eq!(train(&options).1.warnings, Vec::<String>::new());
    // Resumed before a step was measured or done.
    let options = place.options("stopped", &[]);
    train_with(&options, &Script::new(|_, _| None), Some(0)).0.unwrap();
    train(&RunOptions { resume: true, ..options });
}

#[test]
fn a_model_folder_is_not_overwritten_by_a_new_run() {
    let place = Place::new();
    let options = place.options("run", &[]);
    std::fs::create_dir(&options.out).unwrap();
    std::fs::write(options.out.join("model.safetensors"), "precious").unwrap();
    let error = train_with(&options, &Script::new(|_, _| None), None).0.unwrap_err().to_string();
    assert!(error.contains("a folder without a model"), "{error}");
    assert_eq!(std::fs::read_dir(&options.out).unwrap().count(), 1);
}

#[test]
fn a_recipe_for_other_data_is_refused() {
    let place = Place::new();
    let refused = |change: fn(&mut RunOptions)| {
        let mut options = place.options("run", &[]);
        change(&mut options);
        train_with(&options, &Script::new(|_, _| None), None).0.unwrap_err().to_string()
    };
    let error = refused(|options| options.config.model.vocab_size += 1);
    assert!(error.starts_with("model.vocab_size: expected "), "{error}");
    let error = refused(|options| options.config.seq_len = 32);
    assert!(error.starts_with("seq_len: expected 16, the data's, found 32"), "{error}");
    let error = refused(|options| options.config.optimizer.eps = f64::NAN);
    assert!(error.starts_with("optimizer.eps: "), "{error}");
}

#[test]
fn the_newest_metrics_survive_a_kill() {
    let place = Place::new();
    let options = place.options("run", &[]);
    kill_at(&options, 7);
    assert_eq!(metrics::read(&options.out).unwrap().last().unwrap().step, 6);
}
