//! What takes less memory or time and changes no bit: inner results that are computed twice, parameters that stay as they
//! are, gradients that nobody zeroes.

use wgrad::gpu::{AdapterKind, Gpu, GpuOptions};
use wgrad::models::Freeze;
use wgrad::tensor::DType;
use wgrad::train::{MaskedTokens, MlmOptions, StepEngine, TrainConfig, Trainer, fit};

use crate::Place;
use crate::common;
use crate::common::golden::{Golden, options};

fn trainer(gpu: &Gpu, golden: &Golden, options: MlmOptions) -> Trainer<MaskedTokens> {
    let mut trainer = Trainer::pretraining(gpu, golden.config.clone(), options).unwrap();
    golden.fill(&mut trainer);
    trainer
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The bits of all gradients of the first step, by name, and of the weights after three.
fn learnt(trainer: &mut Trainer<MaskedTokens>, golden: &Golden) -> Vec<(String, Vec<u32>)> {
    let batch = golden.batch();
    trainer.accumulate(std::slice::from_ref(&batch)).unwrap();
    let names: Vec<String> = trainer.model_tensors().into_iter().map(|(name, _)| name).collect();
    let mut found = Vec::new();
    for name in &names {
        // What is not trained has none.
        if let Ok(gradient) = pollster::block_on(trainer.model().parameters.read_gradient(name)) {
            found.push((format!("gradient of {name}"), bits(&gradient)));
        }
    }
    for _ in 0..3 {
        let report = pollster::block_on(trainer.step(std::slice::from_ref(&batch), 1e-2)).unwrap();
        assert!(!report.skipped);
    }
    for name in names {
        let values = pollster::block_on(trainer.read(&name)).unwrap();
        found.push((name, bits(&values)));
    }
    found
}

fn each(test: impl Fn(&Gpu, DType)) {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { continue };
        test(&gpu, DType::F32);
        if common::has_f16(&gpu) {
            test(&gpu, DType::F16);
        }
    }
}

#[test]
fn inner_results_computed_twice_give_the_same_bits() {
    each(|gpu, storage| {
        for case in ["relative_tied_mask", "absolute_untied_mask"] {
            let golden = Golden::open(case);
            let layers = golden.config.num_hidden_layers;
            let of = |recompute| MlmOptions { storage, recompute, ..options(4) };
            let kept = learnt(&mut trainer(gpu, &golden, of(0)), &golden);
            for recompute in 1..=layers {
                assert!(
                    kept == learnt(&mut trainer(gpu, &golden, of(recompute)), &golden),
                    "{case}, {recompute} layers"
                );
            }
            let told = Trainer::plan(gpu, golden.config.clone(), of(layers + 1)).unwrap_err().to_string();
            assert!(told.starts_with("recompute: expected up to"), "{told}");
        }
    });
}

#[test]
fn the_gradients_of_the_step_before_leave_no_trace() {
    each(|gpu, storage| {
        for case in ["relative_tied_mask", "absolute_untied_mask"] {
            let golden = Golden::open(case);
            let (batch, mut empty) = (golden.batch(), golden.batch());
            empty.masked_rows.clear();
            empty.labels.clear();
            for batches in
                [vec![batch.clone()], vec![empty.clone(), batch.clone(), batch], vec![empty], vec![]]
            {
                let of = |poisoned: bool| {
                    let mut trainer = trainer(gpu, &golden, MlmOptions { storage, ..options(4) });
                    if poisoned {
                        common::poison_gradients(&trainer.model().parameters);
                    }
                    trainer.accumulate(&batches).unwrap();
                    let names: Vec<String> =
                        trainer.model_tensors().into_iter().map(|(name, _)| name).collect();
                    let parameters = &trainer.model().parameters;
                    let read = |name: &String| pollster::block_on(parameters.read_gradient(name)).unwrap();
                    names.iter().map(|name| (name.clone(), bits(&read(name)))).collect::<Vec<_>>()
                };
                assert!(of(true) == of(false), "{case}, {} micro-batches", batches.len());
            }
        }
    });
}

#[test]
fn what_is_frozen_stays_and_the_rest_has_its_gradients() {
    each(|gpu, storage| {
        let golden = Golden::open("relative_tied_mask");
        let of = |freeze| MlmOptions { storage, freeze, ..options(4) };
        let mut free = trainer(gpu, &golden, of(Freeze::Nothing));
        let state = free.optimizer_tensors().len();
        let all = learnt(&mut free, &golden);
        for (freeze, layers) in [(Freeze::Embeddings, 0), (Freeze::Layers(1), 1)] {
            let mut trainer = trainer(gpu, &golden, of(freeze));
            let is_frozen = |name: &str| {
                name.contains(".embeddings.") || (0..layers).any(|n| name.contains(&format!(".layer.{n}.")))
            };
            let frozen = trainer.model_tensors().iter().filter(|(name, _)| is_frozen(name)).count();
            assert!(frozen > 0);
            // Two moments each.
            assert_eq!(trainer.optimizer_tensors().len(), state - 2 * frozen);
            let found = learnt(&mut trainer, &golden);
            for (name, values) in &found {
                if let Some(of) = name.strip_prefix("gradient of ") {
                    assert!(!is_frozen(of));
                    assert!(all.contains(&(name.clone(), values.clone())), "{freeze}: {name}");
                } else if is_frozen(name) {
                    assert_eq!(*values, bits(&golden.f32(&format!("weights/{name}"))), "{freeze}: {name}");
                } else {
                    assert_ne!(*values, bits(&golden.f32(&format!("weights/{name}"))), "{freeze}: {name}");
                }
            }
        }
        let told = Trainer::plan(gpu, golden.config.clone(), of(Freeze::Layers(9))).unwrap_err().to_string();
        assert!(told.contains("a number of layers up to"), "{told}");
    });
}

#[test]
fn less_is_planned_and_as_few_layers_as_it_takes_are_computed_twice() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let config =
        place.config(&["batch_sequences=16", "micro_batch=16", "model.num_hidden_layers=5", "seq_len=16"]);
    let takes = |recompute: usize, freeze: Freeze| {
        let config = TrainConfig { recompute, freeze, ..config.clone() };
        Trainer::plan(&gpu, config.model.clone(), config.trainer_options()).unwrap()
    };
    let totals: Vec<u64> = (0..=5).map(|layers| takes(layers, Freeze::Nothing).total).collect();
    assert!(totals[5] < totals[0] && totals.is_sorted_by(|few, more| few >= more), "{totals:?}");
    let (free, frozen) = (takes(0, Freeze::Nothing), takes(0, Freeze::Layers(5)));
    assert_eq!(free.weights, frozen.weights);
    assert!(frozen.gradients < free.gradients / 2 && frozen.optimizer < free.optimizer / 2);
    assert!(frozen.transient < free.transient);
    let within = |budget: u64, recomputed: bool| {
        let gpu = common::open(GpuOptions { memory: Some(budget), ..GpuOptions::default() }).unwrap();
        fit::largest(&gpu, &config, &fit::micro_batches(config.batch_sequences, config.blocks), recomputed)
    };
    for layers in [1, 3, 5] {
        if totals[layers] == totals[layers - 1] {
            continue;
        }
        let fit = within(totals[layers], true).unwrap();
        assert_eq!((fit.micro_batch, fit.recompute), (16, layers));
        let fit = within(totals[layers], false).unwrap();
        assert!(fit.micro_batch < 16 && fit.recompute == 0);
    }
    assert_eq!(within(totals[0], true).unwrap(), fit::Fit { micro_batch: 16, recompute: 0 });
}
