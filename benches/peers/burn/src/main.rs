//! Training steps of wgrad's benchmark workloads in Burn, on wgpu. Prints one JSON object.
//!
//!     burn-step [--workload tiny|base] [--seconds 10] [--sequences N]
//!
//! The same model, batch and optimizer as in benches/peers/torch_step.py, f32: pre-LN, no biases in linear layers,
//! exact GELU, the head only on the guessed rows, AdamW with the gradient clipped at a norm of 0.5 over all parameters.
//! Burn's defaults are on: fusion, autotune, no checkpointing. Kernels are WGSL; built with the feature `vulkan` Burn
//! compiles them to SPIR-V itself where the driver can take it.
//!
//! `first_step_s` is the first step with making the model, compiling and autotuning. Burn keeps what autotuning found
//! in target/environment, so a later run has less to do, unless CUBECL_AUTOTUNE_CACHE=0. Then come steps until they
//! no longer get faster, at least two, and then those that are timed, at least three, each until the device is done.

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use burn::module::{Initializer, Module, ModuleVisitor, Param, ParamGroup};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::{Device, DeviceKind, Int, Tensor, TensorData};

const TOKENS: usize = 128;
const BUCKETS: i32 = 32;
const NORMAL: Initializer = Initializer::Normal { mean: 0.0, std: 0.02 };

struct Workload {
    layers: usize,
    width: usize,
    heads: usize,
    vocabulary: usize,
    relative: bool,
    sequences: usize,
    targets: usize,
}

#[rustfmt::skip]
const TINY: Workload =
    Workload { layers: 4, width: 256, heads: 4, vocabulary: 8192, relative: false, sequences: 16, targets: 293 };
#[rustfmt::skip]
const BASE: Workload =
    Workload { layers: 12, width: 768, heads: 12, vocabulary: 32768, relative: true, sequences: 32, targets: 608 };

fn linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    LinearConfig::new(inputs, outputs).with_bias(false).with_initializer(NORMAL).init(device)
}

fn norm(width: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width).with_epsilon(1e-6).init(device)
}

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    /// What a query makes of each distance, [32, head]; none with absolute positions.
    distances: Option<Param<Tensor<2>>>,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    heads: usize,
}

impl Block {
    fn new(workload: &Workload, device: &Device) -> Block {
        let (width, heads) = (workload.width, workload.heads);
        let distances = || NORMAL.init([BUCKETS as usize, width / heads], device);
        Block {
            norm1: norm(width, device),
            query: linear(width, width, device),
            key: linear(width, width, device),
            value: linear(width, width, device),
            out: linear(width, width, device),
            distances: workload.relative.then(distances),
            norm2: norm(width, device),
            up: linear(width, 4 * width, device),
            down: linear(4 * width, width, device),
            heads,
        }
    }

    fn attention(&self, x: Tensor<3>, bucket: &Tensor<4, Int>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let head = width / self.heads;
        let split = |x: Tensor<3>| x.reshape([batch, tokens, self.heads, head]).swap_dims(1, 2);
        let (q, k) = (split(self.query.forward(x.clone())), split(self.key.forward(x.clone())));
        let v = split(self.value.forward(x));
        let mut scores = q.clone().matmul(k.swap_dims(2, 3));
        if let Some(distances) = &self.distances {
            let by_bucket = q.matmul(distances.val().transpose().unsqueeze());
            scores = scores + by_bucket.gather(3, bucket.clone().expand([batch, self.heads, tokens, tokens]));
        }
        let y = softmax(scores / (head as f64).sqrt(), 3).matmul(v);
        self.out.forward(y.swap_dims(1, 2).reshape([batch, tokens, width]))
    }

    fn forward(&self, x: Tensor<3>, bucket: &Tensor<4, Int>) -> Tensor<3> {
        let x = x.clone() + self.attention(self.norm1.forward(x), bucket);
        x.clone() + self.down.forward(gelu(self.up.forward(self.norm2.forward(x))))
    }
}

#[derive(Module, Debug)]
struct Bert {
    words: Embedding,
    positions: Option<Param<Tensor<2>>>,
    norm: LayerNorm,
    blocks: Vec<Block>,
    last: LayerNorm,
    head: Linear,
    loss: CrossEntropyLoss,
}

struct Batch {
    ids: Tensor<2, Int>,
    /// [1, 1, T, T] clamp(j - i, -16, 15) mod 32.
    bucket: Tensor<4, Int>,
    rows: Tensor<1, Int>,
    labels: Tensor<1, Int>,
}

impl Bert {
    fn new(workload: &Workload, device: &Device) -> Bert {
        let (width, vocabulary) = (workload.width, workload.vocabulary);
        Bert {
            words: EmbeddingConfig::new(vocabulary, width).with_initializer(NORMAL).init(device),
            positions: (!workload.relative).then(|| NORMAL.init([TOKENS, width], device)),
            norm: norm(width, device),
            blocks: (0..workload.layers).map(|_| Block::new(workload, device)).collect(),
            last: norm(width, device),
            head: linear(width, vocabulary, device),
            loss: CrossEntropyLossConfig::new().init(device),
        }
    }

    fn forward(&self, batch: &Batch) -> Tensor<1> {
        let mut x = self.words.forward(batch.ids.clone());
        if let Some(positions) = &self.positions {
            x = x + positions.val().unsqueeze();
        }
        x = self.norm.forward(x);
        for block in &self.blocks {
            x = block.forward(x, &batch.bucket);
        }
        let guessed = self.last.forward(x).flatten::<2>(0, 1).select(0, batch.rows.clone());
        self.loss.forward(self.head.forward(guessed), batch.labels.clone())
    }
}

impl Batch {
    fn new(workload: &Workload, device: &Device) -> Batch {
        let (sequences, count) = (workload.sequences, workload.targets);
        let total = sequences * TOKENS;
        let token = |row: usize| (row as u64 * 2_654_435_761 % (1 << 32) % workload.vocabulary as u64) as i32;
        let ids: Vec<i32> = (0..total).map(token).collect();
        let rows: Vec<i32> = (0..count).map(|i| (i * total / count) as i32).collect();
        let labels: Vec<i32> = rows.iter().map(|&row| ids[row as usize]).collect();
        let distance =
            |at: i32| (at % TOKENS as i32 - at / TOKENS as i32).clamp(-BUCKETS / 2, BUCKETS / 2 - 1);
        let bucket = (0..(TOKENS * TOKENS) as i32).map(|at| distance(at).rem_euclid(BUCKETS)).collect();
        Batch {
            ids: integers(ids, [sequences, TOKENS], device),
            bucket: integers(bucket, [1, 1, TOKENS, TOKENS], device),
            rows: integers(rows, [count], device),
            labels: integers(labels, [count], device),
        }
    }
}

fn integers<const D: usize>(values: Vec<i32>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Burn clips each parameter by itself; this clips all together: a first visit sums squares, a second one scales.
struct Clip {
    gradients: GradientsParams,
    squares: Vec<Tensor<1>>,
    factor: Option<Tensor<1>>,
}

impl ModuleVisitor for Clip {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else { return };
        match &self.factor {
            None => self.squares.push(gradient.square().sum()),
            Some(factor) => self.gradients.register(param.id, gradient * factor.clone().unsqueeze()),
        }
    }
}

fn clip(model: &Bert, gradients: GradientsParams, most: f64) -> GradientsParams {
    let mut clip = Clip { gradients, squares: Vec::new(), factor: None };
    model.visit(&mut clip);
    let norm = Tensor::cat(std::mem::take(&mut clip.squares), 0).sum().sqrt();
    clip.factor = Some(((norm + 1e-6).recip() * most).clamp_max(1.0));
    model.visit(&mut clip);
    clip.gradients
}

fn measure(name: &str, workload: &Workload, seconds: f64) -> anyhow::Result<serde_json::Value> {
    let device = Device::wgpu(DeviceKind::DefaultDevice).autodiff();
    let adapter = device.identity().context("the device has no name")?.name;
    device.seed(0);

    let began = Instant::now();
    let model = Bert::new(workload, &device);
    let batch = Batch::new(workload, &device);
    let adamw = AdamWConfig::new().with_beta_2(0.98).with_epsilon(1e-12);
    let vectors = ParamGroup::from_any_predicates(vec!["gamma", "beta"]);
    let undecayed = adamw.clone().with_weight_decay(0.0).build();
    let mut optimizer = adamw.with_weight_decay(0.01).init().with_group(vectors, undecayed, None);
    let mut step = |model: Bert| -> anyhow::Result<(Bert, f32, f64)> {
        let clock = Instant::now();
        let loss = model.forward(&batch);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let gradients = clip(&model, gradients, 0.5);
        let model = optimizer.step(1e-4, model, gradients);
        let loss = loss.try_into_scalar()?;
        device.sync()?;
        Ok((model, loss, clock.elapsed().as_secs_f64()))
    };

    let (mut model, first_loss, mut before) = step(model)?;
    let first_step = began.elapsed().as_secs_f64();
    let (mut loss, mut seconds_of);
    for warm in 1.. {
        (model, _, seconds_of) = step(model)?;
        if warm >= 2 && seconds_of > 0.8 * before {
            break;
        }
        before = seconds_of;
    }
    let (mut taken, clock) = (Vec::new(), Instant::now());
    loop {
        (model, loss, seconds_of) = step(model)?;
        taken.push(seconds_of);
        if taken.len() >= 3 && clock.elapsed().as_secs_f64() >= seconds {
            break;
        }
    }
    ensure!(loss < first_loss, "the loss went from {first_loss} to {loss}");
    taken.sort_by(f64::total_cmp);
    let ms = 1e3 * (taken[(taken.len() - 1) / 2] + taken[taken.len() / 2]) / 2.0;
    Ok(serde_json::json!({
        "peer": "burn",
        "burn": version(),
        "compiler": if cfg!(feature = "vulkan") { "SPIR-V" } else { "WGSL" },
        "precision": "f32",
        "device": adapter,
        "workload": name,
        "sequences": workload.sequences,
        "first_loss": first_loss,
        "last_loss": loss,
        "best": {
            "ms": ms,
            "tokens_per_second": 1e3 * (workload.sequences * TOKENS) as f64 / ms,
            "steps": taken.len(),
            "first_step_s": first_step,
        },
    }))
}

/// Of Burn, as locked.
fn version() -> &'static str {
    let locked = include_str!("../Cargo.lock").split("name = \"burn\"\nversion = \"").nth(1);
    locked.and_then(|rest| rest.split('"').next()).unwrap_or("unknown")
}

fn main() -> anyhow::Result<()> {
    let (mut name, mut seconds, mut sequences) = ("tiny".to_string(), 10.0, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        if option == "--help" {
            let help = include_str!("main.rs").lines().map_while(|line| line.strip_prefix("//!"));
            help.for_each(|line| println!("{}", line.strip_prefix(' ').unwrap_or(line)));
            return Ok(());
        }
        let value = arguments.next().with_context(|| format!("{option} needs a value; see --help"))?;
        match option.as_str() {
            "--workload" => name = value,
            "--seconds" => seconds = value.parse()?,
            "--sequences" => sequences = Some(value.parse::<usize>()?),
            _ => bail!("what is {option}? See --help"),
        }
    }
    let mut workload = match name.as_str() {
        "tiny" => TINY,
        "base" => BASE,
        _ => bail!("no workload is called {name}; see --help"),
    };
    if let Some(sequences) = sequences {
        workload.targets = (workload.targets * sequences).div_ceil(workload.sequences);
        workload.sequences = sequences;
    }
    println!("{}", measure(&name, &workload, seconds)?);
    Ok(())
}
