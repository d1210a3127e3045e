//! A model whose word embeddings are larger than WebGPU's bindings, run on a device that has no larger ones.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::folder::{spelling, tokenizer};
use common::program::command;
use wgrad::Error;
use wgrad::data::task::Encoded;
use wgrad::files::{ModelFolder, SentenceFolder, TensorSource};
use wgrad::gpu::Gpu;
use wgrad::infer::attention::AttentionReader;
use wgrad::infer::{Classifier, EmbedOptions, Embedder, FillMask, Predictor, Readout, Session, cosine};
use wgrad::models::{Config, Model, Pooling, ProblemType, WordTable};
use wgrad::store::Disk;
use wgrad::tensor::DType;

/// That of XLM-R and of the models made from it, whose table of this width has 366 MiB.
const VOCABULARY: usize = 250_037;
const WIDTH: usize = 384;

/// The largest binding of WebGPU's default limits.
const BINDING: u64 = 128 << 20;

/// Tokens that texts are made of: the special ones, some from the middle, the last.
const USED: [u32; 9] = [0, 1, 2, 3, 5, 87_381, 87_382, 174_763, VOCABULARY as u32 - 1];

/// Texts by places in [`USED`].
const TEXTS: [&[usize]; 3] = [&[4, 5, 6, 7, 8], &[8], &[7, 7, 6, 4, 8, 5, 8, 4, 6]];

/// An encoder under the head of a masked language model.
fn guesser(vocab_size: usize) -> Config {
    Config {
        vocab_size,
        hidden_size: WIDTH,
        intermediate_size: 768,
        num_attention_heads: 6,
        num_hidden_layers: 2,
        cls_token_id: 0,
        mask_token_id: 1,
        sep_token_id: 2,
        pad_token_id: 3,
        ..Config::preset("tiny").unwrap()
    }
}

/// The same encoder under a head of two classes.
fn config(vocab_size: usize) -> Config {
    let labels = vec!["no".to_owned(), "yes".to_owned()];
    let problem = ProblemType::SingleLabelClassification;
    guesser(vocab_size).classifier(labels, problem, Pooling::Cls, false)
}

/// A row of the table: as good as random, and quickly made.
fn row(id: u32) -> impl Iterator<Item = f32> {
    (0..WIDTH as u32).map(move |column| {
        let hash = (id * WIDTH as u32 + column).wrapping_mul(0x9e37_79b1);
        ((hash ^ (hash >> 15)).wrapping_mul(0x85eb_ca6b) >> 16) as f32 / 32768.0 - 1.0
    })
}

/// The values of a parameter but for the table; large enough that layers matter.
fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let seed = name.bytes().fold(7u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let centre = if name.contains("LayerNorm.weight") { 1.0 } else { 0.0 };
    let value = |i: u32| {
        let hash = (seed ^ i).wrapping_mul(0x9e37_79b1);
        centre + ((hash ^ (hash >> 13)).wrapping_mul(0x85eb_ca6b) >> 16) as f32 / 327_680.0 - 0.1
    };
    (0..shape.iter().product::<usize>() as u32).map(value).collect()
}

fn save(dir: &Path, config: &Config) {
    let shapes: Vec<_> = config.parameters().into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let known = shapes.clone();
    let tensors = TensorSource::new(shapes, move |name| {
        if name == config.word_embeddings() {
            return Ok((0..config.vocab_size as u32).flat_map(row).collect::<Vec<_>>().into());
        }
        let (_, shape) = known.iter().find(|(known, _)| known == name).unwrap();
        Ok(values(name, shape).into())
    });
    ModelFolder::save(&Disk, dir, config, &tokenizer(config.vocab_size as u32), tensors, "# large\n")
        .unwrap();
}

fn texts() -> Vec<String> {
    let text = |text: &&[usize]| text.iter().map(|&at| spelling(USED[at])).collect::<Vec<_>>().join(" ");
    TEXTS.iter().map(text).collect()
}

/// A model of the few rows that the texts need, its table on the device as in training.
fn filled(gpu: &Gpu, config: Config) -> Model {
    let model = Model::new(gpu, config, false).unwrap();
    let shapes = model.parameters.shapes();
    let read = |name: &str| {
        if name == model.config.word_embeddings() {
            return Ok(USED.into_iter().flat_map(row).collect());
        }
        Ok(values(name, &shapes.iter().find(|(known, _)| known == name).unwrap().1))
    };
    model.load(read).unwrap();
    model
}

/// What [`filled`] makes of the texts.
fn expected(gpu: &Gpu, config: Config, readout: Readout) -> Vec<Vec<f32>> {
    let encoded = |text: &&[usize]| {
        let ids = [&[0], *text, &[2]].concat();
        Encoded { ids: ids.into_iter().map(|at| at as u32).collect(), ..Encoded::default() }
    };
    let texts: Vec<Encoded> = TEXTS.iter().map(encoded).collect();
    let mut session = Session::new(gpu, Arc::new(filled(gpu, config)), DType::F32);
    pollster::block_on(session.compute(readout, &texts, &mut |_| {})).unwrap()
}

#[track_caller]
fn alike<'a>(found: impl Iterator<Item = &'a [f32]>, expected: &[Vec<f32>]) {
    let found: Vec<&[f32]> = found.collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let cosine = cosine(found, expected);
        assert!(cosine >= 0.99999, "{cosine}");
    }
    // Other texts have other vectors: it is not the bias of the model that is compared.
    assert!(cosine(found[0], &expected[1]) < 0.9);
}

#[test]
fn a_large_table_needs_no_memory_of_the_device() {
    let Some(gpu) = common::gpu() else { return };
    assert_eq!(gpu.capabilities().max_binding, BINDING);
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &config(VOCABULARY));
    let vectors = expected(
        &gpu,
        config(USED.len()).encoder(),
        Readout::Vector { pooling: Pooling::Mean.into(), normalize: true },
    );
    for storage in [DType::F32, DType::F16] {
        if storage == DType::F16 && !gpu.capabilities().f16 {
            continue;
        }
        let folder = SentenceFolder::load(dir.path()).unwrap();
        let options = EmbedOptions { storage, ..EmbedOptions::from(&folder) };
        let mut embedder = Embedder::open(&gpu, &folder, options).unwrap();
        drop(folder);
        let found = pollster::block_on(embedder.embed(&texts(), &mut |_| {})).unwrap();
        alike(found.rows(), &vectors);
    }

    let folder = ModelFolder::load(dir.path()).unwrap();
    let mut model = Classifier::open(&gpu, &folder, DType::F32).unwrap();
    let encoded: Vec<Encoded> = texts().iter().map(|text| model.encode(text, None).unwrap()).collect();
    let found = pollster::block_on(model.outputs(&encoded, &mut |_| {})).unwrap();
    let logits = expected(&gpu, config(USED.len()), Readout::Head);
    for (found, expected) in found.iter().flatten().zip(logits.iter().flatten()) {
        assert!((found - expected).abs() <= 1e-4, "{found} instead of {expected}");
    }

    let mut reader = AttentionReader::open(&gpu, &folder).unwrap();
    let read = pollster::block_on(reader.read(&texts()[0], None)).unwrap();
    let sum: f32 = read.probabilities.values.iter().sum();
    assert!((sum - (2 * 6 * 7) as f32).abs() < 1e-2, "{sum}");

    // Not even all together is there as much as a binding.
    assert!(gpu.peak_allocated() < BINDING, "{}", gpu.peak_allocated());

    let alike_in_the_program = embed_by_the_program(dir.path());
    alike(alike_in_the_program.iter().map(Vec::as_slice), &vectors);
}

fn embed_by_the_program(model: &Path) -> Vec<Vec<f32>> {
    let output = command(&["embed", "--model", model.to_str().unwrap()]).args(texts()).output().unwrap();
    let vector = |line: &str| -> Vec<f32> {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        serde_json::from_value(line["embedding"].take()).unwrap()
    };
    String::from_utf8(output.stdout).unwrap().lines().map(vector).collect()
}

/// Where the table is the output layer too, the CPU computes the logits; to be trained it has to be on the device.
#[test]
fn a_large_table_that_guesses_stays_on_the_cpu() {
    let Some(gpu) = common::gpu() else { return };
    let tied = |vocab_size| Config { tie_word_embeddings: true, ..guesser(vocab_size) };
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &tied(VOCABULARY));
    let small = filled(&gpu, tied(USED.len()));
    // `[CLS] 5 [MASK] 7 [SEP]`, by places in `USED` and by tokens.
    let places = [0u32, 5, 1, 7, 2];
    let ids = places.map(|place| USED[place as usize]);
    let expected = pollster::block_on(Predictor::new(&gpu, small).logits(&places, &[2, 3, 2])).unwrap();
    let folder = ModelFolder::load(dir.path()).unwrap();
    let table = folder.weights.rows(&folder.config.word_embeddings()).unwrap();
    let table = WordTable::new(move |ids| table.f32(ids));
    let model = Model::with_words(&gpu, folder.config.clone(), table).unwrap();
    model.load(|name| folder.weights.f32(name)).unwrap();
    assert!(model.decodes_on_cpu());
    let found = pollster::block_on(Predictor::new(&gpu, model).logits(&ids, &[2, 3, 2])).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!((found.len(), expected.len()), (VOCABULARY, USED.len()));
        for (&id, expected) in USED.iter().zip(expected) {
            let found = found[id as usize];
            assert!((found - expected).abs() <= 1e-4 * expected.abs().max(1.0), "{id}: {found}, {expected}");
        }
    }
    let best = (0..).zip(&found[0]).max_by(|a, b| a.1.total_cmp(b.1)).map(|(id, _)| id).unwrap();
    let mut model = FillMask::open(&gpu, &folder).unwrap();
    let text = [spelling(USED[5]), "[MASK]".into(), spelling(USED[7])].join(" ");
    let filled = pollster::block_on(model.fill(&text, 1)).unwrap();
    assert_eq!(filled.masks[0].candidates[0].id, best);
    assert!(gpu.peak_allocated() < BINDING, "{}", gpu.peak_allocated());

    let told = Model::new(&gpu, tied(VOCABULARY), true).err().unwrap();
    assert!(matches!(told, Error::Limit { .. }), "{told}");
    let told = told.to_string();
    assert!(told.contains("word_embeddings.weight") && told.contains(&BINDING.to_string()), "{told}");
}
