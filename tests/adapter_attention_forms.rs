//! Both forms of attention at a length that the f64 reference is too slow for: equal to each other, forward and
//! backward, with documents, padding and dropout, and the fused one the same bits each time.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use wgrad::autograd::Graph;
use wgrad::gpu::{AdapterKind, Gpu, GpuOptions};
use wgrad::ops::attention::{Form, Heads, attention_as};
use wgrad::ops::dropout::Dropout;
use wgrad::tensor::DType;

const HEADS: Heads = Heads { sequences: 2, tokens: 300, heads: 2, padding: 0 };
const SIZE: usize = 64;
const BUCKETS: usize = 32;

/// The result, and the gradients of `qkv` and of the distances.
fn run(gpu: &Gpu, form: Form) -> [Vec<f32>; 3] {
    let (rows, width) = (HEADS.sequences * HEADS.tokens, HEADS.heads * SIZE);
    let values =
        |count: usize| -> Vec<f32> { (0..count).map(|i| (i * 7919 % 1013) as f32 / 506.5 - 1.0).collect() };
    // Two documents and padding; the second sequence is full.
    let bounds: Vec<[u32; 2]> = (0..rows)
        .map(|row| match row {
            0..130 => [0, 130],
            130..290 => [130, 290],
            290..300 => [0, 0],
            _ => [0, 300],
        })
        .collect();
    let mut graph = Graph::training(gpu);
    graph.recorder().isolate();
    let qkv = gpu.upload("qkv", &values(rows * 3 * width)).unwrap();
    let d_qkv = gpu.upload("d_qkv", &vec![0f32; rows * 3 * width]).unwrap();
    let distances = gpu.upload("distances", &values(BUCKETS * SIZE)).unwrap();
    let d_distances = gpu.upload("d_distances", &vec![0f32; BUCKETS * SIZE]).unwrap();
    let x = graph.parameter(&qkv, &d_qkv, [rows, 3 * width]).unwrap();
    let p = graph.parameter(&distances, &d_distances, [BUCKETS, SIZE]).unwrap();
    let bounds = graph.constant(&bounds, [rows, 2], DType::U32).unwrap();
    let key = graph.constant(&[5u32, 6], [2], DType::U32).unwrap();
    let dropout = Dropout { rate: 0.1, key, site: 9 };
    let y = attention_as(form, &mut graph, &x, Some(&p), &bounds, HEADS, Some(&dropout)).unwrap();
    let kept = graph.keep(gpu, "y", y.view()).unwrap();
    let d_y = graph.constant(&values(rows * width), [rows, width], DType::F32).unwrap();
    graph.backward(&y, d_y).unwrap();
    let recording = graph.finish(gpu, "attention").unwrap();
    recording.poison(wgrad::ops::check::POISON);
    recording.replay().unwrap();
    [(&kept, rows * width), (&d_qkv, 3 * rows * width), (&d_distances, BUCKETS * SIZE)]
        .map(|(buffer, count)| pollster::block_on(gpu.read::<f32>(buffer, 0, count)).unwrap())
}

#[test]
fn the_forms_are_equal_and_the_fused_one_repeats_itself() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let (unfused, fused) = (run(&gpu, Form::Unfused), run(&gpu, Form::Fused));
        for (part, (a, b)) in ["y", "d_qkv", "d_distances"].iter().zip(unfused.iter().zip(&fused)) {
            let distance: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let power: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
            assert!((distance / power).sqrt() < 1e-5, "{kind:?}, {part}: {distance} of {power}");
        }
        assert!(fused[0][290 * 128..300 * 128].iter().all(|&y| y == 0.0), "{kind:?}: padding gives zeros");
        assert!(fused == run(&gpu, Form::Fused), "{kind:?}: other bits");
        // So slow that every block is a dispatch of its own.
        let slow = GpuOptions { kind: Some(kind), speed: Some(1e6), ..Default::default() };
        let slow = common::open(slow).unwrap();
        assert!(fused == run(&slow, Form::Fused), "{kind:?}: cuts changed a bit");
    }
}
