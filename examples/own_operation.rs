//! An operation of one's own: SwiGLU, its shader in `own_operation.wgsl` beside this file, checked forward and
//! backward against an f64 reference as the built-in ones are.
//!
//!     cargo run --example own_operation
#![allow(clippy::print_stdout)]

use std::mem::{offset_of, size_of};
use std::process::ExitCode;

use wgrad::autograd::Graph;
use wgrad::gpu::{Constant, Gpu, GpuOptions, KernelSpec, ParamsLayout, Source, grid};
use wgrad::ops::check::{Case, Inputs, Metric};
use wgrad::tensor::{DType, Tensor};
use wgrad::{Error, Result};

/// The shader's `Params`: fields of 4 bytes in the same order.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    width: u32,
}

const LAYOUT: ParamsLayout = &[
    ("rows", offset_of!(Params, rows), size_of::<u32>()),
    ("width", offset_of!(Params, width), size_of::<u32>()),
];
const WORKGROUP: u32 = 64;
const CONSTANTS: &[Constant] = &[("WORKGROUP", WORKGROUP)];
const FORWARD: KernelSpec = KernelSpec {
    source: Source { name: "own_operation", text: include_str!("own_operation.wgsl") },
    entry: "forward",
    reads: 1,
    textures: 0,
    writes: 1,
    params: LAYOUT,
    example: CONSTANTS,
};
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
    graph.dispatch((&FORWARD, CONSTANTS), params, &[x.view()], &[y.view()], groups)?;
    let x = x.clone();
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output("swiglu", x.shape().dims(), &[])?;
        graph.dispatch((&BACKWARD, CONSTANTS), params, &[x.view(), d_y.view()], &[d_x.view()], groups)?;
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
