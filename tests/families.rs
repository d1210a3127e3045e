//! Models of all families against PyTorch: hidden states, logits, loss and every gradient.
//! `tests/golden/families.py` makes the files; those of BERT itself are in `hugging_face.rs`.
//!
//! One adapter is enough: `adapter_model.rs` runs the same operations on each.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::path::{Path, PathBuf};

use common::golden::relative;
use common::pytorch::{GRADIENT, Tensors, close, keep, read};
use wgrad::autograd::Graph;
use wgrad::files::ModelFolder;
use wgrad::gpu::{AdapterKind, Buffer, Gpu};
use wgrad::infer::attention::AttentionReader;
use wgrad::models::{InputBuffers, Inputs, Model, Targets};
use wgrad::ops::cross_entropy::cross_entropy;
use wgrad::tensor::{DType, Tensor};

const TOKENS: usize = 20;
/// Sequences of a batch, of which the golden one fills all but the last.
const SLOTS: usize = 4;

/// The folder of each model.
fn folders() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
    let entries = std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

struct Golden {
    folder: ModelFolder,
    file: Tensors,
}

impl Golden {
    fn open(folder: &Path) -> Self {
        let file = Tensors::open(&folder.with_extension("safetensors"));
        Golden { folder: ModelFolder::load(folder).unwrap(), file }
    }

    fn model(&self, gpu: &Gpu, trained: bool) -> Model {
        let model = Model::new(gpu, self.folder.config.clone(), trained).unwrap();
        model.load(|name| self.folder.weights.f32(name)).unwrap();
        model
    }

    /// The golden batch in slots for one sequence more than it has.
    fn inputs(&self, gpu: &Gpu, graph: &mut Graph) -> Inputs {
        let config = &self.folder.config;
        let slots = InputBuffers::new(gpu, config, SLOTS, TOKENS).unwrap();
        let bounds = self.file.bounds(TOKENS);
        let (ids, types) = (self.file.u32("input_ids"), self.file.u32("token_type_ids"));
        slots.write_typed(gpu, config, &ids, &types, &bounds).unwrap();
        slots.inputs(graph, config).unwrap()
    }

    /// The losses of the golden batch, kept, and the gradients of `scale` times their sum.
    fn loss(&self, gpu: &Gpu, g: &mut Graph, model: &Model, scale: f32) -> (Buffer, usize) {
        let config = &self.folder.config;
        let inputs = self.inputs(gpu, g);
        let hidden = model.encode(g, &inputs).unwrap();
        let mut labels = self.file.u32("labels");
        let mut weights = vec![1.0 / labels.len() as f32; labels.len()];
        if !config.is_masked_lm() {
            labels.resize(SLOTS, 0);
            weights.resize(SLOTS, 0.0);
        }
        let count = labels.len();
        let labels = g.constant(&labels, [count], DType::U32).unwrap();
        let weights = g.constant(&weights, [count], DType::F32).unwrap();
        let losses = if config.is_masked_lm() {
            let rows = g.constant(&self.file.u32("masked_rows"), [count], DType::U32).unwrap();
            model.masked_loss(g, &hidden.last, &Targets { rows, labels, weights }).unwrap()
        } else {
            let slots = self.slots(g);
            let logits = model.classify(g, &hidden.last, &slots, None).unwrap();
            cross_entropy(g, &logits, &labels, &weights, config.labels.len()).unwrap()
        };
        let kept = keep(gpu, g, &losses.loss);
        let scales = g.constant(&vec![scale; count], [count], DType::F32).unwrap();
        g.backward(&losses.loss, scales).unwrap();
        kept
    }

    /// What the classifier reads of each text, and of the empty slot.
    fn slots(&self, graph: &mut Graph) -> Tensor {
        let mut lengths: Vec<usize> =
            self.file.u32("lengths").into_iter().map(|length| length as usize).collect();
        lengths.resize(SLOTS, 0);
        let pooling = self.folder.config.classifier_pooling;
        let slots = pooling.slots(&lengths, TOKENS);
        graph.constant(&slots, pooling.slots_shape(lengths.len()).as_slice(), DType::U32).unwrap()
    }
}

/// A bias of keys shifts all logits of a row alike, unless positions turn it: its exact gradient is zero.
fn vanishes(parameter: &str) -> bool {
    ["key.bias", "k_lin.bias", "attn.k.bias"].iter().any(|name| parameter.ends_with(name))
}

fn each(check: impl Fn(&Gpu, &Golden, &str)) {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for folder in folders() {
            check(&gpu, &Golden::open(&folder), folder.file_name().unwrap().to_str().unwrap());
        }
    }
}

#[test]
fn hidden_states_and_logits_equal_pytorch() {
    each(|gpu, golden, name| {
        let config = &golden.folder.config;
        let model = golden.model(gpu, false);
        let mut graph = Graph::inference(gpu);
        let g = &mut graph;
        let inputs = golden.inputs(gpu, g);
        let hidden = model.encode(g, &inputs).unwrap();
        let (logits, columns) = if config.is_masked_lm() {
            let rows = golden.file.u32("masked_rows");
            let rows = g.constant(&rows, [rows.len()], DType::U32).unwrap();
            (model.masked_logits(g, &hidden.last, &rows).unwrap(), config.vocab_size)
        } else {
            let slots = golden.slots(g);
            (model.classify(g, &hidden.last, &slots, None).unwrap(), config.labels.len())
        };
        // The last state is normed where the layers end without a norm.
        let [layers @ .., _] = hidden.layers.as_slice() else { panic!("{name}: no layers") };
        let states: Vec<_> = [&hidden.embeddings].into_iter().chain(layers).chain([&hidden.last]).collect();
        let states: Vec<_> = states.into_iter().map(|state| keep(gpu, g, state)).collect();
        let logits = keep(gpu, g, &logits);
        graph.finish(gpu, "hidden states").unwrap().replay().unwrap();

        let (lengths, width) = (golden.file.u32("lengths"), config.hidden_size);
        for (layer, state) in states.iter().enumerate() {
            let (found, expected) = (read(gpu, state), golden.file.f32(&format!("hidden/{layer}")));
            for (sequence, &length) in lengths.iter().enumerate() {
                // What stands in padding is nobody's business.
                let real = sequence * TOKENS * width..(sequence * TOKENS + length as usize) * width;
                close(&found[real.clone()], &expected[real], &format!("{name}: hidden state {layer}"));
            }
        }
        // Columns beyond these mean nothing.
        let logits = read(gpu, &logits);
        let rows = logits.chunks(columns.next_multiple_of(4));
        let logits: Vec<f32> = rows.flat_map(|row| row[..columns].to_vec()).collect();
        let expected = golden.file.f32("logits");
        close(&logits[..expected.len()], &expected, &format!("{name}: logits"));
    });
}

#[test]
fn losses_and_gradients_equal_pytorch() {
    each(|gpu, golden, name| {
        let model = golden.model(gpu, true);
        let mut graph = Graph::training(gpu);
        let g = &mut graph;
        let loss = golden.loss(gpu, g, &model, 1.0);
        graph.finish(gpu, "gradients").unwrap().replay().unwrap();
        let loss: f32 = read(gpu, &loss).iter().sum();
        close(&[loss], &golden.file.f32("loss"), &format!("{name}: loss"));

        let names = golden.file.names("gradients/");
        assert_eq!(names.len(), model.parameters.shapes().len(), "{name}");
        for parameter in names {
            let found = pollster::block_on(model.parameters.read_gradient(&parameter)).unwrap();
            let exact = golden.file.f32(&format!("gradients/{parameter}"));
            if vanishes(&parameter) {
                assert!(found.iter().all(|g| g.abs() < 1e-5), "{name}: gradient of {parameter}: {found:?}");
                continue;
            }
            let error = relative(&found, &exact);
            assert!(error <= GRADIENT, "{name}: gradient of {parameter} off by {error:e}");
        }
    });
}

/// Rows may hold several texts, one behind the other: each attends to itself alone, and local attention does not reach into
/// its neighbour.
#[test]
fn packed_texts_are_those_of_rows_of_their_own() {
    let Some(gpu) = common::gpu() else { return };
    for folder in folders() {
        let (golden, name) = (Golden::open(&folder), folder.display());
        let config = &golden.folder.config;
        let model = golden.model(&gpu, false);
        let slots = InputBuffers::new(&gpu, config, 2, TOKENS).unwrap();
        let (ids, lengths) = (golden.file.u32("input_ids"), golden.file.u32("lengths"));
        let length = |text: usize| lengths[text] as usize;
        let of = |text: usize| &ids[text * TOKENS..][..length(text)];
        let packed: Vec<u32> = [1, 2].into_iter().flat_map(of).copied().collect();
        let (middle, end) = (lengths[1], lengths[1] + lengths[2]);
        let mut bounds = vec![[0, middle]; length(1)];
        bounds.resize(end as usize, [middle, end]);
        slots.write(&gpu, config, &packed, &bounds).unwrap();
        let mut graph = Graph::inference(&gpu);
        let inputs = slots.inputs(&mut graph, config).unwrap();
        let hidden = model.encode(&mut graph, &inputs).unwrap();
        let last = keep(&gpu, &mut graph, &hidden.last);
        graph.finish(&gpu, "packed").unwrap().replay().unwrap();
        let (found, width) = (read(&gpu, &last), config.hidden_size);
        let expected = golden.file.f32(&format!("hidden/{}", config.num_hidden_layers));
        for (text, from) in [(1, 0), (2, length(1))] {
            let count = length(text) * width;
            let (found, expected) = (&found[from * width..][..count], &expected[text * TOKENS * width..]);
            close(found, &expected[..count], &format!("{name}: text {text}"));
        }
    }
}

/// Activations and weights stored as f16: what is lost is rounding.
#[test]
fn mixed_precision_is_close_to_pytorch() {
    let Some(gpu) = common::gpu().filter(|gpu| gpu.capabilities().f16) else { return };
    for folder in folders() {
        let (golden, name) = (Golden::open(&folder), folder.display());
        let config = golden.folder.config.clone();
        let model = Model::new(&gpu, config, true).unwrap().with_weights_f16().unwrap();
        model.load(|name| golden.folder.weights.f32(name)).unwrap();
        let mut graph = Graph::training(&gpu).with_storage(DType::F16);
        // So that small gradients survive.
        let scale = 1024.0;
        let loss = golden.loss(&gpu, &mut graph, &model, scale);
        graph.finish(&gpu, "mixed").unwrap().replay().unwrap();
        let loss: f32 = read(&gpu, &loss).iter().sum();
        let exact = golden.file.f32("loss")[0];
        assert!((loss - exact).abs() <= 1e-2 * exact.max(1.0), "{name}: loss {loss} {exact}");
        for parameter in golden.file.names("gradients/") {
            if vanishes(&parameter) {
                continue;
            }
            let found = pollster::block_on(model.parameters.read_gradient(&parameter)).unwrap();
            let found: Vec<f32> = found.iter().map(|gradient| gradient / scale).collect();
            let error = relative(&found, &golden.file.f32(&format!("gradients/{parameter}")));
            assert!(error <= 3e-2, "{name}: gradient of {parameter} off by {error:e}");
        }
    }
}

#[test]
fn attention_joins_texts_as_the_tokenizer_does() {
    let Some(gpu) = common::gpu() else { return };
    for (name, expected) in [
        ("bert_relu", vec![(2, 0), (7, 0), (8, 0), (3, 0), (9, 1), (3, 1)]),
        ("roberta", vec![(0, 0), (7, 0), (8, 0), (2, 0), (2, 0), (9, 1), (2, 1)]),
    ] {
        let folder = folders().into_iter().find(|folder| folder.ends_with(name)).unwrap();
        let mut reader = AttentionReader::open(&gpu, &ModelFolder::load(folder).unwrap()).unwrap();
        let attention = pollster::block_on(reader.read("w7 w8", Some("w9"))).unwrap();
        let found: Vec<(u32, usize)> = attention.tokens.iter().map(|token| (token.id, token.part)).collect();
        assert_eq!(found, expected, "{name}");
    }
}
