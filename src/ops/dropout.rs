//! Dropout whose random numbers are counted, not drawn in turn: the same key gives the same result.

use super::Case;
use super::check::{Inputs, Metric, elementwise_shapes};
use super::elementwise::{CONSTANTS, each};
use crate::autograd::Graph;
use crate::gpu::{Buffer, Gpu, KernelSpec, View, params, shader};
use crate::random::mix;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

params! { elements: u32, site: u32, threshold: u32, scale: f32 }

const FORWARD: KernelSpec = KernelSpec::new(shader!("dropout"), "forward", [2, 1], LAYOUT, CONSTANTS);
const IN_PLACE: KernelSpec = KernelSpec { entry: "in_place", reads: 1, ..FORWARD };

/// The kernels, for the shader tests.
pub const KERNELS: &[KernelSpec] = &[FORWARD, IN_PLACE];

/// What the random numbers of a step follow from. It lies in a small buffer that is written before each replay,
/// so that a recording knows nothing of it.
#[derive(Debug)]
pub struct Key(Buffer);

impl Key {
    /// A key that is all zero.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Key(gpu.buffer("the key of dropout", 8)?))
    }

    /// Chooses the random numbers of the next replay.
    pub fn write(&self, gpu: &Gpu, seed: u64, step: u64) {
        gpu.write(&self.0, 0, &words(seed, step));
    }

    /// The key as a tensor of `graph`.
    ///
    /// # Errors
    /// As [`Graph::input`].
    pub fn tensor(&self, graph: &mut Graph) -> Result<Tensor> {
        graph.input(&self.0, [2], DType::U32)
    }
}

/// The two words of the key of a step.
fn words(seed: u64, step: u64) -> [u32; 2] {
    let key = mix(mix(seed) ^ step);
    [key as u32, (key >> 32) as u32]
}

/// Where dropout happens and how much of it. Sites that differ drop independently.
#[derive(Debug, Clone)]
pub struct Dropout {
    /// The share of elements that become 0, from 0 to below 1.
    pub rate: f32,
    /// The key, u32 `[2]`.
    pub key: Tensor,
    /// The place in the model.
    pub site: u32,
}

impl Dropout {
    /// What a kernel needs to draw factors by itself: random bits below the first number mean 0, the others the
    /// second number.
    ///
    /// # Errors
    /// [`Error::Config`] for a rate that is no share; [`Error::Shape`] for a key that is none.
    pub(super) fn threshold(&self) -> Result<(u32, f32)> {
        if !(0.0..1.0).contains(&self.rate) {
            return Err(Error::config("dropout", "a number from 0 to below 1", self.rate));
        }
        super::rows::vector("dropout", &self.key, 2, DType::U32)?;
        Ok(((f64::from(self.rate) * 4_294_967_296.0) as u32, 1.0 / (1.0 - self.rate)))
    }

    fn params(&self, elements: usize) -> Result<Params> {
        let (threshold, scale) = self.threshold()?;
        Ok(Params { elements: elements as u32, site: self.site, threshold, scale })
    }

    /// `to = factors · from`, each `elements` long and stored as `dtype`.
    pub(super) fn apply(
        &self,
        graph: &mut Graph,
        dtype: DType,
        from: View,
        to: View,
        elements: usize,
    ) -> Result<()> {
        let params = self.params(elements)?;
        let reads = [self.key.view, from];
        each(graph, (&FORWARD, dtype), params, &reads, &[to], elements)?.flops(elements as f64).once();
        Ok(())
    }

    /// `x = factors · x`.
    pub(super) fn apply_in_place(
        &self,
        graph: &mut Graph,
        dtype: DType,
        x: View,
        elements: usize,
    ) -> Result<()> {
        let params = self.params(elements)?;
        let dispatch = each(graph, (&IN_PLACE, dtype), params, &[self.key.view], &[x], elements)?;
        dispatch.flops(elements as f64).once_and(x.bytes as f64);
        Ok(())
    }
}

/// `x` with a share of its elements 0 and the others larger by so much that the mean stays.
///
/// # Errors
/// [`Error::Config`] for a rate that is no share; as [`Graph::output`].
pub fn dropout(graph: &mut Graph, x: &Tensor, options: &Dropout) -> Result<Tensor> {
    let elements = x.shape.elements();
    let y = graph.output_as(x.dtype, "dropout", x.shape.dims(), &[x])?;
    options.apply(graph, x.dtype, x.view, y.view, elements)?;
    let (x, options) = (x.clone(), options.clone());
    graph.on_backward(&y, move |graph, d_y| {
        let d_x = graph.output_as(x.dtype, "dropout", x.shape.dims(), &[])?;
        options.apply(graph, x.dtype, d_y.view, d_x.view, elements)?;
        graph.contribute(&x, d_x)
    });
    Ok(y)
}

/// What element `i` of `site` is multiplied by, as the kernels compute it.
pub fn factor(key: [u32; 2], site: u32, rate: f32, i: u32) -> f64 {
    let mix = |x: u32| {
        let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
        x ^ (x >> 16)
    };
    let drawn = mix(mix(i ^ mix(key[0] ^ site)) ^ key[1]);
    let kept = f64::from(drawn) >= (f64::from(rate) * 4_294_967_296.0).floor();
    if kept { 1.0 / (1.0 - f64::from(rate)) } else { 0.0 }
}

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let case = |((shape, rate), site): ((Vec<usize>, f32), u32)| {
        let key = words(7, u64::from(site));
        let inputs = Inputs::new(12).normal("x", &shape, 1.0);
        Case::new(format!("{rate} of {shape:?}"), inputs, Metric::Elementwise(1e-5))
            .gpu(move |graph, x| {
                let key = graph.constant(&key, [2], DType::U32)?;
                dropout(graph, &x[0], &Dropout { rate, key, site })
            })
            .reference(move |x| (0..).zip(&x[0]).map(|(i, x)| x * factor(key, site, rate, i)).collect())
    };
    let shapes = elementwise_shapes().into_iter().flat_map(|shape| [(shape.clone(), 0.1), (shape, 0.5)]);
    shapes.chain([(vec![129], 0.0)]).zip(0..).map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 100,000 elements are dropped.
    fn dropped(key: [u32; 2], site: u32, rate: f32) -> f64 {
        (0..100_000).filter(|&i| factor(key, site, rate, i) == 0.0).count() as f64
    }

    #[test]
    fn the_rate_is_what_was_asked_for() {
        for (site, rate) in [(0, 0.1f32), (1, 0.1), (2, 0.5), (77, 0.9)] {
            for step in 0..4 {
                let rate64 = f64::from(rate);
                // Five standard deviations of a binomial.
                let bound = 5.0 * (1e5 * rate64 * (1.0 - rate64)).sqrt();
                let count = dropped(words(3, step), site, rate);
                assert!((count - 1e5 * rate64).abs() < bound, "{count} at rate {rate}");
            }
        }
        assert_eq!(dropped(words(3, 0), 0, 0.0), 0.0);
    }

    #[test]
    fn sites_steps_seeds_and_neighbours_are_independent() {
        let kept = |key, site, i| factor(key, site, 0.5, i) > 0.0;
        let agree = |a: &dyn Fn(u32) -> bool, b: &dyn Fn(u32) -> bool| {
            let share = (0..100_000).filter(|&i| a(i) == b(i)).count() as f64 / 1e5;
            assert!((share - 0.5).abs() < 5.0 * 0.5 / 1e5f64.sqrt(), "{share}");
        };
        let base = |i| kept(words(1, 1), 1, i);
        agree(&base, &|i| kept(words(1, 1), 2, i));
        agree(&base, &|i| kept(words(1, 2), 1, i));
        agree(&base, &|i| kept(words(2, 1), 1, i));
        agree(&base, &|i| kept(words(1, 1), 1, i + 1));
        agree(&base, &|i| kept(words(1, 1), 1, i + 384));
    }
}
