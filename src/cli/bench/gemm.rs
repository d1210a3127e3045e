//! `wgrad bench gemm`: matrix products.

use serde::Serialize;
use wgrad::ops::matmul::Layout;
use wgrad::ops::measure;
use wgrad::train::Precision;

use super::Bench;

#[derive(Serialize)]
pub(super) struct Gemm {
    precision: Precision,
    shapes: Vec<Shape>,
    geometric_mean: Mean,
}

#[derive(Serialize)]
struct Shape {
    layout: Layout,
    m: usize,
    n: usize,
    k: usize,
    ms: f64,
    gflops: f64,
    share: f64,
}

#[derive(Serialize)]
struct Mean {
    nt: f64,
    nn: f64,
    tn: f64,
    all: f64,
}

/// Measures the products of the workload's linear layers, or square ones of `size`.
pub(super) async fn run(bench: &Bench, size: Option<usize>) -> anyhow::Result<Gemm> {
    let model = &bench.workload.model;
    let (rows, c, f) = (bench.workload.rows(), model.hidden_size, model.intermediate_size);
    // Rows, outputs and inputs of: queries, keys and values; their way out; up; down; the head.
    let head = [bench.workload.targets, model.vocab_size, c];
    let layers = match size {
        Some(size) => vec![[size; 3]],
        None => vec![[rows, 3 * c, c], [rows, c, c], [rows, f, c], [rows, c, f], head],
    };
    let precision = bench.workload.precision;
    let mut shapes = Vec::new();
    for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
        for &[rows, out, inputs] in &layers {
            let [m, n, k] = match layout {
                Layout::Nt => [rows, out, inputs],
                Layout::Nn => [rows, inputs, out],
                Layout::Tn => [out, inputs, rows],
            };
            let storage = precision.storage();
            let gflops =
                measure::matmul_stored(&bench.gpu, layout, storage, [m, n, k], bench.seconds).await?;
            let ms = 2.0 * (m * n * k) as f64 / gflops / 1e6;
            shapes.push(Shape { layout, m, n, k, ms, gflops, share: gflops / bench.peak });
        }
    }
    let [nt, nn, tn] = [Layout::Nt, Layout::Nn, Layout::Tn]
        .map(|layout| mean(shapes.iter().filter(|shape| shape.layout == layout)));
    let geometric_mean = Mean { nt, nn, tn, all: mean(shapes.iter()) };

    let mut table = vec![["product", "m", "n", "k", "ms", "GFLOP/s", "share"].map(String::from).to_vec()];
    for Shape { layout, m, n, k, ms, gflops, share } in &shapes {
        let mut row = vec![name(*layout).to_owned(), m.to_string(), n.to_string(), k.to_string()];
        row.extend([format!("{ms:.2}"), format!("{gflops:.1}"), format!("{share:.2}")]);
        table.push(row);
    }
    table.push(vec![]);
    for (name, mean) in [("nt", nt), ("nn", nn), ("tn", tn), ("all", geometric_mean.all)] {
        let mut row = vec![format!("{name}, geometric mean")];
        row.resize(5, String::new());
        row.extend([format!("{mean:.1}"), format!("{:.2}", mean / bench.peak)]);
        table.push(row);
    }
    bench.say(&table, 1)?;
    Ok(Gemm { precision, shapes, geometric_mean })
}

fn name(layout: Layout) -> &'static str {
    match layout {
        Layout::Nt => "nt",
        Layout::Nn => "nn",
        Layout::Tn => "tn",
    }
}

/// The geometric mean of the shapes' speeds.
fn mean<'a>(shapes: impl Iterator<Item = &'a Shape>) -> f64 {
    let (sum, count) = shapes.fold((0.0, 0), |(sum, count), shape| (sum + shape.gflops.ln(), count + 1));
    (sum / f64::from(count)).exp()
}
