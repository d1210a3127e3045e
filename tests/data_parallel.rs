//! Steps that several ranks compute: the same bits as one, and what is told when a rank fails.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::time::Duration;

use common::golden::{Golden, options, split};
use common::ranks::{PATIENCE, hello, with_others, with_ranks, works};
use wgrad::data::Batch;
use wgrad::gpu::{Buffer, Choices, Gpu, GpuOptions, MatrixOperands, Part, Recorder, Region};
use wgrad::tensor::DType;
use wgrad::train::ranks::{DataParallel, Hello, Learns, Local, Team, TrainerPlan, locals, work};
use wgrad::train::{MaskedTokens, MlmOptions, StepEngine, StepReport};
use wgrad::{Error, Result};

const BLOCKS: usize = 4;

fn plan(golden: &Golden, storage: DType) -> TrainerPlan {
    let options = MlmOptions { storage, ..options(1) };
    TrainerPlan {
        config: golden.config.clone(),
        kernels: Choices::default(),
        learns: Learns::Masked(options),
    }
}

fn open(gpu: &Gpu, golden: &Golden, storage: DType, team: &Team) -> DataParallel<MaskedTokens> {
    let mut engine = DataParallel::pretraining(gpu, &plan(golden, storage), BLOCKS, team).unwrap();
    for (name, _) in engine.model_tensors() {
        engine.write(&name, &golden.f32(&format!("weights/{name}"))).unwrap();
    }
    engine
}

/// Has gradients travel in so many pieces or more.
fn divide(engine: &mut DataParallel<MaskedTokens>, pieces: usize) {
    let elements: usize =
        engine.model_tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    engine.set_piece(elements / pieces);
}

fn step(engine: &mut DataParallel<MaskedTokens>, batches: &[Batch]) -> Result<StepReport> {
    pollster::block_on(engine.step(batches, 1e-2))
}

/// The bits of everything that would be saved.
fn state(engine: &mut DataParallel<MaskedTokens>) -> Vec<Vec<u32>> {
    let names = [engine.model_tensors(), engine.optimizer_tensors()].concat();
    let mut read = |name: &str| pollster::block_on(engine.read(name)).unwrap();
    names.iter().map(|(name, _)| read(name).into_iter().map(f32::to_bits).collect()).collect()
}

/// Some steps: of more micro-batches than blocks, of fewer, of none with a target among them, one that is skipped; and a
/// measurement after each.
fn steps(engine: &mut DataParallel<MaskedTokens>, golden: &Golden) -> (Vec<StepReport>, Vec<[u64; 2]>) {
    let few = split(&golden.batch());
    assert!(few.len() < BLOCKS);
    let many = [few.clone(), few.clone()].concat();
    assert!(many.len() > BLOCKS);
    let mut without = many.clone();
    (without[1].masked_rows, without[1].labels) = Default::default();
    let optimizer = engine.optimizer_tensors()[0].0.clone();
    let (mut reports, mut measured) = (Vec::new(), Vec::new());
    for (number, batches) in [&many, &few, &without, &many, &few].into_iter().enumerate() {
        if number == 3 {
            let before = pollster::block_on(engine.read(&optimizer)).unwrap();
            let mut beyond = before.clone();
            beyond[0] = 3e38;
            engine.write(&optimizer, &beyond).unwrap();
            let report = step(engine, batches).unwrap();
            assert!(report.skipped, "{report:?}");
            engine.write(&optimizer, &before).unwrap();
        }
        reports.push(step(engine, batches).unwrap());
        let found = pollster::block_on(engine.evaluate(batches)).unwrap();
        measured.push([found.loss.to_bits(), found.accuracy.to_bits()]);
    }
    assert!(reports.iter().all(|report| !report.skipped && report.loss > 0.0), "{reports:?}");
    (reports, measured)
}

#[test]
fn any_number_of_ranks_gives_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let mut storages = vec![DType::F32];
    if common::has_f16(&gpu) {
        storages.push(DType::F16);
    }
    for storage in storages {
        let all = [1, 2, 3, 4].map(|ranks| {
            with_ranks(ranks, |team| {
                assert_eq!(team.size(), ranks);
                let mut engine = open(&gpu, &golden, storage, team);
                let before = state(&mut engine);
                let found = steps(&mut engine, &golden);
                let after = state(&mut engine);
                assert!(before != after);
                (found, after)
            })
        });
        let (first, others) = all.split_first().unwrap();
        for (ranks, other) in (2..).zip(others) {
            assert_eq!(first.0, other.0, "{storage:?}: reports of {ranks} ranks");
            assert!(first.1 == other.1, "{storage:?}: state after {ranks} ranks");
        }
    }
}

/// Each piece of the gradients travels as soon as it is final, and not before: not while a tied table lacks what its lookups add
/// last, nor before the last micro-batch of a block.
#[test]
fn pieces_of_gradients_are_sent_when_they_are_final() {
    let Some(gpu) = common::gpu() else { return };
    for name in ["relative_untied_mask", "relative_tied_mask"] {
        let golden = Golden::open(name);
        let found = |pieces: usize, ranks: usize| {
            with_ranks(ranks, |team| {
                let mut engine = open(&gpu, &golden, DType::F32, team);
                divide(&mut engine, pieces);
                (steps(&mut engine, &golden), state(&mut engine))
            })
        };
        // All at once, when everything is done.
        let whole = found(1, 1);
        for (pieces, ranks) in [(5, 1), (40, 1), (40, 2), (9, 3)] {
            let other = found(pieces, ranks);
            assert_eq!(whole.0, other.0, "{name}: reports with {pieces} pieces on {ranks} ranks");
            assert!(whole.1 == other.1, "{name}: state with {pieces} pieces on {ranks} ranks");
        }
    }
}

/// A part is read between the last command that writes to it and the next, whatever becomes of what follows.
#[test]
fn what_is_final_is_read_while_the_rest_runs() {
    let Some(gpu) = common::gpu() else { return };
    let [one, two, three] = [1.0f32, 2.0, 3.0].map(|value| gpu.upload("new", &[value; 128]).unwrap());
    let [early, late] = ["early", "late"].map(|name| gpu.upload(name, &[0.0f32; 128]).unwrap());
    let mut recorder = Recorder::new(&gpu);
    let mut bind = |buffer: &Buffer| recorder.bind(&Region::from(buffer));
    let [one, two, three] = [&one, &two, &three].map(&mut bind);
    let [to_early, to_late] = [&early, &late].map(&mut bind);
    recorder.copy(one, to_early);
    recorder.copy(two, to_late);
    recorder.copy(three.part(0, 256), to_early.part(256, 256));
    let recording = recorder.finish(&gpu, "copies").unwrap();
    let part = |buffer: &Buffer, elements| Part { buffer: buffer.clone(), elements };
    let parts = [part(&early, 64..128), part(&early, 0..64), part(&late, 0..128)];
    assert_eq!(parts.each_ref().map(|part| recording.final_after(part)), [3, 1, 2]);
    assert_eq!(recording.final_after(&part(&early, 60..70)), 3);
    assert_eq!(recording.final_after(&part(&gpu.upload("other", &[0.0f32]).unwrap(), 0..1)), 0);

    // A command, what is final after it, and so on: each submission lost in turn.
    let written = [[3.0, 1.0, 2.0], [3.0, 0.0, 2.0], [3.0, 1.0, 0.0], [1.0, 1.0, 2.0]];
    // What was not lost arrives, and the last command overwrites what the first has put there.
    for (lost, expected) in [u32::MAX, 0, 2, 4].into_iter().zip(written) {
        [&early, &late].into_iter().for_each(|buffer| gpu.write(buffer, 0, &[0.0f32; 128]));
        gpu.wait("the zeros").unwrap();
        gpu.lose_submission(lost);
        let reads = recording.replay_reading(&parts).unwrap();
        gpu.lose_submission(u32::MAX);
        for ((read, part), expected) in reads.into_iter().zip(&parts).zip(expected) {
            let mut found = Vec::new();
            let read = read.expect("there is memory to begin all");
            pollster::block_on(read.lend(|values: &[f32]| found.extend_from_slice(values))).unwrap();
            assert_eq!(found, vec![expected; part.elements.len()], "{lost}: {part:?}");
        }
    }
}

/// One block is what there was before there were blocks, and several differ from it by rounding alone.
#[test]
fn blocks_are_the_same_step_but_for_rounding() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let batches = split(&golden.batch());
    let reports = [1, 2, 3].map(|blocks| {
        let plan = plan(&golden, DType::F32);
        let mut engine = DataParallel::pretraining(&gpu, &plan, blocks, &Team::alone()).unwrap();
        (0..3).map(|_| step(&mut engine, &batches).unwrap()).collect::<Vec<_>>()
    });
    let mut trainer = golden.trainer_for(&gpu, 1);
    trainer.model().initialize(options(1).seed).unwrap();
    let alone: Vec<_> = (0..3).map(|_| pollster::block_on(trainer.step(&batches, 1e-2)).unwrap()).collect();
    assert_eq!(reports[0], alone);
    for report in &reports[1..] {
        for (one, other) in alone.iter().zip(report) {
            assert!((one.loss - other.loss).abs() < 1e-5 * one.loss, "{one:?} {other:?}");
            assert!((one.gradient_norm - other.gradient_norm).abs() < 1e-4 * one.gradient_norm);
            assert_eq!(one.accuracy, other.accuracy);
        }
    }
}

/// Fault 33, in steps of several blocks: each submission is lost in turn, here and on another rank.
#[test]
fn lost_work_of_any_rank_rejects_the_step() {
    let golden = Golden::open("relative_untied_mask");
    let batches = split(&golden.batch());
    let whole = || GpuOptions { longest_submission: Some(1e9), ..GpuOptions::default() };
    let Some(gpu) = common::open(whole()) else { return };
    let alone = |lost: u32| {
        let mut engine = open(&gpu, &golden, DType::F32, &Team::alone());
        divide(&mut engine, 3);
        step(&mut engine, &batches).unwrap();
        let before = state(&mut engine);
        gpu.lose_submission(lost);
        let found = step(&mut engine, &batches);
        gpu.lose_submission(u32::MAX);
        (found, before, engine)
    };
    let mut submissions = 0;
    while let (Err(error), before, mut engine) = alone(submissions) {
        assert!(matches!(error, Error::WorkLost { .. }), "{submissions}: {error}");
        let after = state(&mut engine);
        // The last is the read-back of a step that was done.
        let kept = after == before;
        submissions += 1;
        if !kept {
            assert!(alone(submissions).0.is_ok(), "{submissions}: something changed");
        }
    }
    // Of each block the zeroing, a micro-batch, the totals and the gradients; the step's zeroing, uploads, update and report.
    assert!(submissions >= 3 * 4 + 4, "{submissions}");

    // Another rank loses what it computes, when some of its gradients have been sent and others not. All others hear of it,
    // nothing is left over, and the next step is the one that this would have been.
    let expected = {
        let mut engine = open(&gpu, &golden, DType::F32, &Team::alone());
        (step(&mut engine, &batches).unwrap(), state(&mut engine))
    };
    for before in [0, 1, 2, 4, 6, 8] {
        let lose = move |mut link: Local| {
            let rank = wgrad::train::ranks::Link::rank(&link);
            let open = move |_: &TrainerPlan, _: Option<MatrixOperands>| {
                let gpu = pollster::block_on(Gpu::open(&GpuOptions::default()))?;
                if rank == 1 {
                    gpu.lose_submission(before);
                }
                Ok(gpu)
            };
            work(&mut link, &hello(), open)
        };
        let (found, others) = with_others(3, PATIENCE, lose, |team| {
            let mut engine = open(&gpu, &golden, DType::F32, team);
            divide(&mut engine, 5);
            let error = step(&mut engine, &batches).unwrap_err();
            assert!(
                matches!(&error, Error::WorkLost { operation, .. } if operation.ends_with("of rank 1")),
                "{before}: {error}"
            );
            (step(&mut engine, &batches).unwrap(), state(&mut engine))
        });
        assert!(found == expected, "after submission {before} was lost");
        others.into_iter().for_each(|other| other.unwrap());
    }
}

#[test]
fn a_rank_of_another_program_is_refused() {
    let mut links = locals(3, PATIENCE);
    let mut others: Vec<_> = links.drain(1..).collect();
    let greeting = |program: &str| Hello { program: program.to_owned(), share: 1 };
    let (mut last, mut second) = (others.pop().unwrap(), others.pop().unwrap());
    let never = |_: &TrainerPlan, _: Option<MatrixOperands>| panic!("nothing is to be opened");
    let threads = [
        std::thread::spawn(move || work(&mut second, &greeting("0.1"), never)),
        std::thread::spawn(move || work(&mut last, &greeting("0.2"), never)),
    ];
    let error = Team::gather(links.remove(0), &greeting("0.1")).unwrap_err().to_string();
    assert_eq!(
        error,
        "rank 2: expected the same wgrad on all ranks (0.1), found 0.2: install one version everywhere"
    );
    threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
}

#[test]
fn a_rank_that_fails_dies_or_hangs_is_named() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let batches = split(&golden.batch());
    let told = |patience: Duration, other: fn(Local) -> Result<()>| {
        let ended = with_others(3, patience, other, |team| {
            let plan = plan(&golden, DType::F32);
            let mut engine = DataParallel::pretraining(&gpu, &plan, BLOCKS, team)?;
            step(&mut engine, &batches)
        });
        ended.0.unwrap_err().to_string()
    };
    let full = |mut link: Local| {
        let rank = wgrad::train::ranks::Link::rank(&link);
        let open = move |_: &TrainerPlan, _: Option<MatrixOperands>| match rank {
            1 => pollster::block_on(Gpu::open(&GpuOptions::default())),
            _ => Err(Error::config("memory", "more", "none")),
        };
        work(&mut link, &hello(), open)
    };
    assert_eq!(told(PATIENCE, full), "rank 2: memory: expected more, found none");

    /// Answers so many messages, and then does what a test wants.
    fn answers(mut link: Local, count: usize, then: fn(Local)) -> Result<()> {
        use wgrad::train::ranks::Link;
        let bytes = serde_json::to_vec(&(3, hello())).unwrap();
        link.send(0, bytes)?;
        for _ in 0..count {
            link.receive(0)?;
        }
        then(link);
        Ok(())
    }
    let dies = |link| answers(link, 2, drop);
    assert_eq!(told(PATIENCE, dies), "rank 1: it has ended");
    let hangs = |link| answers(link, 2, std::mem::forget);
    let error = told(Duration::from_millis(500), hangs);
    assert!(error.starts_with("rank 1: nothing was heard of it"), "{error}");
    // Nothing is left waiting: whoever works notices that rank 0 has gone.
    let (_, others) = with_others(2, PATIENCE, works, |_| ());
    assert!(others[0].is_ok());
}

#[test]
fn fewer_blocks_than_ranks_are_refused() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let error = with_ranks(3, |team| {
        DataParallel::pretraining(&gpu, &plan(&golden, DType::F32), 2, team).unwrap_err().to_string()
    });
    assert_eq!(error, "blocks: expected at least as many as ranks (3), found 2: start at most 2 ranks");
}
