//! Gradients that travel as half floats: the same bits on any number of ranks, near those of f32.

use crate::common::golden::{Golden, options, split};
use crate::common::links::sent_by_the_other;
use crate::common::ranks::with_ranks;
use crate::{Place, assert_same, common, local_steps, ranks, result};
use wgrad::data::Batch;
use wgrad::gpu::{Choices, Gpu};
use wgrad::tensor::DType;
use wgrad::train::ranks::{DataParallel, Learns, Team, TrainerPlan};
use wgrad::train::{MaskedTokens, MlmOptions, RunOptions, Settings, StepEngine, TrainConfig, WireFormat};
use wgrad::{Error, Result};

const BLOCKS: usize = 4;

fn open(
    gpu: &Gpu,
    golden: &Golden,
    (storage, wire): (DType, WireFormat),
    team: &Team,
) -> DataParallel<MaskedTokens> {
    let plan = TrainerPlan {
        config: golden.config.clone(),
        kernels: Choices::default(),
        learns: Learns::Masked(MlmOptions { storage, ..options(1) }),
    };
    let engine = DataParallel::pretraining(gpu, &plan, BLOCKS, team).unwrap();
    let mut engine = engine.with_wire(wire);
    for (name, _) in engine.model_tensors() {
        engine.write(&name, &golden.f32(&format!("weights/{name}"))).unwrap();
    }
    engine
}

/// More micro-batches than blocks.
fn batches(golden: &Golden) -> Vec<Batch> {
    let few = split(&golden.batch());
    let many = [few.clone(), few].concat();
    assert!(many.len() > BLOCKS);
    many
}

/// The bits of everything that would be saved.
fn state(engine: &mut DataParallel<MaskedTokens>) -> Vec<Vec<u32>> {
    let names = [engine.model_tensors(), engine.optimizer_tensors()].concat();
    let mut read = |name: &str| pollster::block_on(engine.read(name)).unwrap();
    names.iter().map(|(name, _)| read(name).into_iter().map(f32::to_bits).collect()).collect()
}

/// The losses and norms of some steps, one of which is skipped, and what they have led to.
fn steps(engine: &mut DataParallel<MaskedTokens>, batches: &[Batch]) -> (Vec<[f64; 2]>, Vec<Vec<u32>>) {
    let optimizer = engine.optimizer_tensors()[0].0.clone();
    let step =
        |engine: &mut DataParallel<MaskedTokens>| pollster::block_on(engine.step(batches, 1e-2)).unwrap();
    let mut reports = Vec::new();
    for number in 0..6 {
        if number == 2 {
            let before = pollster::block_on(engine.read(&optimizer)).unwrap();
            let mut beyond = before.clone();
            beyond[0] = 3e38;
            engine.write(&optimizer, &beyond).unwrap();
            let weights = state(engine);
            let report = step(engine);
            assert!(report.skipped, "{report:?}");
            assert!(weights[..engine.model_tensors().len()] == state(engine)[..engine.model_tensors().len()]);
            engine.write(&optimizer, &before).unwrap();
        }
        let report = step(engine);
        assert!(!report.skipped && report.loss > 0.0, "{report:?}");
        reports.push([report.loss, report.gradient_norm]);
    }
    (reports, state(engine))
}

#[test]
fn any_number_of_ranks_rounds_to_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let batches = batches(&golden);
    let mut storages = vec![DType::F32];
    if common::has_f16(&gpu) {
        storages.push(DType::F16);
    }
    for storage in storages {
        let found = |wire: WireFormat, ranks: usize, pieces: usize| {
            with_ranks(ranks, |team| {
                let mut engine = open(&gpu, &golden, (storage, wire), team);
                engine.set_piece(golden.config.parameter_count() as usize / pieces);
                steps(&mut engine, &batches)
            })
        };
        let exact = found(WireFormat::F32, 1, 1);
        let rounded = found(WireFormat::F16, 4, 1);
        // Nor does any bit depend on the pieces, or on when it is computed.
        for (ranks, pieces) in [(4, 1), (2, 1), (1, 1), (3, 9), (1, 40)] {
            let other = found(WireFormat::F16, ranks, pieces);
            assert_eq!(rounded.0, other.0, "{storage:?}: reports of {ranks} ranks, {pieces} pieces");
            assert!(rounded.1 == other.1, "{storage:?}: state after {ranks} ranks, {pieces} pieces");
        }
        assert!(exact.1 != rounded.1, "{storage:?}: nothing was rounded");
        // The first step's gradient is off by its rounding alone, and its loss not at all.
        let norm = |reports: &[[f64; 2]]| reports[0][1];
        assert_eq!(exact.0[0][0], rounded.0[0][0], "{storage:?}");
        assert!((norm(&exact.0) - norm(&rounded.0)).abs() < 2f64.powi(-10) * norm(&exact.0), "{storage:?}");
        for ([exact, _], [rounded, _]) in exact.0.iter().zip(&rounded.0) {
            assert!((exact - rounded).abs() < 1e-2 * exact, "{storage:?}: loss {rounded} for {exact}");
        }
    }
}

/// What a rank sends in 12 steps, beside what it sends in none.
#[test]
fn half_as_many_bytes_travel() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let batches = batches(&golden);
    let sent = |wire: WireFormat, steps: u64| {
        sent_by_the_other(|team| {
            let mut engine = open(&gpu, &golden, (DType::F32, wire), team);
            for _ in 0..steps {
                pollster::block_on(engine.step(&batches, 1e-3)).unwrap();
            }
        })
    };
    let [exact, rounded] = [WireFormat::F32, WireFormat::F16].map(|wire| sent(wire, 12) - sent(wire, 0));
    let share = rounded as f64 / exact as f64;
    assert!((0.495..0.52).contains(&share), "{rounded} of {exact} bytes");
}

#[test]
fn a_run_keeps_what_it_has_begun_with() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let changes = ["learning_rate=0.02", "micro_batch=2", "blocks=4", "checkpoint.every=100", "wire=f16"];
    let whole = place.options("whole", &changes);
    ranks::train(&gpu, &whole, &Team::alone(), None).unwrap();
    let expected = result(&whole.out);
    let exact = place.options("exact", &changes[..4]);
    ranks::train(&gpu, &exact, &Team::alone(), None).unwrap();
    assert!(expected != result(&exact.out), "nothing was rounded");

    let options = place.options("fewer", &changes);
    assert!(with_ranks(4, |team| ranks::train(&gpu, &options, team, Some(3))).unwrap().interrupted);
    let options = RunOptions { resume: true, ..options };
    let refused = |changes: &[&str]| {
        let other = RunOptions { resume: true, ..place.options("fewer", changes) };
        let error = ranks::train(&gpu, &other, &Team::alone(), None).unwrap_err();
        assert!(matches!(&error, Error::Config { found, .. } if found.contains("recipe.wire")), "{error}");
    };
    refused(&changes[..4]);
    with_ranks(2, |team| ranks::train(&gpu, &options, team, None)).unwrap();
    assert_same(&result(&options.out), &expected, "4 and 2 ranks");
}

/// How far ranks have come travels as gradients do.
#[test]
fn local_steps_are_rounded_alike_on_all_ranks() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let place = Place::new();
    let changes = [&local_steps::CHANGES[..], &["wire=f16"]].concat();
    let train = |name: &str, changes: &[&str]| {
        let options = place.options(name, changes);
        with_ranks(2, |team| local_steps::train(&gpu, &options, team, None)).0?;
        Ok::<_, Error>(result(&options.out))
    };
    let (one, again) = (train("one", &changes)?, train("again", &changes)?);
    assert_same(&one, &again, "the same ranks");
    assert!(one != train("exact", &local_steps::CHANGES)?, "nothing was rounded");
    Ok(())
}

#[test]
fn a_recipe_says_how_gradients_travel() {
    let place = Place::new();
    let config = place.config(&["wire=f16"]);
    assert_eq!(config.wire, WireFormat::F16);
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains("\"wire\":\"f16\""), "{text}");
    assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), config);
    // Recipes without it are what they were.
    let without = serde_json::to_string(&place.config(&["wire=f32"])).unwrap();
    assert!(!without.contains("wire"), "{without}");
    let error = Settings::preset("micro").unwrap().set("wire=bf16").unwrap_err();
    assert!(
        matches!(&error, Error::Config { field, expected, .. } if field == "wire" && expected == "`f32` or `f16`"),
        "{error}"
    );
}
