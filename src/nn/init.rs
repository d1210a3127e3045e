//! The values training starts from.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::declare::{Init, ParameterSpec};
use crate::hash::fnv1a;
use crate::random::{self, unit};

/// Values that one random stream fills; even, because normal values come in pairs.
const CHUNK: usize = 1 << 14;

/// A parameter's first values: a function of the seed, its name and its shape alone, whatever the order of the
/// parameters or the number of threads. Normal values come from the Box-Muller transform of ChaCha8 numbers.
pub fn initial_values(spec: &ParameterSpec, seed: u64) -> Vec<f32> {
    let mut values = vec![0.0f32; spec.elements()];
    match spec.init {
        Init::Zeros => {}
        Init::Ones => values.fill(1.0),
        Init::Normal(deviation) => {
            each_chunk(&mut values, |index, chunk| normal(chunk, deviation, stream(&spec.name, seed, index)));
        }
        Init::Uniform(bound) => {
            each_chunk(&mut values, |index, chunk| uniform(chunk, bound, stream(&spec.name, seed, index)));
        }
    }
    values
}

#[cfg(not(target_arch = "wasm32"))]
fn each_chunk(values: &mut [f32], fill: impl Fn(usize, &mut [f32]) + Sync) {
    use rayon::prelude::*;
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(index, chunk)| fill(index, chunk));
}

#[cfg(target_arch = "wasm32")]
fn each_chunk(values: &mut [f32], fill: impl Fn(usize, &mut [f32])) {
    values.chunks_mut(CHUNK).enumerate().for_each(|(index, chunk)| fill(index, chunk));
}

/// The generator of one chunk of one tensor.
fn stream(name: &str, seed: u64, chunk: usize) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&fnv1a(name.as_bytes()).to_le_bytes());
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(chunk as u64);
    generator
}

fn uniform(chunk: &mut [f32], bound: f64, mut generator: ChaCha8Rng) {
    for value in chunk {
        *value = ((2.0 * unit(generator.next_u64()) - 1.0) * bound) as f32;
    }
}

fn normal(chunk: &mut [f32], deviation: f64, mut generator: ChaCha8Rng) {
    for pair in chunk.chunks_mut(2) {
        // 1 - u is in (0, 1], so that the logarithm is finite.
        let uniform = [1.0 - unit(generator.next_u64()), unit(generator.next_u64())];
        for (value, normal) in pair.iter_mut().zip(random::normal(uniform, deviation)) {
            *value = normal as f32;
        }
    }
}
