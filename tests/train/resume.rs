//! Faults 37, 40 to 43: a run that was stopped leaves what a run that was not leaves.

use std::sync::Arc;

use crate::toy::{Fault, Script};
use crate::{Place, STEPS, assert_same, kill_at, result, train, train_with};
use wgrad::data::Dataset;
use wgrad::train::metrics;
use wgrad::train::pretrain::RECIPE;
use wgrad::train::{RunOptions, Settings};

fn resumed(options: &RunOptions) -> RunOptions {
    RunOptions { resume: true, ..options.clone() }
}

#[test]
fn a_run_stopped_after_any_step_goes_on_bitwise() {
    let place = Place::new();
    let whole = place.options("whole", &[]);
    let (summary, _) = train(&whole);
    assert!(!summary.interrupted && summary.steps == STEPS);
    // The stream crosses epochs in the middle of batches.
    let epoch = place.dataset.len(wgrad::data::Split::Train);
    assert!(!epoch.is_multiple_of(8) && summary.sequences > 2 * epoch, "{epoch}");
    let expected = result(&whole.out);

    for stop in 0..STEPS {
        let options = place.options(&format!("stopped-{stop}"), &[]);
        let script = Script::new(|_, _| None);
        let (summary, told) = train_with(&options, &script, Some(stop));
        let summary = summary.unwrap();
        // The next step may have been under way.
        let done = summary.steps;
        assert!((stop..=stop + 1).contains(&done) && summary.interrupted == (done < STEPS), "{summary:?}");
        assert_eq!(told.checkpoints.last(), Some(&done));
        wgrad::files::ModelFolder::load(&options.out).unwrap();

        let (summary, told) = train(&resumed(&options));
        assert!(!summary.interrupted && summary.steps == STEPS);
        assert_eq!((told.ready, told.warnings), (vec![done], vec![]));
        assert_same(&result(&options.out), &expected, &format!("stopped after {stop}"));
    }
}

#[test]
fn a_run_killed_in_any_step_goes_on_bitwise() {
    let place = Place::new();
    let whole = place.options("whole", &[]);
    train(&whole);
    let expected = result(&whole.out);
    for killed in 1..=STEPS {
        let options = place.options(&format!("killed-{killed}"), &[]);
        kill_at(&options, killed);
        assert!(!options.out.join("model.safetensors").exists());
        let saved = (killed - 1) / 4 * 4;
        let (summary, told) = train(&resumed(&options));
        assert_eq!((summary.steps, told.ready), (STEPS, vec![saved]));
        let warned = told.warnings.iter().any(|warning| warning.contains("starts over"));
        assert_eq!(warned, saved == 0, "{:?}", told.warnings);
        assert_same(&result(&options.out), &expected, &format!("killed in {killed}"));
    }
}

#[test]
fn a_run_killed_again_and_again_goes_on_bitwise() {
    let place = Place::new();
    let whole = place.options("whole", &["checkpoint.every=1"]);
    train(&whole);
    let mut options = place.options("often", &["checkpoint.every=1"]);
    for killed in [3, 3, 4, 9, 12] {
        kill_at(&options, killed);
        options = resumed(&options);
    }
    train(&options);
    assert_same(&result(&options.out), &result(&whole.out), "killed often");
}

#[test]
fn a_finished_run_resumed_stays_as_it_is() {
    let place = Place::new();
    let options = place.options("run", &[]);
    train(&options);
    let before = result(&options.out);
    std::fs::remove_file(options.out.join("model.safetensors")).unwrap();
    let (summary, told) = train(&resumed(&options));
    assert_eq!((summary.steps, told.steps.len()), (STEPS, 0));
    assert_eq!(summary.eval_loss, metrics::read(&options.out).unwrap()[12].eval_loss);
    assert_same(&result(&options.out), &before, "resumed at the end");
}

#[test]
fn skipped_steps_are_counted_over_a_stop() {
    let place = Place::new();
    let options = place.options("run", &[]);
    let script = || Script::new(|_, step| [3, 4, 6, 7, 8].contains(&step).then_some(Fault::Skip));
    let (summary, _) = train_with(&options, &script(), Some(6));
    let summary = summary.unwrap();
    // The next one may have been under way: 3 and 4, 6 and perhaps 7.
    assert!((6..=7).contains(&summary.steps) && summary.skipped_steps == summary.steps - 3, "{summary:?}");
    // The third in a row is in the next session.
    let (ended, told) = train_with(&resumed(&options), &script(), None);
    assert!(ended.unwrap_err().to_string().starts_with("training stopped at step 8: "));
    assert_eq!(told.steps.last().unwrap().skipped_steps, 5);
}

#[test]
fn another_recipe_or_seed_or_corpus_is_refused() {
    let place = Place::new();
    let options = place.options("run", &[]);
    kill_at(&options, 7);
    for (change, told) in [
        ("learning_rate=0.25", "`recipe.learning_rate` 0.25, was 0.5"),
        ("seed=1", "`recipe.seed` 1, was 0"),
        ("steps=20", "`recipe.steps` 20, was 12"),
        ("micro_batch=8", "`recipe.micro_batch` 8, was 4"),
        ("masking.rate=0.3", "`recipe.masking.rate` 0.3, was 0.15"),
        // Losses on other sequences would stand in one curve.
        ("evaluate.sequences=3", "`recipe.evaluate.sequences` 3, was 512"),
        ("evaluate.every=3", "`recipe.evaluate.every` 3, was 5"),
    ] {
        let changed = RunOptions { config: place.config(&[change]), ..resumed(&options) };
        let script = Script::new(|_, _| None);
        let error = train_with(&changed, &script, None).0.unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        assert_eq!(script.opened.get(), 0, "refused before a device is opened");
    }
    // What changes neither weights nor measurements may change.
    let free = place.config(&["checkpoint.every=3", "checkpoint.keep=5", "max_skipped=9"]);
    let (_, told) = train(&RunOptions { config: free, ..resumed(&options) });
    assert_eq!(told.ready, [4]);

    let options = place.options("allowed", &[]);
    kill_at(&options, 7);
    let config = place.config(&["learning_rate=0.25", "batch_sequences=4"]);
    let changed = RunOptions { config, allow_changes: true, ..resumed(&options) };
    let (summary, told) = train(&changed);
    assert!(told.warnings.iter().any(|warning| warning.contains("learning_rate")), "{:?}", told.warnings);
    // The stream goes on where it was, with the new batch.
    assert_eq!(summary.sequences, 4 * 8 + 8 * 4);

    let other = Place::with(60, 6);
    assert_eq!(other.dataset.vocab_size(), place.dataset.vocab_size());
    let options = place.options("corpus", &[]);
    kill_at(&options, 7);
    let changed = RunOptions { dataset: other.dataset.clone(), ..resumed(&options) };
    let error = train_with(&changed, &Script::new(|_, _| None), None).0.unwrap_err().to_string();
    assert!(error.contains("`data.fingerprint`") && error.contains("`data.sequences`"), "{error}");
}

#[test]
fn another_precision_is_allowed_alone() {
    let place = Place::new();
    let options = place.options("run", &["precision=mixed"]);
    kill_at(&options, 7);
    let other = |dataset: &Arc<Dataset>, other_precision, changes: &[&str]| RunOptions {
        config: place.config(&[&["precision=f32"], changes].concat()),
        dataset: dataset.clone(),
        other_precision,
        ..resumed(&options)
    };
    let refused = |options: &RunOptions| {
        train_with(options, &Script::new(|_, _| None), None).0.unwrap_err().to_string()
    };
    assert!(refused(&other(&place.dataset, false, &[])).contains("`recipe.precision`"));
    let text = Place::with(60, 6);
    let error = refused(&other(&text.dataset, true, &[]));
    assert!(error.contains("`data.fingerprint`") && !error.contains("precision"), "{error}");
    assert!(
        refused(&other(&place.dataset, true, &["learning_rate=0.25"])).contains("`recipe.learning_rate`")
    );
    let (_, told) = train(&other(&place.dataset, true, &[]));
    assert_eq!((told.ready, told.warnings), (vec![4], vec![]));
}

/// Seventeen digits, which are easily read back as the number beside it.
#[test]
fn every_digit_of_a_setting_is_kept_and_counts() {
    const RATE: f64 = 0.43219876543219876;
    let place = Place::new();
    let options = place.options("run", &[&format!("learning_rate={RATE}")]);
    assert_eq!(options.config.learning_rate, RATE);
    kill_at(&options, 7);
    let recipe = Settings::file(&options.out.join(RECIPE)).unwrap();
    let config = recipe.for_data(&place.dataset).unwrap();
    assert_eq!(config.learning_rate, RATE);
    let mut beside = config.clone();
    beside.learning_rate = RATE.next_up();
    let beside = RunOptions { config: beside, ..resumed(&options) };
    let error = train_with(&beside, &Script::new(|_, _| None), None).0.unwrap_err().to_string();
    assert!(error.contains("`recipe.learning_rate`"), "{error}");
    let (_, told) = train(&RunOptions { config, ..resumed(&options) });
    assert_eq!(told.ready, [4]);
}

#[test]
fn a_changed_shape_is_refused_even_when_changes_are_allowed() {
    let place = Place::new();
    let options = place.options("run", &[]);
    kill_at(&options, 7);
    let config = place.config(&["model.intermediate_size=24"]);
    let changed = RunOptions { config, allow_changes: true, ..resumed(&options) };
    let error = train_with(&changed, &Script::new(|_, _| None), None).0.unwrap_err().to_string();
    assert!(error.contains("dense.weight` [16, 24]") || error.contains("dense.weight` [24, 16]"), "{error}");
}

#[test]
fn folders_in_use_or_with_a_run_are_refused() {
    let place = Place::new();
    let options = place.options("run", &[]);
    // While it runs: the lock.
    let second = resumed(&options);
    let script = Script::new(move |_, step| {
        if step == 6 {
            let error = train_with(&second, &Script::new(|_, _| None), None).0.unwrap_err().to_string();
            assert!(error.contains("a run folder no process is using"), "{error}");
        }
        None
    });
    train_with(&options, &script, None).0.unwrap();
    // Afterwards: what it left.
    let again = |options: &RunOptions| {
        train_with(options, &Script::new(|_, _| None), None).0.unwrap_err().to_string()
    };
    assert!(again(&options).contains("resume the run"), "{}", again(&options));
    let killed = place.options("killed", &[]);
    kill_at(&killed, 7);
    assert!(
        again(&killed).contains("a folder without checkpoints, found one at step 4"),
        "{}",
        again(&killed)
    );
    let nothing = resumed(&place.options("nothing", &[]));
    assert!(again(&nothing).contains("the folder of a run"), "{}", again(&nothing));
    // A run that ended before its first checkpoint is in nobody's way.
    let early = place.options("early", &[]);
    kill_at(&early, 2);
    train(&early);
    let whole = place.options("whole", &[]);
    train(&whole);
    assert_same(&result(&early.out), &result(&whole.out), "begun twice");
}

#[test]
fn a_finished_run_is_prolonged() {
    let place = Place::new();
    train(&place.options("run", &[]));
    let longer = |name: &str, changes: &[&str]| RunOptions { resume: true, ..place.options(name, changes) };
    let refused = |options: &RunOptions| -> String {
        train_with(options, &Script::new(|_, _| None), None).0.unwrap_err().to_string()
    };
    let allowed = |name: &str, changes: &[&str]| RunOptions { allow_changes: true, ..longer(name, changes) };

    let told = refused(&longer("run", &["steps=20"]));
    assert!(
        told.contains("`recipe.steps` 20, was 12") && told.contains("--allow-changes goes on with them"),
        "{told}"
    );
    let leap = "the schedule `linear` was made for 12 steps, and for 20 the learning rate goes from 5.000e-2 to 2.222e-1 \
                at step 13";
    assert!(told.contains(leap), "{told}");
    let told = refused(&allowed("run", &["steps=8"]));
    assert!(told.contains("steps: expected 12 or more, which are done, found 8"), "{told}");

    let (summary, told) = train(&allowed("run", &["steps=20"]));
    assert_eq!(summary.steps, 20);
    assert!(told.warnings.iter().any(|warning| warning.contains(leap)), "{:?}", told.warnings);

    // A constant rate stays what it was, and a trapezoid leads from any of its checkpoints to 0.
    train(&place.options("even", &["schedule=constant"]));
    let told = refused(&longer("even", &["schedule=constant", "steps=14"]));
    assert!(told.contains("for 14 the learning rate stays at 5.000e-1"), "{told}");
    let ends = ["schedule=trapezoid", "decay_steps=4", "steps=16"];
    train(&allowed("even", &ends));
    let rates: Vec<f64> = metrics::read(&place.path("even")).unwrap().iter().map(|row| row.lr).collect();
    assert_eq!(rates[3..13], [0.5; 10]);
    let falls = [0.875, 0.625, 0.375, 0.125].map(|share| 0.5 * share);
    assert!(rates[13..].iter().zip(falls).all(|(found, right)| (found - right).abs() < 1e-12), "{rates:?}");
}
