//! What the comparisons with references cannot show: exact zeros, garbage in ignored places, ids out of range.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use wgrad::Error;
use wgrad::autograd::Graph;
use wgrad::gpu::{AdapterKind, Buffer, Gpu};
use wgrad::ops::add::add;
use wgrad::ops::cross_entropy::cross_entropy;
use wgrad::ops::embedding::{embedding, index};
use wgrad::ops::gather_rows::{UNUSED, gather_rows};
use wgrad::ops::layer_norm::layer_norm;
use wgrad::ops::matmul::Layout;
use wgrad::ops::measure;
use wgrad::ops::normalize::normalize;
use wgrad::tensor::{DType, Tensor};

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

/// Runs an operation on `x` of `shape`, whose gradient begins at `before`, with 1 as the gradient of its first
/// result. Gives its results and that gradient.
fn run(
    gpu: &Gpu,
    (x, shape): (&[f32], &[usize]),
    before: f32,
    operation: impl Fn(&mut Graph, &Tensor) -> Vec<Tensor>,
) -> (Vec<Vec<f32>>, Vec<f32>) {
    let mut graph = Graph::training(gpu);
    graph.recorder().isolate();
    let value = gpu.upload("x", x).unwrap();
    let gradient = gpu.upload("d_x", &vec![before; x.len()]).unwrap();
    let x_tensor = graph.parameter(&value, &gradient, shape).unwrap();
    let results = operation(&mut graph, &x_tensor);
    let mut kept = Vec::new();
    for result in &results {
        let elements = result.shape().elements();
        let buffer = graph.keep(gpu, "kept", result.view()).unwrap();
        kept.push((buffer, elements));
    }
    let ones = vec![1f32; results[0].shape().elements()];
    let d_y = graph.constant(&ones, results[0].shape().dims(), DType::F32).unwrap();
    graph.backward(&results[0], d_y).unwrap();
    let recording = graph.finish(gpu, "test").unwrap();
    recording.poison(wgrad::ops::check::POISON);
    recording.replay().unwrap();
    let read = |buffer: &Buffer, count| pollster::block_on(gpu.read::<f32>(buffer, 0, count)).unwrap();
    let mut d_x = read(&gradient, gradient.bytes() as usize / 4);
    assert!(d_x[x.len()..].iter().all(|&beyond| beyond == 0.0), "written past the end: {d_x:?}");
    d_x.truncate(x.len());
    (kept.iter().map(|(buffer, count)| read(buffer, *count)).collect(), d_x)
}

fn input<T: bytemuck::NoUninit>(graph: &mut Graph, data: &[T], dtype: DType) -> Tensor {
    graph.constant(data, [data.len()], dtype).unwrap()
}

#[test]
fn cross_entropy_ignores_columns_and_rows_that_do_not_count() {
    const NAN: f32 = f32::NAN;
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        // Three classes, two ignored columns.
        let rows: [[f32; 5]; 9] = [
            [1.0, 2.0, 0.5, NAN, 9e9],      // right
            [1.0, 2.0, 2.0, 9e9, NAN],      // a tie: the first is right
            [1.0, 2.0, 2.0, NAN, NAN],      // a tie: the second is wrong
            [3.0, 2.0, 1.0, NAN, NAN],      // wrong
            [NAN, NAN, NAN, NAN, NAN],      // counts for nothing
            [1.0, 2.0, 0.5, 0.0, 0.0],      // right, but counts for nothing
            [0.0, 0.0, 1.0, NAN, NAN],      // a label that is no class: the last one
            [1e30, -1e30, 1.0, NAN, NAN],   // far apart
            [90.0, 100.0, 110.0, NAN, NAN], // exp would overflow
        ];
        let labels = [1u32, 1, 2, 1, 1, 1, 77, 0, 2];
        let weights = [1.0f32, 0.5, 1.0, 1.0, 0.0, 0.0, 2.0, 1.0, 1.0];
        let (results, gradient) = run(&gpu, (rows.as_flattened(), &[9, 5]), 0.0, |graph, logits| {
            let labels = input(graph, &labels, DType::U32);
            let weights = input(graph, &weights, DType::F32);
            let y = cross_entropy(graph, logits, &labels, &weights, 3).unwrap();
            assert!(!y.correct.needs_gradient());
            vec![y.loss, y.correct]
        });
        assert_eq!(results[1], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0], "{kind:?}");
        for (m, row) in rows.iter().enumerate() {
            let row: Vec<f64> = row[..3].iter().map(|&l| f64::from(l)).collect();
            let (label, weight) = (labels[m].min(2) as usize, f64::from(weights[m]));
            let max = row.iter().copied().fold(row[0], f64::max);
            let sum: f64 = row.iter().map(|l| (l - max).exp()).sum();
            let (loss, d_row) = (f64::from(results[0][m]), &gradient[5 * m..][..5]);
            if weight == 0.0 {
                assert_eq!((loss, d_row), (0.0, [0.0; 5].as_slice()), "{kind:?}, row {m}");
                continue;
            }
            let expected = weight * (sum.ln() - (row[label] - max));
            assert!((loss - expected).abs() <= 1e-6 * (1.0 + expected), "{kind:?}, row {m}: {loss}");
            for c in 0..3 {
                let expected = weight * ((row[c] - max).exp() / sum - f64::from(u8::from(c == label)));
                let found = f64::from(d_row[c]);
                assert!((found - expected).abs() <= 1e-6, "{kind:?}, row {m}: {d_row:?}, not {expected}");
            }
            assert_eq!(d_row[3..], [0.0, 0.0], "{kind:?}, row {m}");
        }
    }
}

#[test]
fn cross_entropy_finds_the_greatest_of_many() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let (rows, classes) = (6, 1000);
        let mut logits = vec![0f32; rows * classes];
        let greatest = [0, 1, 255, 256, 700, 900];
        for (m, &c) in greatest.iter().enumerate() {
            // exp would overflow unless the greatest of all lanes is taken off.
            logits[m * classes + c] = 200.0;
            logits[m * classes + 900] = 200.0; // equal ones further on do not matter
        }
        for (labels, expected) in [(greatest.map(|c| c as u32), 1.0), ([998; 6], 0.0)] {
            let (results, _) = run(&gpu, (&logits, &[rows, classes]), 0.0, |graph, logits| {
                let labels = input(graph, &labels, DType::U32);
                let weights = input(graph, &[1f32; 6], DType::F32);
                let y = cross_entropy(graph, logits, &labels, &weights, classes).unwrap();
                vec![y.loss, y.correct]
            });
            assert_eq!(results[1], [expected; 6], "{kind:?}");
            for (m, loss) in results[0].iter().enumerate() {
                let equals = if m == 5 { 1f32 } else { 2.0 };
                let expected = equals.ln() + 200.0 * (1.0 - expected);
                assert!((loss - expected).abs() <= 1e-6 * (1.0 + expected), "{kind:?}, row {m}: {loss}");
            }
        }
    }
}

#[test]
fn embedding_stays_inside_its_table() {
    let Some(gpu) = common::gpu() else { return };
    let table: Vec<f32> = (0..6).map(|v| v as f32).collect();
    let ids = [1u32, 3, u32::MAX, 1, 2, 0];
    let (results, gradient) = run(&gpu, (&table, &[3, 2]), 10.0, |graph, table| {
        let index = input(graph, &index(&ids), DType::U32);
        let ids = input(graph, &ids, DType::U32);
        vec![embedding(graph, table, &ids, &index).unwrap()]
    });
    assert_eq!(results[0], [2.0, 3.0, 4.0, 5.0, 4.0, 5.0, 2.0, 3.0, 4.0, 5.0, 0.0, 1.0]);
    // Entry 1 is used twice; only one valid id names the last entry.
    assert_eq!(gradient, [11.0, 11.0, 12.0, 12.0, 11.0, 11.0]);
}

/// Where the gradient is not a parameter's, nothing that was in its memory may remain.
#[test]
fn gradients_that_flow_on_begin_at_zero() {
    let Some(gpu) = common::gpu() else { return };
    let x: Vec<f32> = (0..10).map(|v| v as f32).collect();
    let taken = [3u32, UNUSED, 0, 5];
    let (results, gradient) = run(&gpu, (&x, &[5, 2]), 1.0, |graph, x| {
        let rows = input(graph, &taken, DType::U32);
        let doubled = add(graph, x, x).unwrap();
        vec![gather_rows(graph, &doubled, &rows).unwrap()]
    });
    assert_eq!(results[0], [12.0, 14.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    assert_eq!(gradient, [3.0, 3.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 1.0, 1.0]);

    let ids = [2u32, 2, 0];
    let (_, gradient) = run(&gpu, (&x, &[5, 2]), 1.0, |graph, x| {
        let index = input(graph, &index(&ids), DType::U32);
        let ids = input(graph, &ids, DType::U32);
        let doubled = add(graph, x, x).unwrap();
        vec![embedding(graph, &doubled, &ids, &index).unwrap()]
    });
    assert_eq!(gradient, [3.0, 3.0, 1.0, 1.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0]);
}

/// `weight` and `bias` that something else computed get their gradients overwritten, not added to.
#[test]
fn layer_norm_passes_gradients_to_computed_weights() {
    for kind in KINDS {
        let Some(gpu) = common::gpu_as(kind) else { return };
        let (_, gradient) = run(&gpu, (&[0.5, 1.0, 2.0, 4.0], &[4]), 1.0, |graph, weight| {
            let weight = add(graph, weight, weight).unwrap();
            let x = graph.constant(&[1f32, -1.0, 1.0, -1.0], [1, 4], DType::F32).unwrap();
            vec![layer_norm(graph, &x, &weight, &weight, 0.0).unwrap()]
        });
        // d_weight = h = ±1 and d_bias = 1, twice, on top of the 1 that was there.
        assert_eq!(gradient, [5.0, 1.0, 5.0, 1.0], "{kind:?}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let Some(gpu) = common::gpu() else { return };
    let mut graph = Graph::inference(&gpu);
    let x = graph.constant(&[0f32; 6], [2, 3], DType::F32).unwrap();
    let wide = input(&mut graph, &[0f32; 4], DType::F32);
    let fits = input(&mut graph, &[0f32; 3], DType::F32);
    let two = input(&mut graph, &[0f32; 2], DType::F32);
    let ids = input(&mut graph, &[0u32; 2], DType::U32);
    let indexed = input(&mut graph, &index(&[0, 0]), DType::U32);
    let refused = |found: wgrad::Result<Tensor>, operation: &str| match found {
        Err(Error::Shape { operation: found, .. }) => assert_eq!(found, operation),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{operation} took it"),
    };
    refused(layer_norm(&mut graph, &x, &wide, &fits, 0.1), "layer_norm");
    refused(layer_norm(&mut graph, &x, &fits, &wide, 0.1), "layer_norm");
    refused(layer_norm(&mut graph, &fits, &fits, &fits, 0.1), "layer_norm");
    refused(embedding(&mut graph, &x, &two, &indexed), "embedding");
    refused(embedding(&mut graph, &x, &ids, &ids), "embedding");
    refused(gather_rows(&mut graph, &x, &two), "gather_rows");
    for (labels, weights, classes) in [(&two, &two, 3), (&ids, &fits, 3), (&ids, &two, 4), (&ids, &two, 0)] {
        let found = cross_entropy(&mut graph, &x, labels, weights, classes);
        refused(found.map(|y| y.loss), "cross_entropy");
    }
    assert!(cross_entropy(&mut graph, &x, &ids, &two, 3).is_ok());
}

#[test]
fn a_row_of_zeros_has_no_direction() {
    let Some(gpu) = common::gpu() else { return };
    let x = [0.0, 0.0, 0.0, 3.0, 0.0, -4.0, 1e-30, 0.0, 0.0, 3e30, 0.0, -4e30];
    let (results, gradient) = run(&gpu, (&x, &[4, 3]), 0.0, |graph, x| vec![normalize(graph, x).unwrap()]);
    let unit = [0.0, 0.0, 0.0, 0.6, 0.0, -0.8, 0.0, 0.0, 0.0, 0.6, 0.0, -0.8];
    assert!(
        results[0].iter().zip(unit).all(|(found, expected): (&f32, f32)| (found - expected).abs() < 1e-6)
    );
    assert_eq!((&gradient[..3], &gradient[6..9]), (&[0.0; 3][..], &[0.0; 3][..]));
    assert!(gradient[3..6].iter().any(|&g| g != 0.0));
}

/// Products that are large enough for workgroups of 128 x 128 on GPUs, edges included.
#[test]
fn large_products_equal_their_reference() {
    let [m, n, k] = [1028, 1156, 44];
    for (kind, storage) in
        [(AdapterKind::Cpu, DType::F32), (AdapterKind::Gpu, DType::F32), (AdapterKind::Gpu, DType::F16)]
    {
        let Some(gpu) = common::gpu_as(kind) else { return };
        if storage == DType::F16 && !common::has_f16(&gpu) {
            continue;
        }
        for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
            let (recording, result) = measure::matmul_recording(&gpu, layout, storage, [m, n, k]).unwrap();
            recording.replay().unwrap();
            let found: Vec<f64> = if storage == DType::F16 {
                let halves: Vec<half::f16> = pollster::block_on(gpu.read(&result, 0, m * n)).unwrap();
                halves.into_iter().map(f64::from).collect()
            } else {
                let floats: Vec<f32> = pollster::block_on(gpu.read(&result, 0, m * n)).unwrap();
                floats.into_iter().map(f64::from).collect()
            };
            let stored = |i: usize| {
                let value = measure::filling(i);
                f64::from(if storage == DType::F16 { half::f16::from_f32(value).to_f32() } else { value })
            };
            let a = |row: usize, at: usize| {
                stored(if layout == Layout::Tn { at * m + row } else { row * k + at })
            };
            let b = |column: usize, at: usize| {
                stored(if layout == Layout::Nt { column * k + at } else { at * n + column })
            };
            let (mut error, mut power) = (0.0, 0.0);
            for row in 0..m {
                for column in 0..n {
                    let exact: f64 = (0..k).map(|at| a(row, at) * b(column, at)).sum();
                    error += (found[row * n + column] - exact).powi(2);
                    power += exact * exact;
                }
            }
            let bound = if storage == DType::F16 { 1e-6 } else { 1e-10 };
            assert!(error / power <= bound, "{kind:?} {storage:?} {layout:?}: {:e}", error / power);
        }
    }
}
