//! Guessing masked tokens: against PyTorch's logits, and what happens to texts that do not fit.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use common::folder::{folder, spelling, tokenizer};
use common::golden::{CASES, Golden, close};
use wgrad::Error;
use wgrad::files::ModelFolder;
use wgrad::gpu::{AdapterKind, Gpu};
use wgrad::infer::{FillMask, Predictor};
use wgrad::models::{Config, Model};

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];
/// The largest difference allowed between logits.
const WHOLE_MODEL: f32 = 1e-4;

fn fill_mask(gpu: &Gpu, golden: &Golden) -> FillMask {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), golden);
    FillMask::open(gpu, &ModelFolder::load(dir.path()).unwrap()).unwrap()
}

/// The tokens of a golden sequence without its padding, its masked positions, and the logits there.
fn sequence(golden: &Golden, index: usize) -> (Vec<u32>, Vec<u32>, Vec<Vec<f32>>) {
    let batch = golden.batch();
    let length = [40, 23, 1][index];
    let first = index * batch.seq_len;
    let vocabulary = golden.config.vocab_size;
    let logits = golden.f32("logits");
    let (mut positions, mut expected) = (Vec::new(), Vec::new());
    for (row, logits) in batch.masked_rows.iter().zip(logits.chunks(vocabulary)) {
        if (first..first + length).contains(&(*row as usize)) {
            positions.push(row - first as u32);
            expected.push(logits.to_vec());
        }
    }
    (batch.input_ids[first..first + length].to_vec(), positions, expected)
}

#[test]
fn logits_equal_pytorch() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for case in CASES {
            let golden = Golden::open(case);
            let model = Model::new(&gpu, golden.config.clone(), false).unwrap();
            model.load(|name| Ok(golden.f32(&format!("weights/{name}")))).unwrap();
            let mut predictor = Predictor::new(&gpu, model);
            // Where the file's model attends to padding, only the sequence without any is the same.
            let attends = case == "relative_untied_nomask";
            for index in if attends { 0..1 } else { 0..3 } {
                let (ids, positions, expected) = sequence(&golden, index);
                let found = pollster::block_on(predictor.logits(&ids, &positions)).unwrap();
                assert_eq!(found.len(), positions.len());
                for (found, expected) in found.iter().zip(&expected) {
                    close(found, expected, WHOLE_MODEL, &format!("{case}, sequence {index}, {kind:?}"));
                }
                // Any order, and one position twice.
                let again = [positions[0], *positions.last().unwrap(), positions[0]];
                let found = pollster::block_on(predictor.logits(&ids, &again)).unwrap();
                close(&found[0], &expected[0], WHOLE_MODEL, case);
                close(&found[1], expected.last().unwrap(), WHOLE_MODEL, case);
                assert_eq!(found[0], found[2]);
            }
        }
    }
}

#[test]
fn positions_and_ids_that_do_not_fit_are_errors() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("absolute_untied_mask");
    let mut predictor = Predictor::new(&gpu, Model::new(&gpu, golden.config.clone(), false).unwrap());
    for (ids, positions) in [
        (vec![], vec![0]),
        (vec![5; 49], vec![0]),
        (vec![5; 3], vec![3]),
        (vec![5; 3], vec![]),
        (vec![5, 60], vec![0]),
    ] {
        let found = pollster::block_on(predictor.logits(&ids, &positions));
        assert!(matches!(found, Err(Error::Shape { .. })), "{ids:?} {positions:?}: {found:?}");
    }
    // The table's last row is used, though its 48 rows are all there are.
    assert!(pollster::block_on(predictor.logits(&[5; 48], &[47])).is_ok());
}

#[test]
fn masks_in_text_are_guessed_as_pytorch_guesses() {
    let Some(gpu) = common::gpu() else { return };
    for case in ["relative_untied_mask", "relative_tied_mask", "absolute_untied_mask"] {
        let golden = Golden::open(case);
        let mut model = fill_mask(&gpu, &golden);
        for index in 0..2 {
            let (ids, positions, expected) = sequence(&golden, index);
            let text: Vec<String> = ids[1..ids.len() - 1].iter().map(|&id| spelling(id)).collect();
            let filled = pollster::block_on(model.fill(&text.join(" "), 60)).unwrap();
            assert_eq!((filled.tokens, filled.truncated, filled.truncated_masks), (ids.len(), 0, 0));
            // Every third of the golden positions keeps a word: there is no mask to be seen.
            let masked: Vec<_> =
                positions.iter().zip(&expected).filter(|(at, _)| ids[**at as usize] == 1).collect();
            assert_eq!(filled.masks.len(), masked.len());
            assert!(masked.len() >= 3);
            let mut words = text.clone();
            for (mask, (&position, logits)) in filled.masks.iter().zip(masked) {
                assert_eq!(mask.position, position as usize);
                assert_eq!(mask.candidates.len(), 60);
                let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
                for candidate in &mask.candidates {
                    let expected = f64::from(logits[candidate.id as usize]).exp() / total;
                    let error = (candidate.probability - expected).abs();
                    assert!(error <= 3e-4 * expected, "{case}: {candidate:?} {expected}");
                    assert_eq!(candidate.token, spelling(candidate.id));
                }
                let probabilities: Vec<f64> = mask.candidates.iter().map(|c| c.probability).collect();
                assert!(probabilities.is_sorted_by(|a, b| a >= b), "{probabilities:?}");
                assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                words[position as usize - 1] = mask.candidates[0].token.clone();
            }
            assert_eq!(filled.text, words.join(" "));
        }
    }
}

#[test]
fn long_texts_are_cut_around_their_masks() {
    let Some(gpu) = common::gpu() else { return };
    // 48 tokens of context: 46 words.
    let mut model = fill_mask(&gpu, &Golden::open("absolute_untied_mask"));
    let mut fill = |text: &str, top_k| pollster::block_on(model.fill(text, top_k));
    let words = |count: usize| vec!["w7"; count].join(" ");
    let short = format!("{} [MASK] {}", words(22), words(23));
    let long = format!("{} [MASK] {}", words(1000), words(2000));
    let (short, long) = (fill(&short, 5).unwrap(), fill(&long, 5).unwrap());
    assert_eq!((short.tokens, short.truncated), (48, 0));
    assert_eq!((long.tokens, long.truncated, long.truncated_masks), (48, 3001 - 46, 0));
    assert_eq!(long.masks, short.masks);

    let apart = fill(&format!("[MASK] {} [MASK]", words(100)), 1).unwrap();
    assert_eq!((apart.masks.len(), apart.truncated, apart.truncated_masks), (1, 102 - 46, 1));
    assert_eq!(apart.masks[0].position, 1);
    let full = fill(&"[MASK] ".repeat(46), 1).unwrap();
    assert_eq!((full.masks.len(), full.truncated), (46, 0));
    assert!(full.masks.iter().all(|mask| mask.candidates[0].probability.is_finite()));
    let alone = fill("[MASK]", usize::MAX).unwrap();
    assert_eq!(alone.masks[0].candidates.len(), 60);

    for (text, top_k, says) in [
        ("", 1, "an empty text"),
        (" \n\t", 1, "an empty text"),
        ("w7 w8", 1, "[MASK] where a word is to be guessed"),
        ("[MASK]", 0, "top-k"),
    ] {
        let error = fill(text, top_k).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn tokenizer_and_model_must_agree() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let refused = |vocabulary: u32, change: fn(&mut Config)| {
        let mut config = golden.config.clone();
        change(&mut config);
        let model = Model::new(&gpu, config, false).unwrap();
        let tokenizer = wgrad::text::Tokenizer::from_bytes(tokenizer(vocabulary)).unwrap();
        FillMask::new(&gpu, model, tokenizer).err().unwrap().to_string()
    };
    assert!(refused(61, |_| {}).contains("vocab_size: expected at least 61"));
    let swap = |config: &mut Config| std::mem::swap(&mut config.mask_token_id, &mut config.sep_token_id);
    assert!(refused(60, swap).contains("sep_token_id: expected 2"));
    assert!(refused(60, |config| config.max_position_embeddings = 2).contains("max_position_embeddings"));
}

/// Weights with NaN are refused when read; allowed, they give an error rather than a guess.
#[test]
fn weights_that_are_not_finite_guess_nothing() {
    let Some(gpu) = common::gpu() else { return };
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), &Golden::open("relative_untied_mask"));
    // As a folder that others wrote, which has no list of checksums.
    std::fs::remove_file(dir.path().join("checksums.json")).unwrap();
    let path = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let refused = FillMask::open(&gpu, &ModelFolder::load(dir.path()).unwrap()).err().unwrap().to_string();
    assert!(refused.contains("finite weights"), "{refused}");
    let mut folder = ModelFolder::load(dir.path()).unwrap();
    folder.weights = folder.weights.allow_non_finite(true);
    let mut model = FillMask::open(&gpu, &folder).unwrap();
    let error = pollster::block_on(model.fill("w7 [MASK]", 3)).unwrap_err().to_string();
    assert!(error.contains("finite logits"), "{error}");
}
