//! Rotary positions: queries and keys turned by angles that grow with the position.

use super::Case;
use super::attention::Heads;
use super::check::{Inputs, Metric};
use super::elementwise::{CONSTANTS, each};
use super::rows;
use crate::autograd::Graph;
use crate::gpu::{KernelSpec, params, shader};
use crate::shape::Shape;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

params! { pairs: u32, row_pairs: u32, turned_pairs: u32, tokens: u32, half: u32, direction: f32 }

const TURN: KernelSpec = KernelSpec::new(shader!("rotary"), "turn", [2, 1], LAYOUT, CONSTANTS);

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[TURN];

/// Operations to a pair of elements.
const FLOPS: f64 = 7.0;

/// The angles of `tokens` positions in heads of `size`, as [`rotary`] reads them: cosine and sine of `t·f_i` for each position
/// t and each pair i, with frequencies `f_i = theta^(-2i / size) / factor`. `[tokens, size / 2, 2]`
///
/// Frequencies and their products with positions are rounded to f32, as in the implementations that models are trained
/// with: at thousands of radians the rounding is larger than what f32 resolves of a cosine.
pub fn angles(theta: f64, factor: f64, tokens: usize, size: usize) -> Vec<[f32; 2]> {
    let frequency = |i: usize| (theta.powf(-2.0 * i as f64 / size as f64) / factor) as f32;
    let frequencies: Vec<f32> = (0..size / 2).map(frequency).collect();
    let turn = |t: usize, frequency: f32| {
        let (sine, cosine) = f64::from(t as f32 * frequency).sin_cos();
        [cosine as f32, sine as f32]
    };
    (0..tokens).flat_map(|t| frequencies.iter().map(move |&frequency| turn(t, frequency))).collect()
}

/// `qkv [B·T, 3C]`, queries, keys and values side by side, with columns i and i + D/2 of every head of queries and keys
/// turned by the angle of the row's position in its sequence and of i (Su et al. 2021); `angles [T, D/2, 2]` holds cosines
/// and sines: see [`angles()`]. The result has the shape of `qkv`.
///
/// # Errors
/// [`Error::Shape`] when these shapes do not fit.
pub fn rotary(graph: &mut Graph, qkv: &Tensor, angles: &Tensor, heads: Heads) -> Result<Tensor> {
    let (count, width) = rows::matrix("rotary", qkv)?;
    let Heads { sequences, tokens, heads, .. } = heads;
    let size = width / 3 / heads.max(1);
    let fits = count == sequences * tokens && size * heads * 3 == width && size.is_multiple_of(2);
    if !fits || angles.shape != Shape::from([tokens, size / 2, 2]) || angles.dtype != DType::F32 {
        let expected = "qkv [B·T, 3C], angles [T, D/2, 2] of f32, D a multiple of 2";
        let found = format!(
            "{sequences} sequences of {tokens} with {heads} heads, qkv {}, angles {}",
            qkv.shape, angles.shape
        );
        return Err(Error::shape("rotary", expected, found));
    }
    let pairs = count * width / 2;
    let params = Params {
        pairs: pairs as u32,
        row_pairs: (width / 2) as u32,
        turned_pairs: (width / 3) as u32,
        tokens: tokens as u32,
        half: (size / 2) as u32,
        direction: 1.0,
    };
    let flops = FLOPS * pairs as f64;
    let turn =
        move |graph: &mut Graph, params: Params, x: &Tensor, angles: &Tensor, y: &Tensor| -> Result<()> {
            let dispatch = each(graph, (&TURN, x.dtype), params, &[x.view, angles.view], &[y.view], pairs)?;
            dispatch.flops(flops).once();
            Ok(())
        };
    let y = graph.output_as(qkv.dtype, "rotary", qkv.shape.dims(), &[qkv])?;
    turn(graph, params, qkv, angles, &y)?;
    let (qkv, angles) = (qkv.clone(), angles.clone());
    graph.on_backward(&y, move |graph, d_y| {
        let d_qkv = graph.output_as(qkv.dtype, "rotary", qkv.shape.dims(), &[])?;
        turn(graph, Params { direction: -1.0, ..params }, d_y, &angles, &d_qkv)?;
        graph.contribute(&qkv, d_qkv)
    });
    Ok(y)
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let sizes = [(1, 1, 1, 2), (2, 7, 3, 4), (3, 5, 1, 64), (1, 129, 2, 12)];
    let case = |(sequences, tokens, heads, size): (usize, usize, usize, usize)| {
        let width = heads * size;
        let inputs = Inputs::new(42).normal("qkv", &[sequences * tokens, 3 * width], 1.0);
        let (theta, factor) = (100.0, 1.5);
        let table = angles(theta, factor, tokens, size);
        let name = format!("{sequences} of {tokens} tokens, {heads} heads of {size}");
        Case::new(name, inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| {
                let angles = graph.constant(&table, [tokens, size / 2, 2], DType::F32)?;
                rotary(graph, &x[0], &angles, Heads { sequences, tokens, heads, padding: 0 })
            })
            .reference(move |x| {
                let element = |(at, &x_at): (usize, &f64)| {
                    let (row, column) = (at / (3 * width), at % (3 * width));
                    if column >= 2 * width {
                        return x_at;
                    }
                    let (i, first) = (column % size % (size / 2), column % size < size / 2);
                    let frequency = theta.powf(-2.0 * i as f64 / size as f64) / factor;
                    let (sine, cosine) = ((row % tokens) as f64 * frequency).sin_cos();
                    let other = if first { -x[0][at + size / 2] } else { x[0][at - size / 2] };
                    x_at * cosine + other * sine
                };
                x[0].iter().enumerate().map(element).collect()
            })
    };
    sizes.into_iter().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_are_those_of_positions_and_frequencies() {
        let table = angles(10_000.0, 1.0, 3, 4);
        assert_eq!(table.len(), 6);
        assert_eq!(table[0], [1.0, 0.0]);
        let close = |found: [f32; 2], angle: f64| {
            (f64::from(found[0]) - angle.cos()).abs() < 1e-6
                && (f64::from(found[1]) - angle.sin()).abs() < 1e-6
        };
        assert!(close(table[4], 2.0) && close(table[5], 0.02), "{table:?}");
        assert!(close(angles(10_000.0, 4.0, 3, 4)[4], 0.5));
    }
}
