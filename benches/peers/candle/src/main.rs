//! Embeds the lines of standard input with candle on the CPU, and prints the seconds it took, loading left out.
//! Batches of 32 texts sorted by length, mean pooling, vectors of length one: what `sentence-transformers` does too.
//!
//!   candle-embed MODEL_DIR < texts.txt

use std::io::BufRead;
use std::time::Instant;

use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::Tokenizer;

const BATCH: usize = 32;
const MAX_TOKENS: usize = 256;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("no model folder was given"))?;
    let device = Device::Cpu;
    let config: Config = serde_json::from_slice(&std::fs::read(format!("{folder}/config.json"))?)?;
    let weights = std::fs::read(format!("{folder}/model.safetensors"))?;
    let vars = VarBuilder::from_buffered_safetensors(weights, DType::F32, &device)?;
    let model = BertModel::load(vars, &config)?;
    let tokenizer = Tokenizer::from_file(format!("{folder}/tokenizer.json")).map_err(anyhow::Error::msg)?;
    let texts: Vec<String> = std::io::stdin().lock().lines().collect::<Result<_, _>>()?;

    let began = Instant::now();
    let mut ids = Vec::new();
    for text in &texts {
        let encoding = tokenizer.encode(text.as_str(), true).map_err(anyhow::Error::msg)?;
        let real = encoding.get_attention_mask().iter().filter(|&&mask| mask == 1).count();
        ids.push(encoding.get_ids()[..real.min(MAX_TOKENS)].to_vec());
    }
    ids.sort_by_key(Vec::len);
    let mut sum = 0.0;
    for batch in ids.chunks(BATCH) {
        let tokens = batch.iter().map(Vec::len).max().unwrap_or(0);
        let padded = |value: fn(Option<&u32>) -> u32| {
            let values = batch.iter().flat_map(|ids| (0..tokens).map(move |at| value(ids.get(at)))).collect();
            Tensor::from_vec::<_, u32>(values, (batch.len(), tokens), &device)
        };
        let input = padded(|id| id.copied().unwrap_or(0))?;
        let mask = padded(|id| id.is_some().into())?;
        let hidden = model.forward(&input, &input.zeros_like()?, Some(&mask))?;
        let weights = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let mean = hidden.broadcast_mul(&weights)?.sum(1)?.broadcast_div(&weights.sum(1)?)?;
        let vectors = mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)?;
        sum += vectors.i((0, 0))?.to_scalar::<f32>()?;
    }
    anyhow::ensure!(sum.is_finite(), "the vectors are not finite");
    println!("{}", began.elapsed().as_secs_f64());
    Ok(())
}
