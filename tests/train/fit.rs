//! Memory and time known before a run: budgets, the largest micro-batch, `--dry-run`.

use serde_json::Value;
use wgrad::Error;
use wgrad::data::Split;
use wgrad::gpu::GpuOptions;
use wgrad::models::{Config, Freeze, Learning, Model, Pooling, ProblemType};
use wgrad::optim::OptimizerOptions;
use wgrad::tensor::DType;
use wgrad::train::objective::Classes;
use wgrad::train::{MlmOptions, Settings, TrainConfig, Trainer, TrainerOptions, estimate, fit};

use crate::common::program::{command, json};
use crate::{Place, common};

fn of(config: &TrainConfig, micro_batch: usize) -> TrainConfig {
    TrainConfig { micro_batch, ..config.clone() }
}

#[test]
fn the_largest_micro_batch_within_a_budget_is_found() {
    let Some(gpu) = common::gpu() else { return };
    let config = Place::new().config(&["batch_sequences=12", "micro_batch=4"]);
    assert_eq!(fit::micro_batches(config.batch_sequences, config.blocks), [12, 6, 4, 3, 2, 1]);
    assert_eq!(
        fit::largest(&gpu, &config, &fit::micro_batches(config.batch_sequences, config.blocks), false)
            .unwrap()
            .micro_batch,
        12
    );
    assert_eq!(gpu.allocated(), 0);
    let takes = |micro_batch: usize| {
        let config = of(&config, micro_batch);
        let memory = Trainer::plan(&gpu, config.model.clone(), config.trainer_options()).unwrap();
        // What was planned is what a trainer takes.
        let trainer = Trainer::pretraining(&gpu, config.model.clone(), config.trainer_options()).unwrap();
        assert_eq!((trainer.memory(), gpu.allocated()), (memory, memory.total - memory.read_back));
        let parts = memory.weights + memory.gradients + memory.optimizer + memory.transient;
        let parts = parts + memory.read_back;
        assert_eq!(parts, memory.total);
        assert!(memory.weights >= 4 * config.model.parameter_count() && memory.gradients == memory.weights);
        assert!(memory.optimizer >= 2 * memory.weights);
        memory.total
    };
    let within = |budget: u64| {
        let gpu = common::open(GpuOptions { memory: Some(budget), ..GpuOptions::default() }).unwrap();
        fit::largest(&gpu, &config, &fit::micro_batches(config.batch_sequences, config.blocks), false)
            .map(|fit| fit.micro_batch)
    };
    for (size, larger) in [(1, 2), (3, 4), (4, 6)] {
        assert!(takes(size) < takes(larger));
        assert_eq!(within(takes(size)).unwrap(), size as u64);
        assert_eq!(within(takes(larger) - 1).unwrap(), size as u64);
    }
    let error = within(takes(1) - 1).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
}

/// 135 million parameters, 32 sequences of 128 tokens.
#[test]
fn the_notebooks_model_trains_in_less_than_4_gb() {
    let Some(gpu) = common::gpu() else { return };
    let config = TrainConfig::preset("notebook").unwrap();
    let options = MlmOptions { storage: DType::F16, ..of(&config, 32).trainer_options() };
    if !common::has_f16(&gpu) {
        return;
    }
    let memory = Trainer::plan(&gpu, config.model.clone(), options).unwrap();
    assert!(memory.total < 4_000_000_000, "{memory:?}");
    // 16 bytes a parameter, and 2 for what activations meet.
    let parameters = config.model.parameter_count();
    let fixed = memory.weights + memory.gradients + memory.optimizer;
    assert!((18 * parameters..19 * parameters).contains(&fixed), "{memory:?} for {parameters}");
}

/// The same model and 8 sequences of 512 tokens, of which 15% are guessed.
#[test]
fn the_notebooks_model_trains_at_512_tokens_in_less_than_7_5_gb() {
    let Some(gpu) = common::gpu() else { return };
    if !common::has_f16(&gpu) {
        return;
    }
    let config = TrainConfig { seq_len: 512, ..of(&TrainConfig::preset("notebook").unwrap(), 8) };
    let options = MlmOptions { storage: DType::F16, ..config.trainer_options() };
    let memory = Trainer::plan(&gpu, config.model.clone(), options).unwrap();
    assert!(memory.total < 7_500_000_000, "{memory:?}");
}

/// 335 million parameters, 8 texts of 256 tokens.
#[test]
fn bert_large_finetunes_at_256_tokens_in_less_than_7_5_gb() {
    let Some(gpu) = common::open(GpuOptions { memory: Some(7_500_000_000), ..GpuOptions::default() }) else {
        return;
    };
    if !common::has_f16(&gpu) {
        return;
    }
    let config = serde_json::json!({
        "model_type": "bert", "vocab_size": 30522, "hidden_size": 1024, "num_hidden_layers": 24,
        "num_attention_heads": 16, "intermediate_size": 4096, "max_position_embeddings": 512,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "pad_token_id": 0,
        "cls_token_id": 101, "sep_token_id": 102, "mask_token_id": 103,
    });
    let config = Config::from_json(config.to_string().as_bytes(), "config.json").unwrap();
    let labels = ["no", "yes"].map(String::from).to_vec();
    let config = config.classifier(labels, ProblemType::SingleLabelClassification, Pooling::Cls, true);
    assert_eq!(config.parameter_count(), 335_143_938);
    let takes = |freeze: Freeze, recompute: usize| {
        let optimizer = OptimizerOptions::default();
        let learning = Learning { division: optimizer.division(), freeze, recompute };
        let model = Model::trained(&gpu, config.clone(), learning)?.with_weights_f16()?;
        let options = TrainerOptions { storage: DType::F16, dropout: 0.1, optimizer, seed: 0 };
        let mut trainer = Trainer::new(&gpu, model, Classes, options)?;
        trainer.prepare((8, 256))?;
        let memory = trainer.memory();
        // All of it is there.
        assert_eq!(gpu.allocated(), memory.total - memory.read_back);
        Ok::<_, Error>(memory.total)
    };
    for (freeze, recompute) in [(Freeze::Nothing, 24), (Freeze::Embeddings, 12)] {
        let total = takes(freeze, recompute).unwrap();
        assert!(total < 7_500_000_000, "{freeze}, {recompute} layers: {total}");
    }
}

#[test]
fn an_estimate_adds_up() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let config = place.config(&["batch_sequences=8", "micro_batch=4", "steps=100"]);
    let estimate = pollster::block_on(estimate::estimate(&gpu, &config, 12.5, 0.2)).unwrap();
    assert_eq!((estimate.steps, estimate.sequences, estimate.tokens), (100, 800, 10_000));
    let seconds = 200.0 * estimate.micro_batch_seconds + 100.0 * estimate.optimizer_seconds;
    assert!((estimate.hours * 3600.0 / seconds - 1.0).abs() < 1e-9);
    assert!((estimate.tokens_per_second * seconds / 10_000.0 - 1.0).abs() < 1e-9);
    assert!(estimate.micro_batch_seconds > 0.0 && estimate.optimizer_seconds >= 0.0);
    assert_eq!(estimate.parameters, config.model.parameter_count());
}

#[test]
fn the_notebooks_work_per_token_is_the_published_one() {
    // 19 of the 128 tokens are guessed: 15% of 126, rounded up.
    let config = TrainConfig::preset("notebook").unwrap();
    let expected = 525.5e6 + 19.0 / 128.0 * 151.0e6;
    assert!((config.flops_per_token() / expected - 1.0).abs() < 1e-3);
}

#[test]
fn a_dry_run_tells_and_leaves_nothing() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    let small = ["model.hidden_size=16", "model.intermediate_size=16", "batch_sequences=8", "warmup_steps=2"];
    let dry = |more: &[&str]| {
        let mut command = command(&["pretrain", "--preset", "micro", "--steps", "50", "--dry-run", "--data"]);
        command.arg(place.path("data")).args(more);
        for setting in small {
            command.args(["--set", setting]);
        }
        command.assert().success().get_output().clone()
    };
    let output = dry(&["--json", "--micro-batch", "auto", "--memory", "1GB"]);
    let told = json(&["pretrain"], &output);
    assert_eq!((told["steps"].as_u64(), told["micro_batch"].as_u64()), (Some(50), Some(8)));
    let average = place.dataset.tokens(Split::Train) as f64 / place.dataset.len(Split::Train) as f64;
    assert_eq!(told["tokens"].as_u64(), Some((400.0 * average) as u64));
    assert!(told["hours"].as_f64().unwrap() > 0.0 && told["memory"]["total"].as_u64().unwrap() > 0);
    let text = String::from_utf8(dry(&["--micro-batch", "2"]).stdout).unwrap();
    assert!(text.contains("2 sequences in") && text.contains("MFLOP per token"), "{text}");
    // Neither a folder nor a recipe.
    let left: Vec<_> = std::fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn the_chosen_micro_batch_is_kept_on_resume() {
    let Some(gpu) = common::gpu() else { return };
    let place = Place::new();
    let small = ["model.hidden_size=16", "model.intermediate_size=16", "batch_sequences=8", "warmup_steps=1"];
    let mut settings = Settings::preset("micro").unwrap();
    small.iter().for_each(|change| settings.set(change).unwrap());
    let config = TrainConfig { micro_batch: 4, steps: Some(4), ..settings.for_data(&place.dataset).unwrap() };
    let config = TrainConfig { precision: config.precision.on(gpu.capabilities()), ..config };
    let fits = Trainer::plan(&gpu, config.model.clone(), config.trainer_options()).unwrap().total;
    let run = |more: &[&str]| {
        let mut command =
            command(&["pretrain", "--preset", "micro", "--steps", "4", "--micro-batch", "auto", "--data"]);
        command.arg(place.path("data")).arg("--out").arg(place.path("out")).args(more);
        for setting in small {
            command.args(["--set", setting]);
        }
        command.assert().success();
        let recipe = std::fs::read(place.path("out/train.json")).unwrap();
        serde_json::from_slice::<Value>(&recipe).unwrap()["micro_batch"].as_u64()
    };
    assert_eq!(run(&["--memory", &fits.to_string()]), Some(4));
    // More memory than there was at the start changes nothing.
    assert_eq!(run(&["--resume"]), Some(4));
}
