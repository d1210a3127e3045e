//! What cannot be learnt from changes nothing, and the same work gives the same bits.
//!
//! One adapter is enough: the faults are put in by the tests.

use wgrad::autograd::Graph;
use wgrad::data::Batch;
use wgrad::models::{InputBuffers, Targets};
use wgrad::tensor::DType;
use wgrad::train::{MlmOptions, StepEngine, Trainer};

use crate::common::golden::{CASES, Golden, options, relative, split};
use crate::{KINDS, bits, common, gradients, state, step};

/// `batch` with every token beyond its sequence's length replaced by other words.
fn with_other_padding(batch: &Batch) -> Batch {
    let mut batch = batch.clone();
    let mut changed = 0;
    for (row, bounds) in batch.bounds.iter().enumerate() {
        if *bounds == [0, 0] {
            batch.input_ids[row] = (row * 7 % 60) as u32;
            changed += 1;
        }
    }
    assert!(changed > 10);
    batch
}

/// What stands in padding, and what stood in memory, changes no bit of the loss and of the gradients.
#[test]
fn poisoned_padding_and_memory_change_nothing() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for case in ["relative_untied_mask", "relative_tied_mask", "absolute_untied_mask"] {
            let golden = Golden::open(case);
            let mut trainer = golden.trainer(&gpu);
            let batch = golden.batch();
            let other = with_other_padding(&batch);
            trainer.accumulate(std::slice::from_ref(&batch)).unwrap();
            let expected = gradients(&trainer);
            trainer.accumulate(std::slice::from_ref(&other)).unwrap();
            assert_eq!(bits(&gradients(&trainer)), bits(&expected), "{case}, {kind:?}");
            let losses = [&batch, &other].map(|b| {
                pollster::block_on(trainer.evaluate(std::slice::from_ref(b))).unwrap().loss.to_bits()
            });
            assert_eq!(losses[0], losses[1]);

            // The same step, recorded where its memory can be poisoned.
            let config = &golden.config;
            let model = trainer.shared_model();
            let parameters = &model.parameters;
            let mut graph = Graph::training(&gpu);
            graph.recorder().isolate();
            let slots = InputBuffers::new(&gpu, config, 3, 40).unwrap();
            slots.write(&gpu, config, &batch.input_ids, &batch.bounds).unwrap();
            let inputs = slots.inputs(&mut graph, config).unwrap();
            let count = batch.labels.len();
            let targets = Targets {
                rows: graph.constant(&batch.masked_rows, [count], DType::U32).unwrap(),
                labels: graph.constant(&batch.labels, [count], DType::U32).unwrap(),
                weights: graph.constant(&vec![1.0 / count as f32; count], [count], DType::F32).unwrap(),
            };
            let hidden = model.encode(&mut graph, &inputs).unwrap();
            let guesses = model.masked_loss(&mut graph, &hidden.last, &targets).unwrap();
            let kept = graph.keep(&gpu, "kept", guesses.loss.view()).unwrap();
            let ones = graph.constant(&vec![1f32; count], [count], DType::F32).unwrap();
            graph.backward(&guesses.loss, ones).unwrap();
            let recording = graph.finish(&gpu, "test").unwrap();
            let mut seen = Vec::new();
            for word in [0, 0x7fc0_dead, u32::MAX, 0x7f80_0000, 0xff80_0000, 0x7149_f2ca] {
                for segment in parameters.segments() {
                    gpu.write(segment.gradients.as_ref().unwrap(), 0, &vec![0f32; segment.elements]);
                }
                recording.poison(word);
                recording.replay().unwrap();
                let loss: Vec<u32> = pollster::block_on(gpu.read(&kept, 0, count)).unwrap();
                assert!(loss.iter().all(|&x| f32::from_bits(x).is_finite()), "{word:#x}");
                let found = gradients(&trainer);
                for ((name, found), (_, expected)) in found.iter().zip(&expected) {
                    let error = relative(found, expected);
                    assert!(error < 1e-6, "{case}, {kind:?}, poison {word:#x}: {name} off by {error:e}");
                }
                let found: Vec<_> = bits(&found).into_iter().map(|(_, bits)| bits).collect();
                seen.push((loss, found));
            }
            assert!(seen.iter().all(|x| *x == seen[0]), "{case}, {kind:?}");
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for case in ["relative_untied_mask", "absolute_untied_mask"] {
            let golden = Golden::open(case);
            let batch = golden.batch();
            let mut trainer = golden.trainer(&gpu);
            step(&mut trainer, std::slice::from_ref(&batch)).unwrap();
            for (index, (name, _)) in trainer.model_tensors().into_iter().enumerate() {
                let good = pollster::block_on(trainer.read(&name)).unwrap();
                let mut bad = good.clone();
                bad[0] = [f32::NAN, f32::INFINITY, -f32::INFINITY][index % 3];
                trainer.write(&name, &bad).unwrap();
                let before = if index % 5 == 0 { state(&mut trainer) } else { Vec::new() };
                let report = step(&mut trainer, std::slice::from_ref(&batch)).unwrap();
                assert!(report.skipped, "{case}, {kind:?}: {} in {name} gave {report:?}", bad[0]);
                if index % 5 == 0 {
                    assert!(state(&mut trainer) == before, "{case}, {kind:?}: {name}");
                }
                trainer.write(&name, &good).unwrap();
            }
            // What was skipped left no trace: the next step is the second one.
            let found = step(&mut trainer, std::slice::from_ref(&batch)).unwrap();
            let mut clean = golden.trainer(&gpu);
            step(&mut clean, std::slice::from_ref(&batch)).unwrap();
            assert_eq!(found, step(&mut clean, std::slice::from_ref(&batch)).unwrap());
            assert!(state(&mut trainer) == state(&mut clean), "{case}, {kind:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        for case in CASES {
            let golden = Golden::open(case);
            let batch = golden.batch();
            let train = |seed| {
                let sizes = MlmOptions { seed, ..options(3) };
                let mut trainer = Trainer::pretraining(&gpu, golden.config.clone(), sizes).unwrap();
                let reports: Vec<_> =
                    (0..3).map(|_| step(&mut trainer, std::slice::from_ref(&batch)).unwrap()).collect();
                (reports, state(&mut trainer))
            };
            let first = train(1);
            assert!(first == train(1), "{case}, {kind:?}");
            assert!(first != train(2), "{case}, {kind:?}");
        }
    }
}

/// How sequences are put together into micro-batches, and how many sequences and targets there is room for, changes
/// only the order of sums. What has no room is computed later, in the same memory.
#[test]
fn gradients_do_not_depend_on_micro_batches() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let golden = Golden::open("relative_untied_mask");
        let batch = golden.batch();
        let compute_with = |sequences: usize, targets: usize, batches: &[Batch]| {
            let sizes = MlmOptions { targets, ..options(sequences) };
            let mut trainer = Trainer::pretraining(&gpu, golden.config.clone(), sizes).unwrap();
            golden.fill(&mut trainer);
            let memory = gpu.allocated();
            assert_eq!(trainer.accumulate(batches).unwrap(), batch.labels.len());
            assert_eq!(gpu.allocated(), memory);
            gradients(&trainer)
        };
        let compute = |sequences: usize, batches: &[Batch]| compute_with(sequences, 20, batches);
        let whole = compute(3, std::slice::from_ref(&batch));
        assert!(batch.labels.len() <= 20);
        for (found, what) in [
            (compute(1, &split(&batch)), "one sequence at a time"),
            (compute(5, &split(&batch)), "one sequence at a time, room for five"),
            (compute(7, std::slice::from_ref(&batch)), "room for seven"),
            (compute_with(3, 5, std::slice::from_ref(&batch)), "five targets at a time"),
            (compute_with(3, 1, std::slice::from_ref(&batch)), "one target at a time"),
        ] {
            for ((name, found), (_, expected)) in found.iter().zip(&whole) {
                let error = relative(found, expected);
                assert!(error < 2e-6, "{kind:?}, {what}: {name} off by {error:e}");
            }
        }
    }
}

#[test]
fn a_batch_without_masked_tokens_has_no_loss() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let golden = Golden::open("relative_untied_mask");
        let mut trainer = golden.trainer(&gpu);
        let mut batch = golden.batch();
        batch.masked_rows.clear();
        batch.labels.clear();
        for batches in [vec![], vec![batch.clone()], vec![batch.clone(), batch.clone()]] {
            let report = step(&mut trainer, &batches).unwrap();
            assert_eq!((report.loss, report.accuracy, report.gradient_norm), (0.0, 0.0, 0.0));
            assert!(!report.skipped);
            let found = pollster::block_on(trainer.evaluate(&batches)).unwrap();
            assert_eq!((found.loss, found.accuracy, found.masked), (0.0, 0.0, 0));
        }
        for (name, values) in state(&mut trainer) {
            assert!(values.iter().all(|&x| f32::from_bits(x).is_finite()), "{name}");
        }
        // Next to a batch with targets it adds nothing.
        let mut other = golden.trainer(&gpu);
        other.accumulate(&[golden.batch()]).unwrap();
        let expected = gradients(&other);
        assert_eq!(other.accumulate(&[batch, golden.batch()]).unwrap(), golden.batch().labels.len());
        assert_eq!(bits(&gradients(&other)), bits(&expected));
    }
}

#[test]
fn sequences_of_padding_alone_contribute_zeros() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let golden = Golden::open("relative_untied_mask");
        let pad = golden.config.pad_token_id;
        let mut padding = golden.batch();
        padding.input_ids.fill(pad);
        padding.bounds.fill([0, 0]);
        padding.masked_rows.clear();
        padding.labels.clear();
        let mut trainer = golden.trainer(&gpu);
        trainer.accumulate(std::slice::from_ref(&padding)).unwrap();
        for (name, values) in gradients(&trainer) {
            assert!(values.iter().all(|&x| x == 0.0), "{kind:?}: {name}");
        }
        // Even where padding is to be guessed, everything stays finite.
        padding.masked_rows = vec![3, 50];
        padding.labels = vec![7, 8];
        let report = step(&mut trainer, &[padding.clone()]).unwrap();
        assert!(report.loss.is_finite() && report.loss > 0.0 && !report.skipped, "{report:?}");
        // So it does where padding is attended to.
        padding.bounds.fill([0, 40]);
        let report = step(&mut trainer, &[padding]).unwrap();
        assert!(report.loss.is_finite() && !report.skipped, "{report:?}");
    }
}
