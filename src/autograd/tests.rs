//! Recordings that are made, looked at and planned where there is no device.

use super::Graph;
use crate::Error;
use crate::gpu::{AdapterKind, Capabilities};
use crate::ops::add::add;
use crate::ops::gelu::gelu;
use crate::ops::matmul::linear;
use crate::tensor::{DType, Gradient, Tensor};

/// A GPU that was made up.
fn device() -> Capabilities {
    Capabilities {
        name: "made up".into(),
        kind: AdapterKind::Gpu,
        max_binding: 1 << 20,
        ..Default::default()
    }
}

/// A parameter without a device: `rows x columns` of zeros, with a gradient that accumulates.
fn parameter(graph: &mut Graph, [rows, columns]: [usize; 2]) -> Tensor {
    let zeros = vec![0f32; rows * columns];
    let tensor = graph.constant(&zeros, [rows, columns], DType::F32).unwrap();
    let gradient = graph.recorder().constant(&zeros);
    Tensor { gradient: Gradient::Parameter(gradient), ..tensor }
}

/// `gelu(x · wᵀ)` of 8 rows of 32, a weight of 16 x 32 and a gradient of ones.
fn record(target: Capabilities) -> Graph {
    let mut graph = Graph::training(target);
    let x = graph.constant(&[1f32; 8 * 32], [8, 32], DType::F32).unwrap();
    let weight = parameter(&mut graph, [16, 32]);
    let between = linear(&mut graph, &x, &weight).unwrap();
    let y = gelu(&mut graph, &between).unwrap();
    let ones = graph.constant(&[1f32; 8 * 16], [8, 16], DType::F32).unwrap();
    graph.backward(&y, ones).unwrap();
    graph
}

#[test]
fn a_recording_is_data_that_needs_no_device() {
    let mut graph = record(device());
    let recorder = graph.recorder();
    let list = recorder.expected();
    let names: Vec<&str> = list.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["matmul_tiled:nt", "gelu:forward", "gelu:backward", "matmul_tiled:tn"]);
    // What products take the time of, and what goes through each buffer once.
    let product = 2.0 * (8 * 16 * 32) as f64;
    assert_eq!(list[0].1.flops, product);
    assert_eq!(list[0].1.bytes, 4.0 * (8 * 32 + 16 * 32 + 8 * 16) as f64);
    assert_eq!(list[0].2, product / recorder.target().speed);
    assert_eq!(list[1].1.bytes, 2.0 * 4.0 * (8 * 16) as f64);
    // The products' result, GELU's and its gradient; the constants have no place in the plan.
    let lifetimes = recorder.lifetimes();
    let transient: Vec<_> = lifetimes.iter().filter_map(|lifetime| lifetime.used.clone()).collect();
    assert_eq!(transient, [0..=2, 1..=1, 2..=3]);
    assert!(lifetimes.iter().all(|lifetime| [0, 4 * 8 * 16].contains(&lifetime.bytes)));
    // Of the three, the second one's place is free for the third.
    assert_eq!(recorder.plan().bytes.iter().sum::<u64>(), 2 * 4 * 8 * 16);
    recorder.isolate();
    assert_eq!(recorder.plan().bytes.iter().sum::<u64>(), 3 * 4 * 8 * 16);
}

#[test]
fn kernels_follow_the_kind_of_device() {
    let mut graph = record(Capabilities { kind: AdapterKind::Cpu, ..device() });
    let names: Vec<String> = graph.recorder().expected().into_iter().map(|(name, ..)| name).collect();
    let expected =
        ["matmul_software:nt", "gelu_software:forward", "gelu_software:backward", "matmul_software:tn"];
    assert_eq!(names, expected);
}

#[test]
fn what_exceeds_a_described_device_is_refused_before_there_is_one() {
    let mut graph = Graph::inference(device());
    let error = graph.output("large", [(1 << 18) + 4], &[]).unwrap_err();
    assert!(matches!(error, Error::Limit { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("1048592 bytes") && told.contains("1048576") && told.contains("made up"), "{told}");
    // Too little data for a shape, and shapes that do not fit each other.
    assert!(matches!(graph.constant(&[1f32; 4], [5], DType::F32), Err(Error::Shape { .. })));
    let [a, b] = [4, 8].map(|size| graph.constant(&vec![0f32; size], [size], DType::F32).unwrap());
    assert!(matches!(add(&mut graph, &a, &b), Err(Error::Shape { .. })));
    assert!(graph.recorder().is_empty());
}
