//! Sizes of zero, odd ones, and those that do not fit.
//!
//! One adapter is enough: the faults are put in by the tests.

use wgrad::Error;
use wgrad::autograd::Graph;
use wgrad::data::Batch;
use wgrad::ops::add::add;
use wgrad::ops::gelu::gelu;
use wgrad::ops::matmul::linear;
use wgrad::tensor::DType;
use wgrad::train::{MlmOptions, Trainer};

use crate::common::golden::{Golden, options};
use crate::{KINDS, common, state, step};

#[test]
fn sizes_of_zero_and_of_many_workgroups() {
    let Some(gpu) = common::gpu() else { return };
    for elements in [0usize, 1, 3, 65535 * 64, 65535 * 64 + 1, 5_000_001] {
        let values: Vec<f32> = (0..elements).map(|i| (i % 1001) as f32).collect();
        let (x, d_x) = (gpu.upload("x", &values).unwrap(), gpu.upload("d_x", &values).unwrap());
        let mut graph = Graph::training(&gpu);
        let x = graph.parameter(&x, &d_x, [elements]).unwrap();
        let twice = add(&mut graph, &x, &x).unwrap();
        let y = add(&mut graph, &twice, &x).unwrap();
        let kept = graph.keep(&gpu, "kept", y.view()).unwrap();
        let d_y = graph.constant(&values, [elements], DType::F32).unwrap();
        graph.backward(&y, d_y).unwrap();
        graph.finish(&gpu, "add").unwrap().replay().unwrap();
        let read = |buffer| pollster::block_on(gpu.read::<f32>(buffer, 0, elements)).unwrap();
        assert!(read(&kept).iter().zip(&values).all(|(y, x)| *y == 3.0 * x), "{elements}");
        assert!(read(&d_x).iter().zip(&values).all(|(d, x)| *d == 4.0 * x), "{elements}");
    }
    for kind in KINDS {
        let gpu = common::gpu_as(kind).unwrap();
        let mut graph = Graph::training(&gpu);
        let (w, d_w) = (gpu.upload("w", &[1f32; 12]).unwrap(), gpu.upload("d_w", &[1f32; 12]).unwrap());
        let w = graph.parameter(&w, &d_w, [3, 4]).unwrap();
        let x = graph.constant::<f32>(&[], [0, 4], DType::F32).unwrap();
        let y = linear(&mut graph, &x, &w).unwrap();
        let y = gelu(&mut graph, &y).unwrap();
        assert_eq!(y.shape().dims(), [0, 4]);
        let d_y = graph.constant::<f32>(&[], [0, 4], DType::F32).unwrap();
        graph.backward(&y, d_y).unwrap();
        // Sums of no terms would have to be zeros.
        let a = graph.constant::<f32>(&[], [2, 0], DType::F32).unwrap();
        let b = graph.constant::<f32>(&[], [3, 0], DType::F32).unwrap();
        assert!(matches!(linear(&mut graph, &a, &b), Err(Error::Shape { .. })));
        graph.finish(&gpu, "nothing").unwrap().replay().unwrap();
        assert_eq!(pollster::block_on(gpu.read::<f32>(&d_w, 0, 12)).unwrap(), [1.0; 12]);
    }
}

#[test]
fn trainers_of_no_size_are_refused_and_odd_sizes_work() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let golden = Golden::open("relative_untied_mask");
        for (micro_batch, seq_len) in [(0, 40), (4, 0)] {
            let sizes = MlmOptions { micro_batch, seq_len, ..options(1) };
            assert!(
                Trainer::pretraining(&gpu, golden.config.clone(), sizes).is_err(),
                "{micro_batch} {seq_len}"
            );
        }
        for (sequences, tokens) in [(1, 1), (1, 7), (3, 37)] {
            let sizes = MlmOptions { micro_batch: sequences, seq_len: tokens, targets: 0, ..options(1) };
            let mut trainer = Trainer::pretraining(&gpu, golden.config.clone(), sizes).unwrap();
            let rows = sequences * tokens;
            let batch = Batch {
                sequences,
                seq_len: tokens,
                input_ids: (0..rows as u32).map(|i| 5 + i % 50).collect(),
                bounds: vec![[0, tokens as u32]; rows],
                masked_rows: (0..rows as u32).step_by(3).collect(),
                labels: (0..rows as u32).step_by(3).map(|i| i % 60).collect(),
                tokens: rows,
                truncated: 0,
            };
            let report = step(&mut trainer, &[batch]).unwrap();
            // Nothing is known yet: about the entropy of 60 equally likely words.
            assert!((report.loss - 60f64.ln()).abs() < 0.2 && !report.skipped, "{report:?}");
        }
    }
}

#[test]
fn batches_that_do_not_fit_are_errors() {
    let Some(gpu) = common::gpu() else { return };
    let golden = Golden::open("relative_untied_mask");
    let mut trainer = golden.trainer(&gpu);
    let good = golden.batch();
    let before = state(&mut trainer);
    let changes: [fn(&mut Batch); 10] = [
        |b| b.sequences = 5,
        |b| b.seq_len = 39,
        |b| b.input_ids.push(5),
        |b| b.input_ids.extend([5; 100]),
        |b| b.input_ids[3] = 60,
        |b| b.bounds[0] = [0, 41],
        |b| b.labels[2] = 60,
        |b| b.labels.push(5),
        |b| b.masked_rows[1] = b.masked_rows[0],
        |b| *b.masked_rows.last_mut().unwrap() = 4 * 40,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut batch = good.clone();
        change(&mut batch);
        let found = step(&mut trainer, &[good.clone(), batch]);
        assert!(matches!(found, Err(Error::Shape { .. })), "change {index}: {found:?}");
    }
    assert_eq!(state(&mut trainer), before);
    assert!(step(&mut trainer, &[good]).is_ok());
}
