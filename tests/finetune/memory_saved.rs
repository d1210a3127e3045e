//! What takes less memory while finetuning: inner results that are computed twice, which changes no bit, sizes that are
//! chosen by what fits, and measuring, for which the recordings of learning give way.

use wgrad::Error;
use wgrad::data::task::{Encoded, Task};
use wgrad::gpu::{AdapterKind, Gpu, GpuOptions};
use wgrad::models::{Config, Freeze, Learning, Model, Pooling, ProblemType};
use wgrad::optim::OptimizerOptions;
use wgrad::tensor::DType;
use wgrad::train::finetune::{FinetuneOptions, columns, estimate, largest};
use wgrad::train::fit::{Fit, micro_batches};
use wgrad::train::objective::{ChosenObjective, Pairs, Targets, TextBatch};
use wgrad::train::{Memory, StepEngine, Trainer, TrainerOptions};

use crate::common::golden::Golden;
use crate::{Place, common, run};

/// What is learned in a case, and the model that learns it.
fn cases(config: &Config) -> Vec<(&'static str, ChosenObjective, Config, Targets)> {
    let labels = || ["a", "b", "c"].map(str::to_owned).to_vec();
    let head =
        |count: usize, problem| config.classifier(labels()[..count].to_vec(), problem, Pooling::Cls, true);
    let pairs = Pairs { pooling: Pooling::Mean, factor: 20.0, at_once: 2, negatives: 0 };
    let words = [vec![(1, 0), (2, 2)], vec![(1, 1)], vec![], vec![(3, 0)], vec![(1, 2)], vec![(2, 1)]];
    vec![
        (
            "classes",
            ChosenObjective::Classes(vec![0.5, 1.0, 2.0]),
            head(3, ProblemType::SingleLabelClassification),
            Targets::Classes(vec![0, 1, 2, 0, 1, 2]),
        ),
        (
            "labels",
            ChosenObjective::LabelSets,
            head(3, ProblemType::MultiLabelClassification),
            Targets::Labels(vec![vec![0], vec![], vec![1, 2], vec![2], vec![0, 1, 2], vec![1]]),
        ),
        (
            "number",
            ChosenObjective::Numbers,
            head(1, ProblemType::Regression),
            Targets::Numbers(vec![0.5, -1.0, 2.0, 0.0, 1.5, -0.5]),
        ),
        (
            "words",
            ChosenObjective::TokenClasses(Vec::new()),
            config.token_classifier(labels()),
            Targets::Tokens(words.to_vec()),
        ),
        ("pairs", ChosenObjective::Pairs(pairs), config.encoder(), Targets::Pairs),
    ]
}

/// The bits of all gradients with dropout after a step, and of all weights.
fn learnt(
    gpu: &Gpu,
    storage: DType,
    (objective, config): (&ChosenObjective, &Config),
    batch: &TextBatch,
    recompute: usize,
) -> Vec<(String, Vec<u32>)> {
    let optimizer = OptimizerOptions::default();
    let learning = Learning { division: optimizer.division(), freeze: Freeze::Nothing, recompute };
    let mut model = Model::trained(gpu, config.clone(), learning).unwrap();
    if storage == DType::F16 {
        model = model.with_weights_f16().unwrap();
    }
    model.initialize(5).unwrap();
    let options = TrainerOptions { storage, dropout: 0.1, optimizer, seed: 9 };
    let mut trainer = Trainer::new(gpu, model, objective.objective(), options).unwrap();
    // The second micro-batch adds to the gradients of the first, and drops others.
    let batches = [batch.clone(), batch.clone()];
    // The scale of the loss falls until gradients are finite.
    let mut step = || !pollster::block_on(trainer.step(&batches, 1e-3)).unwrap().skipped;
    assert!((0..20).any(|_| step()));
    trainer.accumulate(&batches).unwrap();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let names: Vec<String> = trainer.model_tensors().into_iter().map(|(name, _)| name).collect();
    let mut found = Vec::new();
    for name in &names {
        let gradient = pollster::block_on(trainer.model().parameters.read_gradient(name)).unwrap();
        assert!(gradient.iter().all(|value| value.is_finite()), "{name}");
        found.push((format!("gradient of {name}"), bits(gradient)));
    }
    for name in names {
        let values = pollster::block_on(trainer.read(&name)).unwrap();
        found.push((name, bits(values)));
    }
    found
}

#[test]
fn inner_results_computed_twice_give_the_same_bits_with_dropout() {
    let texts: Vec<Encoded> = (0..6_u32)
        .map(|text| {
            let ids = (0..4 + 3 * text).map(|at| 5 + (7 * text + 11 * at) % 40).collect();
            Encoded { ids, types: Vec::new(), truncated: 0 }
        })
        .collect();
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { continue };
        let mut storages = vec![DType::F32];
        if common::has_f16(&gpu) {
            storages.push(DType::F16);
        }
        let config = Golden::open("relative_untied_mask").config;
        let layers = config.num_hidden_layers;
        assert!(layers > 1);
        for (what, objective, config, targets) in cases(&config) {
            let batch = TextBatch { tokens: 32, texts: texts.clone(), targets };
            for &storage in &storages {
                let learnt = |recompute| learnt(&gpu, storage, (&objective, &config), &batch, recompute);
                let kept = learnt(0);
                // What is compared is not nothing.
                let (name, first) = &kept[0];
                assert!(name.starts_with("gradient of") && first.iter().any(|&bits| bits != 0), "{what}");
                for recompute in [1, layers] {
                    assert!(kept == learnt(recompute), "{what}, {kind:?}, {storage:?}, {recompute} layers");
                }
            }
        }
    }
}

/// What a run takes.
fn takes(gpu: &Gpu, options: &FinetuneOptions) -> Memory {
    pollster::block_on(estimate(gpu, options, 0.0)).unwrap().memory
}

/// A run that learns from texts of about 100 tokens.
fn long(place: &Place, task: Task, out: &str) -> FinetuneOptions {
    let by = columns(task, "text", Some("partner"), None);
    let mut options = place.options(task, &by, out);
    let more = vec!["w9"; 90].join(" ");
    options.train.examples.truncate(36);
    options.train.examples.iter_mut().for_each(|example| example.text = format!("{} {more}", example.text));
    (options.recipe.epochs, options.recipe.batch, options.recipe.micro_batch) = (2, 12, 12);
    options
}

#[test]
fn the_largest_micro_batch_within_a_budget_is_found_with_few_layers_computed_twice() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    for task in [Task::Classify, Task::Contrastive] {
        let mut options = long(&place, task, "out");
        options.evals[0].1.examples.truncate(2);
        let mut of = |micro_batch: usize, recompute: usize| {
            (options.recipe.micro_batch, options.recipe.recompute) = (micro_batch, recompute);
            takes(&gpu, &options).total
        };
        let (whole, part, twice) = (of(12, 0), of(6, 0), of(12, 2));
        assert!(part < whole && twice < whole, "{task}: {part} {twice} {whole}");
        options.recipe.recompute = 0;
        let within = |budget: u64, recomputed: bool| {
            let gpu = common::open(GpuOptions { memory: Some(budget), ..GpuOptions::default() }).unwrap();
            largest(&gpu, &options, &micro_batches(12, 1), recomputed)
        };
        assert_eq!(within(whole, true).unwrap(), Fit { micro_batch: 12, recompute: 0 }, "{task}");
        assert_eq!(within(whole - 1, false).unwrap(), Fit { micro_batch: 6, recompute: 0 }, "{task}");
        assert_eq!(within(part, false).unwrap().micro_batch, 6, "{task}");
        let fit = within(whole - 1, true).unwrap();
        assert!(fit.micro_batch == 12 && (1..=2).contains(&fit.recompute), "{task}: {fit:?}");
        let error = within(1 << 16, true).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    }
    // So much for its embeddings: three values of each of their parameters are not there.
    let mut options = long(&place, Task::Classify, "out");
    let free = takes(&gpu, &options);
    options.recipe.freeze = Freeze::Embeddings;
    let frozen = takes(&gpu, &options);
    assert_eq!(free.weights, frozen.weights);
    assert!(frozen.gradients < free.gradients && frozen.optimizer < free.optimizer);
    assert!(frozen.total < free.total);
}

#[test]
fn a_run_takes_what_was_planned_and_measuring_too() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let options = long(&place, Task::Classify, "out");
    let planned = takes(&gpu, &options);
    // Learning and measuring do not fit at once, and one of them takes the most.
    let mut few = long(&place, Task::Classify, "few");
    few.evals[0].1.examples.truncate(1);
    assert!(planned.read_back < takes(&gpu, &few).transient.min(planned.transient) / 4);
    let within = |budget: u64| common::open(GpuOptions { memory: Some(budget), ..GpuOptions::default() });
    let gpu = within(planned.total).unwrap();
    let report = run(&gpu, &options).unwrap();
    assert!(report.saved && report.steps == 6, "{report:?}");
    assert!(gpu.peak_allocated() <= planned.total);
    // What does not fit is told before the first step.
    let options = FinetuneOptions { out: place.path("less"), ..options };
    let error = run(&within(planned.total / 2).unwrap(), &options).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    // A run without a limit has kept the bits.
    let free = FinetuneOptions { out: place.path("free"), ..long(&place, Task::Classify, "free") };
    run(&common::gpu().unwrap(), &free).unwrap();
    let weights = |out: &str| std::fs::read(place.path(out).join("model.safetensors")).unwrap();
    assert!(weights("out") == weights("free"));
}
