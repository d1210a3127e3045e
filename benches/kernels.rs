//! The kernels of a training step at the sizes of the workload `tiny`: 4 layers, width 256, 4 heads, vocabulary 8192,
//! 16 x 128 tokens of which 293 are guessed.
//!
//!     cargo bench --bench kernels                     on the strongest adapter; WGPU_ADAPTER_NAME names another
//!     cargo bench --bench kernels -- --quick          short
//!     cargo bench --bench kernels -- matmul           some of them
//!
//! A round replays a recording and waits for the device only once, so that what is measured is the kernel.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgrad::autograd::Graph;
use wgrad::gpu::{Buffer, Gpu, GpuOptions, Recording};
use wgrad::models::{Config, Model};
use wgrad::ops::attention::{Heads, attention};
use wgrad::ops::cross_entropy::cross_entropy;
use wgrad::ops::layer_norm::layer_norm;
use wgrad::ops::matmul::Layout;
use wgrad::ops::measure::matmul_recording;
use wgrad::optim::{Optimizer, OptimizerOptions, Proofs, Totals};
use wgrad::tensor::DType;

const SEQUENCES: usize = 16;
const TOKENS: usize = 128;
const ROWS: usize = SEQUENCES * TOKENS;
const TARGETS: usize = 293;
const WIDTH: usize = 256;
const INNER: usize = 1024;
const VOCABULARY: usize = 8192;
const HEADS: usize = 4;

fn gpu() -> Gpu {
    let adapter = std::env::var("WGPU_ADAPTER_NAME").ok();
    pollster::block_on(Gpu::open(&GpuOptions { adapter, ..GpuOptions::default() })).unwrap()
}

/// Waits until all that was submitted before is done.
fn wait(gpu: &Gpu, watched: &Buffer) {
    pollster::block_on(gpu.read::<u32>(watched, 0, 1)).unwrap();
}

/// Measures `submit`, of which each round is `elements` of work.
fn measure(
    criterion: &mut Criterion,
    (group, name): (&str, &str),
    (gpu, watched): (&Gpu, &Buffer),
    elements: usize,
    mut submit: impl FnMut(),
) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let clock = Instant::now();
            (0..rounds).for_each(|_| submit());
            wait(gpu, watched);
            clock.elapsed()
        });
    });
    group.finish();
}

fn replay(
    criterion: &mut Criterion,
    name: (&str, &str),
    (gpu, watched): (&Gpu, &Buffer),
    elements: usize,
    recording: &Recording,
) {
    measure(criterion, name, (gpu, watched), elements, || recording.replay().unwrap());
}

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7919 % 1013) as f32 / 506.5 - 1.0).collect()
}

/// The elements are operations: criterion's elem/s are FLOP/s.
fn matmul(criterion: &mut Criterion) {
    let gpu = gpu();
    // Rows, outputs and inputs: queries, keys and values; their way out; up; down; the head.
    let layers = [
        ("qkv", [ROWS, 3 * WIDTH, WIDTH]),
        ("out", [ROWS, WIDTH, WIDTH]),
        ("up", [ROWS, INNER, WIDTH]),
        ("down", [ROWS, WIDTH, INNER]),
        ("head", [TARGETS, VOCABULARY, WIDTH]),
    ];
    for (layout, group) in [(Layout::Nt, "matmul nt"), (Layout::Nn, "matmul nn"), (Layout::Tn, "matmul tn")] {
        for (layer, [rows, out, inputs]) in layers {
            // As the layer's forward, its input's gradient, its weight's gradient.
            let sizes = match layout {
                Layout::Nt => [rows, out, inputs],
                Layout::Nn => [rows, inputs, out],
                Layout::Tn => [out, inputs, rows],
            };
            let (recording, watched) = matmul_recording(&gpu, layout, DType::F32, sizes).unwrap();
            let flops = 2 * sizes.iter().product::<usize>();
            replay(criterion, (group, layer), (&gpu, &watched), flops, &recording);
        }
    }
}

/// One layer's attention with absolute positions; the elements are tokens.
fn attentions(criterion: &mut Criterion) {
    let gpu = gpu();
    let heads = Heads { sequences: SEQUENCES, tokens: TOKENS, heads: HEADS, padding: 0 };
    let qkv = gpu.upload("queries, keys and values", &values(ROWS * 3 * WIDTH)).unwrap();
    let d_qkv = gpu.buffer("their gradient", qkv.bytes()).unwrap();
    for (name, graph) in [("forward", Graph::inference(&gpu)), ("both", Graph::training(&gpu))] {
        let mut graph = graph;
        let x = graph.parameter(&qkv, &d_qkv, [ROWS, 3 * WIDTH]).unwrap();
        let bounds = graph.constant(&vec![[0, TOKENS as u32]; ROWS], [ROWS, 2], DType::U32).unwrap();
        let y = attention(&mut graph, &x, None, &bounds, heads).unwrap();
        if y.needs_gradient() {
            let d_y = graph.constant(&values(ROWS * WIDTH), [ROWS, WIDTH], DType::F32).unwrap();
            graph.backward(&y, d_y).unwrap();
        }
        let recording = graph.finish(&gpu, "attention").unwrap();
        replay(criterion, ("attention", name), (&gpu, &qkv), ROWS, &recording);
    }
}

/// Forward and backward; the elements are values normalised.
fn layer_norms(criterion: &mut Criterion) {
    let gpu = gpu();
    let parameter = |count: usize| {
        (gpu.upload("values", &values(count)).unwrap(), gpu.buffer("gradient", 4 * count as u64).unwrap())
    };
    let [x, weight, bias] = [ROWS * WIDTH, WIDTH, WIDTH].map(parameter);
    let mut graph = Graph::training(&gpu);
    let tensors = [
        graph.parameter(&x.0, &x.1, [ROWS, WIDTH]).unwrap(),
        graph.parameter(&weight.0, &weight.1, [WIDTH]).unwrap(),
        graph.parameter(&bias.0, &bias.1, [WIDTH]).unwrap(),
    ];
    let y = layer_norm(&mut graph, &tensors[0], &tensors[1], &tensors[2], 1e-6).unwrap();
    let d_y = graph.constant(&values(ROWS * WIDTH), [ROWS, WIDTH], DType::F32).unwrap();
    graph.backward(&y, d_y).unwrap();
    let recording = graph.finish(&gpu, "layer norm").unwrap();
    replay(criterion, ("layer_norm", "both"), (&gpu, &x.0), ROWS * WIDTH, &recording);
}

/// Forward and backward; the elements are logits.
fn cross_entropies(criterion: &mut Criterion) {
    let gpu = gpu();
    let logits = gpu.upload("logits", &values(TARGETS * VOCABULARY)).unwrap();
    let d_logits = gpu.buffer("gradient", logits.bytes()).unwrap();
    let mut graph = Graph::training(&gpu);
    let x = graph.parameter(&logits, &d_logits, [TARGETS, VOCABULARY]).unwrap();
    let labels: Vec<u32> = (0..TARGETS).map(|row| (row * 31 % VOCABULARY) as u32).collect();
    let labels = graph.constant(&labels, [TARGETS], DType::U32).unwrap();
    let weights = graph.constant(&[1.0 / TARGETS as f32; TARGETS], [TARGETS], DType::F32).unwrap();
    let guesses = cross_entropy(&mut graph, &x, &labels, &weights, VOCABULARY).unwrap();
    let d_loss = graph.constant(&[1.0_f32; TARGETS], [TARGETS], DType::F32).unwrap();
    graph.backward(&guesses.loss, d_loss).unwrap();
    let recording = graph.finish(&gpu, "cross entropy").unwrap();
    replay(criterion, ("cross_entropy", "both"), (&gpu, &logits), TARGETS * VOCABULARY, &recording);
}

/// The norm, the finite test and the update of the whole model; the elements are parameters.
fn adamw(criterion: &mut Criterion) {
    let gpu = gpu();
    let model = Model::new(&gpu, Config::preset("tiny").unwrap(), true).unwrap();
    model.initialize(0).unwrap();
    let totals = Totals::new(&gpu).unwrap();
    let mut optimizer = Optimizer::new(&model.parameters, OptimizerOptions::default(), &totals).unwrap();
    let watched = model.parameters.segments()[0].values.clone();
    let count = model.config.parameter_count() as usize;
    measure(criterion, ("adamw", "update"), (&gpu, &watched), count, || {
        optimizer.submit(1e-4, &Proofs::default()).unwrap();
    });
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args()
}

criterion_group! {
    name = kernels;
    config = settings();
    targets = matmul, attentions, layer_norms, cross_entropies, adamw
}
criterion_main!(kernels);
