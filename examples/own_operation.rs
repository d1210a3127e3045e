//! An operation of one's own: SwiGLU, its shader in `own_operation.wgsl` beside this file, checked forward and
//! backward against an f64 reference as the built-in ones are.
//!
//!     cargo run --example own_operation
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use wgrad::autograd::Graph;
use wgrad::gpu::{Constant, Gpu, GpuOptions, KernelSpec, grid, params, shader};
use wgrad::ops::check::{Case, Inputs, Metric};
use wgrad::tensor::{DType, Tensor};
use wgrad::{Error, Result};

params! { rows: u32, width: u32 }

const WORKGROUP: u32 = 64;
const CONSTANTS: &[Constant] = &[("WORKGROUP", WORKGROUP)];
const FORWARD: KernelSpec =
    KernelSpec::new(shader!("own_operation" in "examples"), "forward", [1, 1], LAYOUT, CONSTANTS);
const BACKWARD: KernelSpec = KernelSpec { entry: "backward", reads: 2, ..FORWARD };

/// `y [N, F] = g sigmoid(g) v` of `x [N, 2F]`, which holds the gate g and the value v side by side.
fn swiglu(graph: &mut Graph, x: &Tensor) -> Result<Tensor> {
    let (rows, width) = (x.shape().rows(), x.shape().width() / 2);
    if x.shape().dims().len() != 2 || x.shape().width() != 2 * width {
        return Err(Error::Shape {
            operation: "swiglu",
            expected: "[N, 2F]".into(),
            found: x.shape().to_string(),
        });
    }
    let params = Params { rows: rows as u32, width: width as u32 };
    let groups = grid(rows * width, WORKGROUP);
    let y = graph.output("swiglu", [rows, width], &[x])?;
    let elements = (rows * width) as f64;
    graph
        .dispatch((&FORWARD, CONSTANTS), params, &[x.view()], &[y.view()], groups)?
        .flops(5.0 * elements)
        .once();
    let x = x.clone();
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output("swiglu", x.shape().dims(), &[])?;
        let reads = [x.view(), d_y.view()];
        graph
            .dispatch((&BACKWARD, CONSTANTS), params, &reads, &[d_x.view()], groups)?
            .flops(11.0 * elements)
            .once();
        graph.contribute(&x, d_x)
    });
    Ok(y)
}

/// Forward and, by central differences of the same reference, backward.
fn case([rows, width]: [usize; 2]) -> Case {
    let inputs = Inputs::new(1).normal("x", &[rows, 2 * width], 2.0);
    Case::new(format!("[{rows}, {}]", 2 * width), inputs, Metric::Elementwise(1e-5))
        .gpu(|graph, x| swiglu(graph, &x[0]))
        .reference(move |x| {
            let row = |row: &[f64]| {
                let (gates, values) = row.split_at(width);
                let swiglu = |(g, v): (&f64, &f64)| g / (1.0 + (-g).exp()) * v;
                gates.iter().zip(values).map(swiglu).collect::<Vec<_>>()
            };
            x[0].chunks(2 * width).flat_map(row).collect()
        })
}

fn main() -> Result<ExitCode> {
    let gpu = pollster::block_on(Gpu::open(&GpuOptions::default()))?;
    println!("SwiGLU on {}", gpu.capabilities().name);
    let mut passed = true;
    for sizes in [[1, 1], [7, 129], [64, 64], [300, 5]] {
        let outcome = pollster::block_on(case(sizes).run(&gpu, DType::F32, 64))?;
        let (error, bound) = outcome.forward;
        println!("{:<12} forward error {error:.1e} (at most {bound:.0e})", outcome.name);
        for (input, error, bound) in &outcome.gradients {
            println!("{:<12} gradient of {input} {error:.1e} (at most {bound:.0e})", "");
        }
        passed &= outcome.passed();
    }
    println!("{}", if passed { "equal to the reference" } else { "NOT equal to the reference" });
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
