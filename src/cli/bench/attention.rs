//! `wgrad bench attention`: one layer's attention.

use serde::Serialize;
use wgrad::models::PositionEmbedding;
use wgrad::ops::attention::{Form, Heads};
use wgrad::ops::measure;
use wgrad::train::Precision;

use super::Bench;

/// A second length, as finetuning has it.
const LONG: usize = 512;

#[derive(Serialize)]
pub(super) struct Attention {
    precision: Precision,
    shapes: Vec<Shape>,
}

#[derive(Serialize)]
struct Shape {
    form: Form,
    /// Whether it is the one that training takes here.
    chosen: bool,
    sequences: usize,
    tokens: usize,
    heads: usize,
    head_size: usize,
    pass: &'static str,
    ms: f64,
    gflops: f64,
    share: f64,
}

pub(super) async fn run(bench: &Bench) -> anyhow::Result<Attention> {
    let (workload, model) = (&bench.workload, &bench.workload.model);
    let (count, head_size) = (model.num_attention_heads, model.head_size());
    let buckets = match model.position_embedding_type {
        PositionEmbedding::RelativeBucket => model.relative_attention_num_buckets,
        PositionEmbedding::Absolute | PositionEmbedding::Rotary => 0,
    };
    let precision = bench.workload.precision;
    let storage = precision.storage();
    let mut shapes = Vec::new();
    for tokens in [workload.tokens, LONG] {
        let heads = Heads { sequences: workload.rows() / tokens, tokens, heads: count, padding: 0 };
        let chosen = Form::choose(bench.gpu.capabilities(), heads, head_size, storage);
        // The logits, those by distance, and the weighted sum; their gradients are two products each. What the fused
        // form computes again does not count.
        let products = (2 * tokens + buckets) * head_size * tokens;
        let flops = 2.0 * (products * count * heads.sequences) as f64;
        for form in [Form::Unfused, Form::Fused] {
            let (forward, both) = measure::attention_seconds(
                &bench.gpu,
                (form, storage),
                heads,
                head_size,
                buckets,
                bench.seconds,
            )
            .await?;
            for (pass, seconds, factor) in [("forward", forward, 1.0), ("both", both, 3.0)] {
                let gflops = factor * flops / seconds / 1e9;
                shapes.push(Shape {
                    form,
                    chosen: form == chosen,
                    sequences: heads.sequences,
                    tokens,
                    heads: count,
                    head_size,
                    pass,
                    ms: 1e3 * seconds,
                    gflops,
                    share: gflops / bench.peak,
                });
            }
        }
    }
    let heading = ["form", "pass", "sequences", "tokens", "heads", "head size", "ms", "GFLOP/s", "share"];
    let mut table = vec![heading.map(String::from).to_vec()];
    for shape in &shapes {
        let sizes = [shape.sequences, shape.tokens, shape.heads, shape.head_size];
        let form = if shape.form == Form::Fused { "fused" } else { "unfused" };
        let form = if shape.chosen { format!("{form}, chosen") } else { form.to_owned() };
        let mut row = vec![form, shape.pass.to_owned()];
        row.extend(sizes.map(|size| size.to_string()));
        row.extend([
            format!("{:.2}", shape.ms),
            format!("{:.1}", shape.gflops),
            format!("{:.2}", shape.share),
        ]);
        table.push(row);
    }
    bench.say(&table, 2)?;
    Ok(Attention { precision, shapes })
}
