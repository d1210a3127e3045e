//! Packed sequences on a device: documents do not see each other, and the losses are those of the padded form.
//!
//! One adapter is enough: the kernels are those of `adapter_ops.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use wgrad::autograd::Graph;
use wgrad::data::{Batch, Batcher, BatcherOptions, Dataset, HeldOut, PrepareOptions, Split, prepare};
use wgrad::gpu::{AdapterKind, Buffer, Gpu};
use wgrad::models::{Config, Freeze, InputBuffers, Model, PositionEmbedding, Targets};
use wgrad::tensor::{DType, Tensor};
use wgrad::text::{Tokenizer, TokenizerOptions};
use wgrad::train::{MlmOptions, StepEngine, Trainer};

use crate::{common, sentence};

/// The label and the loss of each guessed token, by document and place.
type Losses = BTreeMap<(u64, usize), (u32, f32)>;

const TOKENS: usize = 64;

/// The same texts packed and padded.
fn data() -> (tempfile::TempDir, [Arc<Dataset>; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let text: Vec<_> = (0..120).map(sentence).collect();
    std::fs::write(folder.path().join("text.txt"), text.join("\n")).unwrap();
    let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
    let tokenizer = Tokenizer::train((0..200).map(|n| Ok(sentence(n))), &options).unwrap();
    tokenizer.save(folder.path().join("tok")).unwrap();
    let datasets = ["packed", "padded"].map(|name| {
        let options = PrepareOptions {
            inputs: vec![folder.path().join("text.txt")],
            tokenizer: folder.path().join("tok"),
            out: folder.path().join(name),
            seq_len: TOKENS,
            pack: name == "packed",
            held_out: HeldOut::Fraction(0.2),
            ..PrepareOptions::default()
        };
        let summary = prepare(&options, |_| {}).unwrap();
        assert_eq!(summary.dropped_tokens, 0);
        Arc::new(Dataset::open(&[summary.out]).unwrap())
    });
    (folder, datasets)
}

fn config(dataset: &Dataset, positions: PositionEmbedding) -> Config {
    Config {
        vocab_size: dataset.vocab_size(),
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 64,
        max_position_embeddings: TOKENS,
        position_embedding_type: positions,
        ..Config::preset("micro").unwrap()
    }
}

/// All held-out sequences, and for each row its segment's number and the position in it.
fn held_out(dataset: &Arc<Dataset>) -> (Batch, BTreeMap<u32, (u64, usize)>) {
    let batcher = Batcher::new(dataset.clone(), BatcherOptions::default()).unwrap();
    let count = dataset.len(Split::HeldOut);
    let mut places = BTreeMap::new();
    for index in 0..count {
        for part in dataset.segments(Split::HeldOut, index).unwrap() {
            let row = |position: usize| (index as usize * TOKENS + position) as u32;
            let inside = part.start..part.end;
            places.extend(inside.map(|position| (row(position), (part.number, position - part.start))));
        }
    }
    (batcher.held_out(0..count).unwrap(), places)
}

/// The last hidden state of every row, and the loss of every target.
fn forward(gpu: &Gpu, model: &Model, batch: &Batch) -> (Vec<f32>, Vec<f32>) {
    let config = &model.config;
    let slots = InputBuffers::new(gpu, config, batch.sequences, batch.seq_len).unwrap();
    let mut graph = Graph::inference(gpu);
    let g = &mut graph;
    let inputs = slots.inputs(g, config).unwrap();
    slots.write(gpu, config, &batch.input_ids, &batch.bounds).unwrap();
    let count = batch.labels.len();
    let targets = Targets {
        rows: g.constant(&batch.masked_rows, [count], DType::U32).unwrap(),
        labels: g.constant(&batch.labels, [count], DType::U32).unwrap(),
        weights: g.constant(&vec![1.0_f32; count], [count], DType::F32).unwrap(),
    };
    let hidden = model.encode(g, &inputs).unwrap();
    let guesses = model.masked_loss(g, &hidden.last, &targets).unwrap();
    let keep = |g: &mut Graph, tensor: &Tensor| -> (Buffer, usize) {
        let elements = tensor.shape().elements();
        let buffer = g.keep(gpu, "kept", tensor.view()).unwrap();
        (buffer, elements)
    };
    let kept = [keep(g, &hidden.last), keep(g, &guesses.loss)];
    graph.finish(gpu, "forward").unwrap().replay().unwrap();
    let [hidden, losses] =
        kept.map(|(buffer, elements)| pollster::block_on(gpu.read::<f32>(&buffer, 0, elements)).unwrap());
    (hidden, losses)
}

/// A model on each kind of kernels with each kind of positions. Weights are large enough that what is attended to
/// shows in the losses.
fn each(dataset: &Dataset, check: impl Fn(&Gpu, &Model, &str)) {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for positions in [PositionEmbedding::RelativeBucket, PositionEmbedding::Absolute] {
            let config = Config { initializer_range: 0.3, ..config(dataset, positions) };
            let model = Model::new(&gpu, config, true).unwrap();
            model.initialize(3).unwrap();
            check(&gpu, &model, &format!("{kind:?}, {positions:?}"));
        }
    }
}

#[test]
fn the_losses_are_those_of_the_padded_form() {
    let (_folder, [packed, padded]) = data();
    each(&packed, |gpu, model, case| {
        let [packed, padded] = [&packed, &padded].map(|dataset| {
            let (batch, places) = held_out(dataset);
            let (_, losses) = forward(gpu, model, &batch);
            let targets =
                batch.masked_rows.iter().map(|row| places[row]).zip(batch.labels.iter().zip(losses));
            (batch.sequences, targets.map(|(at, (&label, loss))| (at, (label, loss))).collect())
        });
        let (packed_sequences, packed): (usize, Losses) = packed;
        let (padded_sequences, padded): (usize, Losses) = padded;
        assert!(2 * packed_sequences <= padded_sequences, "{packed_sequences} {padded_sequences}");
        assert!(packed.len() > 30 && packed.keys().eq(padded.keys()), "{case}: the same targets");
        for (at, (label, loss)) in &packed {
            let (expected_label, expected) = padded[at];
            assert_eq!(*label, expected_label);
            let bound = 1e-5 * expected.abs().max(1.0);
            assert!((loss - expected).abs() <= bound, "{case}: {at:?} {loss} {expected}");
        }
    });
}

#[test]
fn a_document_does_not_see_its_neighbours() {
    let (_folder, [packed, _]) = data();
    let (batch, places) = held_out(&packed);
    // The segments of the first sequence; the second one is changed.
    let parts = packed.segments(Split::HeldOut, 0).unwrap();
    assert!(parts.len() >= 3);
    let mut changed = batch.clone();
    let others = packed.vocab_size() as u32 - 5;
    for row in parts[1].start + 1..parts[1].end - 1 {
        changed.input_ids[row] = 5 + (changed.input_ids[row] + 17) % others;
    }
    each(&packed, |gpu, model, case| {
        let ((hidden, losses), (other_hidden, other_losses)) =
            (forward(gpu, model, &batch), forward(gpu, model, &changed));
        let width = model.config.hidden_size;
        let mut differ = 0;
        for (&row, &(number, _)) in &places {
            let range = row as usize * width..(row as usize + 1) * width;
            if number == parts[1].number {
                differ += usize::from(hidden[range.clone()] != other_hidden[range]);
            } else {
                assert_eq!(hidden[range.clone()], other_hidden[range], "{case}: row {row}");
            }
        }
        assert_eq!(differ, parts[1].end - parts[1].start, "{case}: all of the changed document");
        let mut apart = 0;
        for ((row, loss), other) in batch.masked_rows.iter().zip(&losses).zip(&other_losses) {
            if places[row].0 == parts[1].number {
                apart += usize::from(loss != other);
            } else {
                assert_eq!(loss, other, "{case}: the loss of row {row}");
            }
        }
        assert!(apart > 0, "{case}");
    });
}

/// A step on the packed form is the step on the padded form: loss, and with it all gradients, positions' too.
#[test]
fn gradients_are_those_of_the_padded_form() {
    let (_folder, datasets) = data();
    let Some(gpu) = common::gpu() else { return };
    for positions in [PositionEmbedding::RelativeBucket, PositionEmbedding::Absolute] {
        let [packed, padded] = datasets.each_ref().map(|dataset| {
            let (batch, _) = held_out(dataset);
            let options = MlmOptions {
                freeze: Freeze::Nothing,
                recompute: 0,
                micro_batch: batch.sequences,
                seq_len: TOKENS,
                targets: batch.labels.len(),
                storage: DType::F32,
                optimizer: Default::default(),
                seed: 3,
            };
            let mut trainer = Trainer::pretraining(&gpu, config(dataset, positions), options).unwrap();
            trainer.accumulate(&[batch]).unwrap();
            let names = trainer.model_tensors().into_iter().map(|(name, _)| name);
            let gradient = |name: String| {
                let parameters = &trainer.model().parameters;
                let values = pollster::block_on(parameters.read_gradient(&name)).unwrap();
                (name, values)
            };
            names.map(gradient).collect::<BTreeMap<_, _>>()
        });
        for (name, expected) in &padded {
            let error = common::golden::relative(&packed[name], expected);
            assert!(error <= 1e-4, "{positions:?}: gradient of {name} off by {error:e}");
        }
    }
}
