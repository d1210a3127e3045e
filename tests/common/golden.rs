//! Whole models from PyTorch.

use safetensors::SafeTensors;
use wgrad::data::Batch;
use wgrad::gpu::Gpu;
use wgrad::models::{Config, Freeze, HeadInit, PositionEmbedding};
use wgrad::optim::OptimizerOptions;
use wgrad::tensor::DType;
use wgrad::train::{MaskedTokens, MlmOptions, StepEngine, Trainer};

/// The files.
pub const CASES: [&str; 4] =
    ["relative_untied_mask", "relative_untied_nomask", "relative_tied_mask", "absolute_untied_mask"];

/// A file that `tests/golden/model.py` made.
pub struct Golden {
    pub bytes: Vec<u8>,
    pub config: Config,
}

impl Golden {
    pub fn open(case: &str) -> Self {
        let path = format!("{}/tests/golden/{case}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let text = &metadata.metadata().as_ref().unwrap()["config"];
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let size = |key: &str| json[key].as_u64().unwrap() as usize;
        let mut config = Config::preset("micro").unwrap();
        config.vocab_size = size("vocab_size");
        config.hidden_size = size("hidden_size");
        config.num_hidden_layers = size("num_hidden_layers");
        config.num_attention_heads = size("num_attention_heads");
        config.intermediate_size = size("intermediate_size");
        config.max_position_embeddings = size("max_position_embeddings");
        config.layer_norm_eps = json["layer_norm_eps"].as_f64().unwrap();
        config.tie_word_embeddings = json["tie_word_embeddings"].as_bool().unwrap();
        config.head_init = HeadInit::Normal;
        let specials = [
            &mut config.cls_token_id,
            &mut config.mask_token_id,
            &mut config.sep_token_id,
            &mut config.pad_token_id,
        ];
        (0..).zip(specials).for_each(|(id, special)| *special = id);
        if json["position_embedding_type"] == "absolute" {
            config.position_embedding_type = PositionEmbedding::Absolute;
        }
        Golden { bytes, config }
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        bytemuck::pod_collect_to_vec(data.data())
    }

    pub fn u32(&self, name: &str) -> Vec<u32> {
        self.f32(name).into_iter().map(f32::to_bits).collect()
    }

    pub fn batch(&self) -> Batch {
        let (sequences, seq_len) = (3, 40);
        let bounds = self.u32("bounds").chunks(2).map(|pair| [pair[0], pair[1]]).collect();
        Batch {
            sequences,
            seq_len,
            input_ids: self.u32("input_ids"),
            bounds,
            masked_rows: self.u32("masked_rows"),
            labels: self.u32("labels"),
            tokens: sequences * seq_len,
            truncated: 0,
        }
    }

    /// A trainer with the file's weights and room for one sequence more than the batch has, so that filling up
    /// is tried too.
    pub fn trainer(&self, gpu: &Gpu) -> Trainer<MaskedTokens> {
        self.trainer_for(gpu, 4)
    }

    /// A trainer with the file's weights and micro-batches of `sequences`.
    pub fn trainer_for(&self, gpu: &Gpu, sequences: usize) -> Trainer<MaskedTokens> {
        let mut trainer = Trainer::pretraining(gpu, self.config.clone(), options(sequences)).unwrap();
        self.fill(&mut trainer);
        trainer
    }

    /// Gives `trainer` the file's weights.
    pub fn fill(&self, trainer: &mut Trainer<MaskedTokens>) {
        for (name, _) in trainer.model_tensors() {
            trainer.write(&name, &self.f32(&format!("weights/{name}"))).unwrap();
        }
    }
}

/// Options that fit the golden batch.
pub fn options(micro_batch: usize) -> MlmOptions {
    MlmOptions {
        freeze: Freeze::Nothing,
        recompute: 0,
        micro_batch,
        seq_len: 40,
        targets: 20,
        storage: DType::F32,
        optimizer: OptimizerOptions::default(),
        seed: 1,
    }
}

/// Compares element by element; none may differ by more than `bound`.
pub fn close(found: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= bound, "{what}, {at}: {a} instead of {b}");
    }
}

/// The relative L2 distance.
pub fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = || found.iter().zip(expected).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let error: f64 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
    let norm: f64 = pairs().map(|(_, b)| b * b).sum();
    (error / norm.max(1e-20)).sqrt()
}

/// The sequences of `batch`, one per micro-batch.
pub fn split(batch: &Batch) -> Vec<Batch> {
    let tokens = batch.seq_len;
    (0..batch.sequences)
        .map(|sequence| {
            let rows = sequence * tokens..(sequence + 1) * tokens;
            let targets = || {
                let pairs = batch.masked_rows.iter().zip(&batch.labels);
                pairs.filter(|(row, _)| rows.contains(&(**row as usize)))
            };
            Batch {
                sequences: 1,
                seq_len: tokens,
                input_ids: batch.input_ids[rows.clone()].to_vec(),
                bounds: batch.bounds[rows.clone()].to_vec(),
                masked_rows: targets().map(|(row, _)| row - rows.start as u32).collect(),
                labels: targets().map(|(_, label)| *label).collect(),
                tokens,
                truncated: 0,
            }
        })
        .collect()
}
