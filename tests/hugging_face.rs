//! A Hugging Face BERT against PyTorch: hidden states, pooler, logits, loss and every named gradient.
//! `tests/golden/hugging_face.py` makes the files.
//!
//! One adapter is enough: `adapter_model.rs` runs the same operations on each.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use common::golden::relative;
use common::hugging_face::golden_folder;
use common::pytorch::{GRADIENT, Tensors, close, keep, read};
use wgrad::autograd::Graph;
use wgrad::files::ModelFolder;
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::infer::{FillMask, Predictor};
use wgrad::models::{Config, InputBuffers, Inputs, Model, Pooling, Targets, WordTable};
use wgrad::ops::normalize::normalize;
use wgrad::tensor::DType;

const TOKENS: usize = 40;

fn golden() -> Tensors {
    Tensors::open(&golden_folder().with_extension("safetensors"))
}

fn model(gpu: &Gpu, trained: bool) -> Model {
    let folder = ModelFolder::load(golden_folder()).unwrap();
    let model = Model::new(gpu, folder.config, trained).unwrap();
    model.load(|name| folder.weights.f32(name)).unwrap();
    model
}

/// The golden batch in slots for one sequence more than it has, so that filling up is tried too.
fn inputs(gpu: &Gpu, graph: &mut Graph, config: &Config, golden: &Tensors) -> Inputs {
    let slots = InputBuffers::new(gpu, config, 4, TOKENS).unwrap();
    let bounds = golden.bounds(TOKENS);
    let (ids, types) = (golden.u32("input_ids"), golden.u32("token_type_ids"));
    slots.write_typed(gpu, config, &ids, &types, &bounds).unwrap();
    slots.inputs(graph, config).unwrap()
}

fn each(check: impl Fn(&Gpu)) {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        check(&gpu);
    }
}

#[test]
fn hidden_states_pooler_and_logits_equal_pytorch() {
    each(|gpu| {
        let golden = golden();
        let model = &model(gpu, false);
        let mut graph = Graph::inference(gpu);
        let g = &mut graph;
        let inputs = inputs(gpu, g, &model.config, &golden);
        let hidden = model.encode(g, &inputs).unwrap();
        let firsts = g.constant(&[0u32, 40, 80], [3], DType::U32).unwrap();
        let rows = golden.u32("masked_rows");
        let rows = g.constant(&rows, [rows.len()], DType::U32).unwrap();
        let pooled = model.pooled(g, &hidden.last, &firsts).unwrap();
        let logits = model.masked_logits(g, &hidden.last, &rows).unwrap();
        let states: Vec<_> = [&hidden.embeddings].into_iter().chain(&hidden.layers).collect();
        let states: Vec<_> = states.into_iter().map(|state| keep(gpu, g, state)).collect();
        let (pooled, logits) = (keep(gpu, g, &pooled), keep(gpu, g, &logits));
        graph.finish(gpu, "hidden states").unwrap().replay().unwrap();

        let lengths = golden.u32("lengths");
        for (layer, state) in states.iter().enumerate() {
            let (found, expected) = (read(gpu, state), golden.f32(&format!("hidden/{layer}")));
            for (sequence, &length) in lengths.iter().enumerate() {
                // What stands in padding is nobody's business.
                let real = sequence * TOKENS * 40..(sequence * TOKENS + length as usize) * 40;
                close(&found[real.clone()], &expected[real], &format!("hidden state {layer}"));
            }
        }
        close(&read(gpu, &pooled), &golden.f32("pooled"), "pooler");
        // 61 columns, and three more that mean nothing.
        let logits: Vec<f32> = read(gpu, &logits).chunks(64).flat_map(|row| row[..61].to_vec()).collect();
        close(&logits, &golden.f32("logits"), "logits");
    });
}

#[test]
fn fault_26_a_sequence_that_is_all_padding_gives_zeros() {
    each(|gpu| {
        let golden = golden();
        let model = &model(gpu, false);
        let mut graph = Graph::inference(gpu);
        let g = &mut graph;
        // Three golden sequences, and one of padding.
        let inputs = inputs(gpu, g, &model.config, &golden);
        let hidden = model.encode(g, &inputs).unwrap();
        let mut lengths: Vec<usize> =
            golden.u32("lengths").into_iter().map(|length| length as usize).collect();
        lengths.push(0);
        let slots = g.constant(&Pooling::Mean.slots(&lengths, TOKENS), [4, 2], DType::U32).unwrap();
        let vectors = Pooling::Mean.record(g, &hidden.last, &slots).unwrap();
        let unit = normalize(g, &vectors).unwrap();
        let (last, unit) = (keep(gpu, g, &hidden.last), keep(gpu, g, &unit));
        graph.finish(gpu, "padding").unwrap().replay().unwrap();
        assert!(read(gpu, &last).iter().all(|value| value.is_finite()));
        let rows: Vec<f64> =
            read(gpu, &unit).chunks(40).map(|row| row.iter().map(|&x| f64::from(x).powi(2)).sum()).collect();
        assert!(rows[..3].iter().all(|norm| (norm - 1.0).abs() < 1e-5) && rows[3] == 0.0, "{rows:?}");
    });
}

#[test]
fn a_tied_table_on_the_cpu_decodes_as_on_the_device() {
    each(|gpu| {
        let folder = ModelFolder::load(golden_folder()).unwrap();
        let rows = folder.weights.rows(&folder.config.word_embeddings()).unwrap();
        let table = WordTable::new(move |ids| rows.f32(ids));
        let on_cpu = Model::with_words(gpu, folder.config.clone(), table).unwrap();
        on_cpu.load(|name| folder.weights.f32(name)).unwrap();
        assert!(on_cpu.decodes_on_cpu() && !model(gpu, false).decodes_on_cpu());
        let [found, expected] = [on_cpu, model(gpu, false)].map(|model| {
            let mut predictor = Predictor::new(gpu, model);
            pollster::block_on(predictor.logits(&[2, 9, 4, 30, 4, 3], &[4, 2, 4])).unwrap().concat()
        });
        close(&found, &expected, "logits");
    });
}

#[test]
fn loss_and_gradients_equal_pytorch() {
    each(|gpu| {
        let golden = golden();
        let model = &model(gpu, true);
        let mut graph = Graph::training(gpu);
        let g = &mut graph;
        let inputs = inputs(gpu, g, &model.config, &golden);
        let count = golden.u32("masked_rows").len();
        let targets = Targets {
            rows: g.constant(&golden.u32("masked_rows"), [count], DType::U32).unwrap(),
            labels: g.constant(&golden.u32("labels"), [count], DType::U32).unwrap(),
            weights: g.constant(&vec![1.0 / count as f32; count], [count], DType::F32).unwrap(),
        };
        let hidden = model.encode(g, &inputs).unwrap();
        let guesses = model.masked_loss(g, &hidden.last, &targets).unwrap();
        let losses = keep(gpu, g, &guesses.loss);
        let ones = g.constant(&vec![1f32; count], [count], DType::F32).unwrap();
        g.backward(&guesses.loss, ones).unwrap();
        graph.finish(gpu, "gradients").unwrap().replay().unwrap();
        let loss: f32 = read(gpu, &losses).iter().sum();
        close(&[loss], &golden.f32("loss"), "loss");
        same_gradients(&golden, "gradients/", &model.parameters, 40);
    });
}

#[test]
fn gradients_through_the_pooler_equal_pytorch() {
    each(|gpu| {
        let golden = golden();
        let model = &model(gpu, true);
        let mut graph = Graph::training(gpu);
        let g = &mut graph;
        let inputs = inputs(gpu, g, &model.config, &golden);
        let hidden = model.encode(g, &inputs).unwrap();
        let firsts = g.constant(&[0u32, 40, 80], [3], DType::U32).unwrap();
        let pooled = model.pooled(g, &hidden.last, &firsts).unwrap();
        let upstream = g.constant(&golden.f32("upstream"), [3, 40], DType::F32).unwrap();
        g.backward(&pooled, upstream).unwrap();
        graph.finish(gpu, "gradients").unwrap().replay().unwrap();
        same_gradients(&golden, "pooled_gradients/", &model.parameters, 37);
    });
}

/// Compares all gradients of the golden file, of which there are at least `expected`.
fn same_gradients(golden: &Tensors, prefix: &str, parameters: &wgrad::nn::Parameters, expected: usize) {
    let names = golden.names(prefix);
    assert!(names.len() >= expected, "{} gradients", names.len());
    for name in names {
        let found = pollster::block_on(parameters.read_gradient(&name)).unwrap();
        let exact = golden.f32(&format!("{prefix}{name}"));
        // A bias of keys shifts all logits of a row alike: its exact gradient is zero.
        if name.ends_with("key.bias") {
            assert!(found.iter().all(|g| g.abs() < 1e-5), "gradient of {name}: {found:?}");
            continue;
        }
        let error = relative(&found, &exact);
        assert!(error <= GRADIENT, "gradient of {name} off by {error:e}");
    }
}

#[test]
fn masks_in_text_are_guessed() {
    let Some(gpu) = common::gpu() else { return };
    let golden = golden();
    let mut model = FillMask::open(&gpu, &ModelFolder::load(golden_folder()).unwrap()).unwrap();
    // The second golden sequence: 21 words, all of type 0.
    let ids = &golden.u32("input_ids")[TOKENS..TOKENS + 23];
    let spelled = |id: u32| if id == 4 { "[MASK]".into() } else { format!("w{id}") };
    let text: Vec<String> = ids[1..22].iter().map(|&id| spelled(id)).collect();
    let filled = pollster::block_on(model.fill(&text.join(" "), 61)).unwrap();
    let logits = golden.f32("logits");
    let targets: Vec<_> = golden.u32("masked_rows").into_iter().zip(logits.chunks(61)).collect();
    let mut compared = 0;
    for mask in &filled.masks {
        let row = (TOKENS + mask.position) as u32;
        let (_, logits) = targets.iter().find(|(at, _)| *at == row).unwrap();
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        for candidate in &mask.candidates {
            let expected = f64::from(logits[candidate.id as usize]).exp() / total;
            assert!((candidate.probability - expected).abs() <= 5e-4 * expected, "{candidate:?} {expected}");
            compared += 1;
        }
    }
    assert_eq!(compared, 4 * 61);
}
