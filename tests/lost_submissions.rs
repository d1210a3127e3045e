//! Fault 33: a driver that drops a submission and calls it done. Whatever was in it, the step is rejected.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use common::golden::{Golden, split};
use wgrad::data::Batch;
use wgrad::data::task::Encoded;
use wgrad::gpu::{AdapterKind, Gpu, GpuOptions};
use wgrad::models::{Model, Pooling, ProblemType};
use wgrad::optim::OptimizerOptions;
use wgrad::tensor::DType;
use wgrad::train::objective::{Classes, Targets, TextBatch};
use wgrad::train::{MaskedTokens, MlmOptions, StepEngine, StepReport, Trainer, TrainerOptions};
use wgrad::{Error, Result};

fn step(trainer: &mut Trainer<MaskedTokens>, batches: &[Batch]) -> Result<StepReport> {
    pollster::block_on(trainer.step(batches, 1e-3))
}

/// The bits of everything a trainer would save.
fn state(trainer: &mut Trainer<MaskedTokens>) -> Vec<Vec<u32>> {
    let names = [trainer.model_tensors(), trainer.optimizer_tensors()].concat();
    let mut read = |name: &str| pollster::block_on(trainer.read(name)).unwrap();
    names.iter().map(|(name, _)| read(name).into_iter().map(f32::to_bits).collect()).collect()
}

/// Loses each submission of `work` in turn, and says how many there were: `check` is given the number and what
/// came out. Afterwards nothing is lost any more.
fn lose_each<T>(gpu: &Gpu, mut work: impl FnMut() -> Result<T>, mut check: impl FnMut(u32, Error)) -> u32 {
    for number in 0.. {
        gpu.lose_submission(number);
        match work() {
            Err(error) => check(number, error),
            Ok(_) => {
                gpu.lose_submission(u32::MAX);
                return number;
            }
        }
    }
    0
}

fn is_told(error: &Error) {
    assert!(matches!(error, Error::WorkLost { .. }), "{error}");
    let told = error.to_string();
    let reasons = ["not all of them were computed", "was not completed", "never arrived"];
    assert!(reasons.iter().any(|reason| told.contains(reason)), "{told}");
}

#[test]
fn a_step_with_a_lost_submission_is_rejected() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        // However slow a busy machine is, no replay is cut: submissions are counted here.
        let whole = GpuOptions { kind: Some(kind), longest_submission: Some(1e9), ..Default::default() };
        let Some(gpu) = common::open(whole) else { return };
        let golden = Golden::open("relative_untied_mask");
        let batches = split(&golden.batch());
        assert!(batches.len() >= 3 && batches.iter().all(|batch| !batch.labels.is_empty()));
        // Zeroing, each micro-batch, the optimizer, the read-back.
        let submissions = batches.len() as u32 + 3;
        let mut clean = golden.trainer_for(&gpu, 1);
        step(&mut clean, &batches).unwrap();
        let before = state(&mut clean);
        step(&mut clean, &batches).unwrap();
        let after = state(&mut clean);
        for lost in 0..submissions {
            let mut trainer = golden.trainer_for(&gpu, 1);
            step(&mut trainer, &batches).unwrap();
            gpu.lose_submission(lost);
            is_told(&step(&mut trainer, &batches).expect_err(&format!("{kind:?}: {lost} went unnoticed")));
            if lost + 1 < submissions {
                assert!(state(&mut trainer) == before, "{kind:?}: without {lost}, something changed");
                step(&mut trainer, &batches).unwrap();
            }
            assert!(state(&mut trainer) == after, "{kind:?}: after {lost}");
        }
        // One more would be the next step's.
        gpu.lose_submission(submissions);
        step(&mut clean, &batches).unwrap();
        is_told(&step(&mut clean, &batches).unwrap_err());
    }
}

/// A step may be begun before anybody knows what became of the one before.
#[test]
fn a_step_after_a_lost_one_changes_nothing() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let whole = GpuOptions { kind: Some(kind), longest_submission: Some(1e9), ..Default::default() };
        let Some(gpu) = common::open(whole) else { return };
        let golden = Golden::open("relative_untied_mask");
        let batches = split(&golden.batch());
        let mut clean = golden.trainer_for(&gpu, 1);
        step(&mut clean, &batches).unwrap();
        let before = state(&mut clean);
        let reports = [(); 2].map(|()| step(&mut clean, &batches).unwrap());
        let after = state(&mut clean);
        let begin = |trainer: &mut Trainer<MaskedTokens>| trainer.begin_step(&batches, 1e-3).unwrap();
        // Zeroing, each micro-batch, the optimizer; then nothing is lost.
        let submissions = batches.len() as u32 + 2;
        for lost in (0..submissions).chain([u32::MAX]) {
            let mut trainer = golden.trainer_for(&gpu, 1);
            step(&mut trainer, &batches).unwrap();
            gpu.lose_submission(lost);
            let begun = [begin(&mut trainer), begin(&mut trainer)];
            let found = begun.map(|begun| pollster::block_on(trainer.finish_step(begun)));
            if lost == u32::MAX {
                assert_eq!(found.map(Result::unwrap), reports, "{kind:?}");
            } else {
                found.into_iter().for_each(|found| is_told(&found.expect_err(&format!("{kind:?}: {lost}"))));
                assert!(state(&mut trainer) == before, "{kind:?}: after {lost}, something changed");
                // Who was told goes on with what is there.
                for _ in 0..2 {
                    step(&mut trainer, &batches).unwrap();
                }
            }
            assert!(state(&mut trainer) == after, "{kind:?}: after {lost}");
        }
    }
}

/// On a slow adapter a micro-batch is several submissions; here every command is one.
#[test]
fn a_step_cut_into_many_submissions_is_the_same_and_each_counts() {
    let open = |longest_submission| common::open(GpuOptions { longest_submission, ..Default::default() });
    let (Some(whole), Some(cut)) = (open(None), open(Some(0.0))) else { return };
    let golden = Golden::open("relative_untied_mask");
    let batches = split(&golden.batch());
    let states = [whole, cut.clone()].map(|gpu| {
        let mut trainer = golden.trainer_for(&gpu, 1);
        for _ in 0..3 {
            step(&mut trainer, &batches).unwrap();
        }
        state(&mut trainer)
    });
    assert!(states[0] == states[1], "cuts changed a result");

    cut.take_plans();
    let mut trainer = golden.trainer_for(&cut, 1);
    let plans = cut.take_plans();
    let submissions = |label| plans.iter().rfind(|(name, _)| *name == label).unwrap().1.len() as u32;
    let one = &batches[..1];
    let mut step = || step(&mut trainer, one);
    // Three replays settle where the cuts are.
    for _ in 0..3 {
        step().unwrap();
    }
    let gradients = submissions("clear totals and gradients") + submissions("training step");
    assert!(gradients > 50, "{gradients} submissions");
    for number in 0..gradients {
        cut.lose_submission(number);
        is_told(&step().expect_err(&format!("{number} went unnoticed")));
    }
    cut.lose_submission(u32::MAX);
    step().unwrap();
    let clean = state(&mut trainer);
    let mut other = golden.trainer_for(&cut, 1);
    for _ in 0..4 {
        pollster::block_on(other.step(one, 1e-3)).unwrap();
    }
    assert!(state(&mut other) == clean, "a step that was told to have failed changed something");
    // The optimizer's own submissions are missed too, though such a step may be half done.
    let count = lose_each(&cut, || pollster::block_on(other.step(one, 1e-3)), |_, error| is_told(&error));
    assert!(count > gradients + submissions("optimizer step"), "{count} submissions");
}

/// Where the optimizer's step alone would run long, it is several submissions too, and each is missed.
#[test]
fn an_optimizer_cut_into_many_submissions_is_the_same_and_each_counts() {
    let open = |speed, longest_submission| {
        common::open(GpuOptions { speed, longest_submission, ..Default::default() })
    };
    let (Some(whole), Some(cut)) = (open(None, None), open(Some(1e7), Some(0.0))) else { return };
    let golden = Golden::open("relative_untied_mask");
    let states = [&whole, &cut].map(|gpu| {
        let mut trainer = golden.trainer_for(gpu, 3);
        for _ in 0..4 {
            step(&mut trainer, &[golden.batch()]).unwrap();
        }
        state(&mut trainer)
    });
    assert!(states[0] == states[1], "cuts changed a result");

    let mut trainer = golden.trainer_for(&cut, 3);
    for _ in 0..4 {
        step(&mut trainer, &[]).unwrap();
    }
    let count = lose_each(&cut, || step(&mut trainer, &[]), |_, error| is_told(&error));
    assert!(count > 20, "{count} submissions");
}

/// Finetuning proves its backward pass too, whose submissions come last.
#[test]
fn a_finetuning_step_cut_into_many_submissions_counts_each() {
    let Some(cut) = common::open(GpuOptions { longest_submission: Some(0.0), ..Default::default() }) else {
        return;
    };
    let labels = vec!["no".to_owned(), "yes".to_owned()];
    let problem = ProblemType::SingleLabelClassification;
    let config = Golden::open("relative_untied_mask").config.classifier(labels, problem, Pooling::Cls, false);
    let model = Model::new(&cut, config, true).unwrap();
    model.initialize(1).unwrap();
    let (storage, optimizer) = (DType::F32, OptimizerOptions::default());
    let options = TrainerOptions { storage, dropout: 0.1, optimizer, seed: 1 };
    let mut trainer = Trainer::new(&cut, model, Classes, options).unwrap();
    let text = |length: u32| Encoded { ids: (0..length).collect(), ..Encoded::default() };
    let batch = TextBatch { tokens: 8, texts: vec![text(8), text(5)], targets: Targets::Classes(vec![0, 1]) };
    let batches = std::slice::from_ref(&batch);
    let mut step = || pollster::block_on(trainer.step(batches, 1e-3));
    for _ in 0..3 {
        step().unwrap();
    }
    let count = lose_each(&cut, step, |_, error| is_told(&error));
    assert!(count > 50, "{count} submissions");
}

#[test]
fn a_measurement_with_a_lost_submission_is_rejected() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let golden = Golden::open("relative_untied_mask");
        let batches = split(&golden.batch());
        let mut trainer = golden.trainer_for(&gpu, 1);
        let expected = pollster::block_on(trainer.evaluate(&batches)).unwrap();
        let mut evaluate = || pollster::block_on(trainer.evaluate(&batches));
        let count = lose_each(&gpu, &mut evaluate, |_, error| is_told(&error));
        // Zeroing, computing, reading back.
        assert_eq!(count as usize, 3 * batches.len(), "{kind:?}");
        assert_eq!(evaluate().unwrap(), expected);
    }
}

/// More targets than there is room for take several replays; each of them counts.
#[test]
fn every_replay_of_one_micro_batch_counts() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let batch = golden.batch();
    let room = batch.labels.len().div_ceil(3);
    let options = MlmOptions { targets: room, ..common::golden::options(3) };
    let mut trainer = Trainer::pretraining(&gpu, golden.config.clone(), options).unwrap();
    let batches = std::slice::from_ref(&batch);
    step(&mut trainer, batches).unwrap();
    for lost in 1..=3 {
        gpu.lose_submission(lost);
        is_told(&step(&mut trainer, batches).expect_err(&format!("{lost} went unnoticed")));
    }
    step(&mut trainer, batches).unwrap();
}

#[test]
fn weights_that_never_arrived_are_no_weights() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let mut trainer = golden.trainer(&gpu);
    let mut read = || pollster::block_on(trainer.read("bert.LayerNorm.weight"));
    let expected = read().unwrap();
    assert_eq!(lose_each(&gpu, &mut read, |_, error| is_told(&error)), 1);
    assert_eq!(read().unwrap(), expected);
}
