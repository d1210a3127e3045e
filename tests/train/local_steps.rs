//! Ranks that learn by themselves between two synchronisations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::golden::{Golden, options, split};
use crate::common::links::{Counting, sent_by_the_other};
use crate::common::ranks::{PATIENCE, hello, with_others, with_ranks};
use crate::{Place, assert_same, common, result};
use wgrad::data::Batch;
use wgrad::gpu::{Choices, Gpu, GpuOptions, MatrixOperands};
use wgrad::train::ranks::{Learns, Local, LocalTraining, Team, TrainerPlan, blocks_of, work};
use wgrad::train::{Event, LocalSteps, RunOptions, StepEngine, Summary, TrainConfig, Trainer, pretrain};
use wgrad::{Error, Result};

/// What a run told.
#[derive(Default)]
pub(crate) struct Told {
    checkpoints: Vec<u64>,
    evaluated: Vec<u64>,
    lost: u32,
}

pub(crate) fn train(
    gpu: &Gpu,
    options: &RunOptions,
    team: &Team,
    stop_after: Option<u64>,
) -> (Result<Summary>, Told) {
    let stop = AtomicBool::new(false);
    let mut told = Told::default();
    let mut watch = |event: Event<'_>| match event {
        Event::Step(row) => {
            told.evaluated.extend(row.eval_loss.map(|_| row.step));
            if stop_after == Some(row.step) {
                stop.store(true, Ordering::Relaxed);
            }
        }
        Event::Checkpoint { step, .. } => told.checkpoints.push(step),
        Event::DeviceLost { .. } => told.lost += 1,
        _ => {}
    };
    let open = async |config: &TrainConfig| {
        let learns = Learns::Masked(config.trainer_options());
        let plan = TrainerPlan { config: config.model.clone(), kernels: config.kernels.clone(), learns };
        let engine = LocalTraining::pretraining(gpu, &plan, config.blocks, config.sync.unwrap(), team)?;
        Ok(engine.with_wire(config.wire))
    };
    let summary = pollster::block_on(pretrain(options, open, &mut watch, &stop));
    (summary, told)
}

pub(crate) const CHANGES: [&str; 5] =
    ["learning_rate=0.02", "micro_batch=2", "blocks=4", "checkpoint.every=2", "sync=every=5,after=1,ranks=2"];

#[test]
fn a_run_that_is_stopped_or_loses_a_rank_goes_on_to_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let whole = place.options("whole", &CHANGES);
    let (summary, told) = with_ranks(2, |team| train(&gpu, &whole, team, None));
    assert_eq!(summary.unwrap().steps, 12);
    // What falls due at 2, 4, 6, … waits for 5 and 10; measured is every 5 steps and at the ends.
    assert_eq!(told.checkpoints, [5, 10, 12]);
    assert_eq!(told.evaluated, [0, 5, 10, 12]);
    let expected = result(&whole.out);

    // Whoever stops it waits for the next synchronisation.
    let options = place.options("stopped", &CHANGES);
    let (summary, told) = with_ranks(2, |team| train(&gpu, &options, team, Some(6)));
    let summary = summary.unwrap();
    assert!(summary.interrupted && summary.steps == 10, "{summary:?}");
    assert_eq!(told.checkpoints, [5, 10]);
    let options = RunOptions { resume: true, ..options };
    // No other number of ranks can go on.
    let (refused, _) = with_ranks(3, |team| train(&gpu, &options, team, None));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.starts_with("sync: expected 2 ranks, as the run has begun with"), "{refused}");
    // Nor are there exact steps again, now that each has an optimizer's state of its own.
    let mut exact = RunOptions { allow_changes: true, ..options.clone() };
    exact.config.sync.as_mut().unwrap().after = 50;
    let (refused, _) = with_ranks(2, |team| train(&gpu, &exact, team, None));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.starts_with("sync: expected no more exact steps than"), "{refused}");
    with_ranks(2, |team| train(&gpu, &options, team, None)).0.unwrap();
    assert_same(&result(&options.out), &expected, "stopped");

    // A rank dies between two synchronisations.
    let options = place.options("killed", &CHANGES);
    let tensors = options.config.model.parameters().len() as u64;
    // What rank 1 receives until the first checkpoint is read: a greeting, a plan, weights, batches to measure, an exact step and four
    // of its own, what synchronises them, batches again, and the names of its optimizer's tensors. Two steps more. The gradients, which
    // are one piece, and what is exchanged of weights take three messages each: a slice, a sum, and that this is all.
    let lives = 2 + tensors + 1 + (2 + 3) + 4 + (2 + 3) + 1 + (1 + 2 * tensors) + 2;
    let dies = move |link: Local| {
        let open = |_: &TrainerPlan, _: Option<MatrixOperands>| {
            pollster::block_on(Gpu::open(&GpuOptions::default()))
        };
        let sent = Arc::default();
        work(&mut Counting { link, sent, lives }, &hello(), open)
    };
    let ((summary, told), others) = with_others(2, PATIENCE, dies, |team| train(&gpu, &options, team, None));
    assert_eq!(summary.unwrap_err().to_string(), "rank 1: it has ended");
    assert!(others[0].as_ref().unwrap_err().to_string().contains("it was killed"));
    assert_eq!(told.checkpoints, [5]);
    let options = RunOptions { resume: true, ..options };
    with_ranks(2, |team| train(&gpu, &options, team, None)).0.unwrap();
    assert_same(&result(&options.out), &expected, "killed");

    // One loses work, and begins again at the checkpoint of the last synchronisation.
    let options = place.options("lost", &CHANGES);
    let loses = |mut link: Local| {
        let mut opened = 0;
        let open = |_: &TrainerPlan, _: Option<MatrixOperands>| {
            opened += 1;
            let gpu = pollster::block_on(Gpu::open(&GpuOptions::default()))?;
            gpu.lose_submission(if opened == 1 { 60 } else { u32::MAX });
            Ok(gpu)
        };
        work(&mut link, &hello(), open)
    };
    let ((summary, told), _) = with_others(2, PATIENCE, loses, |team| train(&gpu, &options, team, None));
    assert_eq!((summary.unwrap().device_losses, told.lost), (1, 1));
    assert_same(&result(&options.out), &expected, "a rank that lost work");
}

fn open(gpu: &Gpu, golden: &Golden, sync: LocalSteps, team: &Team) -> LocalTraining {
    let plan = TrainerPlan {
        config: golden.config.clone(),
        kernels: Choices::default(),
        learns: Learns::Masked(options(1)),
    };
    let mut engine = LocalTraining::pretraining(gpu, &plan, 2, sync, team).unwrap();
    for (name, _) in engine.model_tensors() {
        engine.write(&name, &golden.f32(&format!("weights/{name}"))).unwrap();
    }
    engine
}

fn all<E: StepEngine>(engine: &mut E, names: &[String]) -> Vec<Vec<f32>> {
    names.iter().map(|name| pollster::block_on(engine.read(name)).unwrap()).collect()
}

/// Two trainers that know nothing of each other, and the outer step in f64.
#[test]
fn rounds_are_local_steps_and_an_outer_step_of_their_mean() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let batches = split(&golden.batch());
    let parts: Vec<&[Batch]> = blocks_of(batches.len(), 2).into_iter().map(|part| &batches[part]).collect();
    assert!(parts.iter().all(|part| !part.is_empty()));
    let sync = LocalSteps { learning_rate: 0.6, momentum: 0.8, ..LocalSteps::every(3) };
    let (rate, momentum) = (sync.learning_rate, sync.momentum);
    with_ranks(2, |team| {
        let mut engine = open(&gpu, &golden, sync, team);
        let names: Vec<String> = engine.model_tensors().into_iter().map(|(name, _)| name).collect();
        let mut alone: Vec<Trainer<_>> = parts.iter().map(|_| golden.trainer_for(&gpu, 1)).collect();
        let states: Vec<String> = alone[0].optimizer_tensors().into_iter().map(|(name, _)| name).collect();
        let mut moments: Vec<Vec<f64>> =
            all(&mut engine, &names).iter().map(|values| vec![0.0; values.len()]).collect();
        for round in 0..3 {
            let before = all(&mut engine, &names);
            for step in 0..3 {
                assert!(engine.is_whole() == (step == 0));
                let rate = 1e-2 / f64::from(1 + round);
                let report = pollster::block_on(engine.step(&batches, rate)).unwrap();
                let (mut loss, mut answers) = (0.0, 0.0);
                for (trainer, part) in alone.iter_mut().zip(&parts) {
                    let report = pollster::block_on(trainer.step(part, rate)).unwrap();
                    let own = part.iter().map(|batch| batch.labels.len()).sum::<usize>() as f64;
                    loss += own * report.loss;
                    answers += own;
                }
                assert!((report.loss - loss / answers).abs() < 1e-12, "{report:?}");
            }
            assert!(engine.is_whole());
            let ends: Vec<Vec<Vec<f32>>> = alone.iter_mut().map(|trainer| all(trainer, &names)).collect();
            let after = all(&mut engine, &names);
            for (tensor, (before, after)) in before.iter().zip(&after).enumerate() {
                for (at, (before, after)) in before.iter().zip(after).enumerate() {
                    let before = f64::from(*before);
                    // As much as each has learned from.
                    let shares = parts.iter().map(|part| part.len() as f64 / batches.len() as f64);
                    let differences = ends.iter().map(|end| before - f64::from(end[tensor][at]));
                    let mean: f64 =
                        shares.zip(differences).map(|(share, difference)| share * difference).sum();
                    let moment = &mut moments[tensor][at];
                    *moment = momentum * *moment + mean;
                    let expected = before - rate * (mean + momentum * *moment);
                    let found = f64::from(*after);
                    assert!((found - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{found} {expected}");
                }
            }
            assert!(before != after);
            // Each goes on with its own moments, from the weights of all.
            for (rank, trainer) in alone.iter_mut().enumerate() {
                let name = |state: &String| if rank == 0 { state.clone() } else { format!("rank1.{state}") };
                let found = all(&mut engine, &states.iter().map(name).collect::<Vec<_>>());
                assert!(found == all(trainer, &states), "round {round}: rank {rank}");
                names.iter().zip(&after).for_each(|(name, values)| trainer.write(name, values).unwrap());
            }
        }
    });
}

/// An outer step of rate 1 without momentum goes as far as the only rank that had something to learn from.
#[test]
fn a_rank_that_learned_nothing_has_no_part_in_the_mean() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let batches = split(&golden.batch());
    let sync = LocalSteps { learning_rate: 1.0, momentum: 0.0, ..LocalSteps::every(2) };
    with_ranks(2, |team| {
        let mut engine = open(&gpu, &golden, sync, team);
        let names: Vec<String> = engine.model_tensors().into_iter().map(|(name, _)| name).collect();
        let mut alone = golden.trainer_for(&gpu, 1);
        let before = all(&mut engine, &names);
        for _ in 0..2 {
            pollster::block_on(engine.step(&batches[..1], 1e-2)).unwrap();
            pollster::block_on(alone.step(&batches[..1], 1e-2)).unwrap();
        }
        let (found, expected) = (all(&mut engine, &names), all(&mut alone, &names));
        assert!(before != expected);
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{found} {expected}");
        }
    });
}

/// What a rank sends in 12 steps, beside what it sends in none.
#[test]
fn what_ranks_send_is_divided_by_the_steps_between() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let batches = split(&golden.batch());
    let sent = |sync: LocalSteps, steps: u64| {
        sent_by_the_other(|team| {
            let mut engine = open(&gpu, &golden, sync, team);
            for _ in 0..steps {
                pollster::block_on(engine.step(&batches, 1e-3)).unwrap();
            }
        })
    };
    let exact = LocalSteps { after: 100, ..LocalSteps::every(1) };
    let elements: u64 = golden.config.parameter_count();
    let begins = sent(exact, 0);
    let exact = sent(exact, 12) - begins;
    // Half of the gradients, and half of the sums: of their own elements, and of those of padding.
    assert!((12 * 4 * elements..13 * 4 * elements).contains(&exact), "{exact} bytes, {elements} elements");
    for every in [2, 6, 12] {
        let local = sent(LocalSteps::every(every), 12) - begins;
        let share = exact as f64 / local as f64 / every as f64;
        // A report takes some bytes.
        assert!((0.9..1.1).contains(&share), "every {every}: {local} of {exact} bytes");
        let exchanges = 12 / every;
        assert!(local >= exchanges * 4 * elements, "{local}");
    }
}

#[test]
fn a_recipe_holds_when_ranks_synchronise() {
    let place = Place::new();
    let config = place.config(&CHANGES);
    let sync = config.sync.unwrap();
    assert_eq!((sync.every, sync.after, sync.ranks), (5, 1, Some(2)));
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains("\"sync\":\"every=5,after=1,lr=0.7,momentum=0.9,ranks=2\""), "{text}");
    assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap().sync, Some(sync));
    // Recipes without it are what they were.
    assert!(!serde_json::to_string(&place.config(&[])).unwrap().contains("sync"));
    let mut settings = wgrad::train::Settings::preset("micro").unwrap();
    for wrong in ["sync=5", "sync=every=0", "sync=after=5"] {
        let error = settings.set(wrong).unwrap_err();
        assert!(matches!(&error, Error::Config { field, .. } if field == "sync"), "{error}");
    }
}
