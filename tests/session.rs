//! What is computed of a text does not depend on the texts beside it, and recordings are made for few shapes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::path::Path;
use std::sync::Arc;

use wgrad::Error;
use wgrad::data::task::Encoded;
use wgrad::files::SentenceFolder;
use wgrad::gpu::{AdapterKind, Gpu, GpuOptions};
use wgrad::infer::{EmbedOptions, Embedder, Readout, Session};
use wgrad::models::{Config, Model, Pooling, ProblemType};
use wgrad::tensor::DType;

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

fn storages(gpu: &Gpu) -> Vec<DType> {
    if common::has_f16(gpu) { vec![DType::F32, DType::F16] } else { vec![DType::F32] }
}

/// The numbers 0 to `count` in another order.
fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&index| (index as u32).wrapping_mul(0x9e37_79b1));
    assert!(!order.is_sorted());
    order
}

/// Bits, in which NaN equals itself and zeros differ by their signs.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_vector_does_not_depend_on_its_neighbours() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folder = SentenceFolder::load(golden.join("sentence_transformers")).unwrap();
    let file = std::fs::read(golden.join("sentences.json")).unwrap();
    let texts: Vec<String> = serde_json::from_slice(&file).unwrap();
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for storage in storages(&gpu) {
            let open = || {
                let options = EmbedOptions { storage, ..EmbedOptions::from(&folder) };
                Embedder::open(&gpu, &folder, options).unwrap()
            };
            let mut embedder = open();
            let mut embed = |texts: &[&str]| -> Vec<Vec<u32>> {
                let found = pollster::block_on(embedder.embed(texts, &mut |_| {})).unwrap();
                found.rows().map(bits).collect()
            };
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let together = embed(&texts);
            let order = shuffled(texts.len());
            let again = embed(&order.iter().map(|&text| texts[text]).collect::<Vec<_>>());
            for (&text, vector) in order.iter().zip(&again) {
                assert_eq!(*vector, together[text], "{kind:?}, {storage:?}, shuffled: {:?}", texts[text]);
            }
            for text in (0..texts.len()).step_by(7) {
                let alone = embed(&[texts[text]]);
                assert_eq!(alone[0], together[text], "{kind:?}, {storage:?}, alone: {:?}", texts[text]);
            }
            // Nor on what was computed before.
            let found = pollster::block_on(open().embed(&texts[3..6], &mut |_| {})).unwrap();
            assert!(found.rows().map(bits).eq(together[3..6].iter().cloned()), "{kind:?}, {storage:?}");
        }
    }
}

fn config(hidden_size: usize) -> Config {
    let labels = ["a", "b", "c"].map(str::to_owned).to_vec();
    let plain = Config {
        vocab_size: 60,
        hidden_size,
        intermediate_size: 256,
        num_attention_heads: 4,
        num_hidden_layers: 1,
        ..Config::preset("tiny").unwrap()
    };
    plain.classifier(labels, ProblemType::SingleLabelClassification, Pooling::Cls, false)
}

fn session(gpu: &Gpu, hidden_size: usize, storage: DType) -> Session {
    let model = Model::new(gpu, config(hidden_size), false).unwrap();
    let model = if storage == DType::F16 { model.with_weights_f16().unwrap() } else { model };
    model.initialize(1).unwrap();
    Session::new(gpu, Arc::new(model), storage)
}

fn text(length: usize, seed: usize) -> Encoded {
    let ids = (0..length).map(|at| 5 + (at * 7 + seed * 13) as u32 % 50).collect();
    Encoded { ids, ..Encoded::default() }
}

/// Sums over a wide model are so long that GPUs compute parts of some side by side, unless there are many rows: whether
/// must not follow from the number of texts.
#[test]
fn nor_do_the_outputs_of_a_wide_model() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for storage in storages(&gpu) {
            let mut session = session(&gpu, 1024, storage);
            let vector = Readout::Vector { pooling: Pooling::Mean.into(), normalize: true };
            let texts: Vec<Encoded> =
                (0..60).map(|seed| text(if seed == 7 { 4 } else { 12 }, seed)).collect();
            for readout in [Readout::Head, vector] {
                let mut compute = |texts: &[Encoded]| {
                    pollster::block_on(session.compute(readout, texts, &mut |_| {})).unwrap()
                };
                let together = compute(&texts);
                for text in [0, 7, 59] {
                    let alone = compute(&texts[text..=text]);
                    assert_eq!(bits(&alone[0]), bits(&together[text]), "{kind:?}, {storage:?}, {readout:?}");
                }
                assert_ne!(together[0], together[1]);
            }
        }
    }
}

#[test]
fn few_shapes_are_recorded() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        gpu.take_plans();
        let mut session = session(&gpu, 64, DType::F32);
        for count in 1..=32 {
            let texts: Vec<Encoded> = (0..count).map(|seed| text(9 + seed % 4, seed)).collect();
            let found = pollster::block_on(session.compute(Readout::Head, &texts, &mut |_| {})).unwrap();
            assert_eq!(found.len(), count);
        }
        // Of 12 tokens: 1, 2, 4, 8, 16 and 32 texts.
        let recorded = gpu.take_plans().len();
        assert!((1..=6).contains(&recorded), "{kind:?}: {recorded} recordings");
        let texts: Vec<Encoded> = (0..32).map(|seed| text(9, seed)).collect();
        pollster::block_on(session.compute(Readout::Head, &texts, &mut |_| {})).unwrap();
        assert!(gpu.take_plans().is_empty());
    }
}

/// What a device lacks is said where commands are recorded, and what to do about it where it is known that texts are.
#[test]
fn a_session_without_memory_says_what_to_choose() {
    let Some(gpu) = common::gpu() else { return };
    let whole = session(&gpu, 64, DType::F32);
    let memory = Some(gpu.allocated() + 1024);
    drop(whole);
    let gpu = common::open(GpuOptions { memory, ..Default::default() }).unwrap();
    let mut session = session(&gpu, 64, DType::F32);
    let error = pollster::block_on(session.compute(Readout::Head, &[text(40, 1)], &mut |_| {})).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    let told = error.to_string();
    assert!(
        told.contains("are taken") && told.ends_with("; choose a smaller model or shorter texts"),
        "{told}"
    );
}
