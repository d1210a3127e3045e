//! Trains a tiny BERT on the sentences below, all through the library, then lets it fill in a masked word.
//!
//!     cargo run --example train_tiny
#![allow(clippy::print_stdout)]

use wgrad::autograd::Graph;
use wgrad::data::masking::mask;
use wgrad::data::{Batch, Masked, MaskingOptions};
use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::models::{Config, Freeze, Inputs, Model};
use wgrad::nn::Ids;
use wgrad::ops::embedding::index;
use wgrad::optim::OptimizerOptions;
use wgrad::tensor::DType;
use wgrad::text::{Tokenizer, TokenizerOptions};
use wgrad::train::{MaskedTokens, MlmOptions, StepEngine, Trainer};

// The verb follows from the first noun, past the second: only context tells.
const SENTENCES: [&str; 16] = [
    "the cat near the trees sleeps all day.",
    "the cats near the tree sleep all day.",
    "the dog behind the houses barks at night.",
    "the dogs behind the house bark at night.",
    "the bird above the fields sings in the morning.",
    "the birds above the field sing in the morning.",
    "the horse beside the rivers runs very fast.",
    "the horses beside the river run very fast.",
    "the cat behind the houses sleeps all day.",
    "the cats behind the house sleep all day.",
    "the dog near the trees barks at night.",
    "the dogs near the tree bark at night.",
    "the bird beside the rivers sings in the morning.",
    "the birds beside the river sing in the morning.",
    "the horse above the fields runs very fast.",
    "the horses above the field run very fast.",
];
const TOKENS: usize = 16;
const STEPS: u64 = 300;

fn main() -> wgrad::Result<()> {
    pollster::block_on(run())
}

async fn run() -> wgrad::Result<()> {
    let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
    let tokenizer = Tokenizer::train(SENTENCES.map(|sentence| Ok(sentence.to_owned())), &options)?;
    let specials = tokenizer.specials();
    let texts = SENTENCES.map(|sentence| tokenizer.encode_with_specials(sentence));
    let texts = texts.into_iter().collect::<wgrad::Result<Vec<_>>>()?;

    let config = Config {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 64,
        intermediate_size: 256,
        max_position_embeddings: TOKENS,
        pad_token_id: specials.pad,
        cls_token_id: specials.cls,
        sep_token_id: specials.sep,
        mask_token_id: specials.mask,
        ..Config::preset("micro")?
    };
    let gpu = Gpu::open(&GpuOptions::default()).await?;
    let options = MlmOptions {
        freeze: Freeze::Nothing,
        recompute: 0,
        micro_batch: texts.len(),
        seq_len: TOKENS,
        targets: texts.len() * 4,
        storage: DType::F32,
        optimizer: OptimizerOptions::default(),
        seed: 0,
    };
    let mut trainer = Trainer::pretraining(&gpu, config, options)?;
    println!("{} tokens, {} on {}", tokenizer.vocab_size(), parameters(&trainer), trainer.device());

    let masking = MaskingOptions { rate: 0.25, ..MaskingOptions::default() };
    for step in 0..STEPS {
        // Every step is an epoch: all sentences, masked anew.
        let masked: Vec<Masked> = (0..)
            .zip(&texts)
            .map(|(number, text)| mask(text, 0, step, number, &masking, tokenizer.table()))
            .collect();
        let batch = Batch::new(&masked, TOKENS, specials.pad, true);
        let learning_rate = 3e-3 * (1.0 - step as f64 / STEPS as f64);
        let report = trainer.step(&[batch], learning_rate).await?;
        if step % 50 == 0 || step + 1 == STEPS {
            println!("step {:>3}: loss {:.3}, {:.0}% right", step + 1, report.loss, 100.0 * report.accuracy);
        }
    }
    for text in ["the dogs near the tree [MASK] at night.", "the [MASK] near the trees barks at night."] {
        println!("{text}  ->  {}", guess(trainer.model(), &tokenizer, text).await?);
    }
    Ok(())
}

fn parameters(trainer: &Trainer<MaskedTokens>) -> String {
    format!("{} parameters", trainer.model().config.parameter_count())
}

/// The likeliest token for the first mask in `text`: an inference recording of one sequence, replayed once.
async fn guess(model: &Model, tokenizer: &Tokenizer, text: &str) -> wgrad::Result<String> {
    let ids = tokenizer.encode_with_specials(text)?;
    let masked = ids.iter().position(|&id| id == tokenizer.specials().mask).unwrap_or(0);
    let tokens = ids.len();
    let gpu = model.parameters.gpu();
    let mut graph = Graph::inference(gpu);
    let index = index(&ids);
    let inputs = Inputs {
        sequences: 1,
        tokens,
        words: Ids {
            ids: graph.constant(&ids, [tokens], DType::U32)?,
            index: graph.constant(&index, [index.len()], DType::U32)?,
        }
        .into(),
        positions: None,
        types: None,
        bounds: graph.constant(&vec![[0, tokens as u32]; tokens], [tokens, 2], DType::U32)?,
        rotary: None,
    };
    let rows = graph.constant(&[masked as u32], [1], DType::U32)?;
    let hidden = model.encode(&mut graph, &inputs)?;
    let logits = model.masked_logits(&mut graph, &hidden.last, &rows)?;

    // Transient memory is reused after its last reader; what is to be read back is copied out.
    let kept = graph.keep(gpu, "logits", logits.view())?;
    graph.finish(gpu, "guess")?.replay()?;
    let logits: Vec<f32> = gpu.read(&kept, 0, model.config.vocab_size).await?;
    let best = (0..).zip(&logits).max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(id, _)| id);
    Ok(tokenizer.token(best).unwrap_or_default())
}
