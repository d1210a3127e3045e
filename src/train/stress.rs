//! Whether a device computes the same bits every time. Where barriers order less than a kernel counts on, results change
//! from run to run, mostly under load: so large work is repeated and compared bit by bit.

use half::f16;
use serde::Serialize;

use crate::Result;
use crate::autograd::Graph;
use crate::gpu::{AdapterKind, Buffer, Gpu, Recording};
use crate::ops::attention::{Form, Heads, attention_as};
use crate::ops::check::Worst;
use crate::ops::cross_entropy::cross_entropy;
use crate::ops::matmul::{Affine, Layout, feed_forward};
use crate::ops::measure::{filling, matmul_recording};
use crate::optim;
use crate::tensor::{DType, Tensor};

/// How much is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// How often each work is repeated.
    pub replays: usize,
    /// Edge of the matrices of a product.
    pub product: usize,
    /// B, T and H of an attention whose heads are 64 wide.
    pub attention: [usize; 3],
    /// Rows and classes of a cross entropy.
    pub cross_entropy: [usize; 2],
    /// Elements of a gradient whose norm is taken.
    pub norm: usize,
}

impl Sizes {
    /// What keeps a GPU busy, or a CPU for not too long.
    pub fn of(kind: AdapterKind) -> Self {
        match kind {
            AdapterKind::Gpu => Sizes {
                replays: 20,
                product: 1024,
                attention: [8, 512, 12],
                cross_entropy: [512, 32768],
                norm: 32 << 20,
            },
            AdapterKind::Cpu => Sizes {
                replays: 2,
                product: 256,
                attention: [1, 128, 2],
                cross_entropy: [16, 2048],
                norm: 1 << 20,
            },
        }
    }
}

/// How one work came out.
#[derive(Debug, Clone, Serialize)]
pub struct Stressed {
    /// What was computed, with its sizes.
    pub work: String,
    /// How activations were stored.
    pub storage: DType,
    /// Whether products ran on matrix units.
    pub matrix_units: bool,
    /// How often it was computed.
    pub replays: usize,
    /// How many replays gave other bits than the first one.
    pub different: usize,
    /// The normalized mean squared error to the kernels without matrix units, where it was compared with them.
    pub error: Option<f64>,
}

/// The bound of [`Stressed::error`]. Results that are stored as f16 were rounded to 11 bits. Sums of f32 in another order
/// differ by far less, and operands that a device rounds to the 11 bits of TF32 by more.
pub fn bound(storage: DType) -> f64 {
    match storage {
        DType::F16 => 1e-6,
        DType::F32 | DType::U32 => 1e-11,
    }
}

impl Stressed {
    /// Whether all bits were the same, and the result that of other kernels where it was compared.
    pub fn passed(&self) -> bool {
        self.different == 0 && self.error.is_none_or(|error| error <= bound(self.storage))
    }
}

/// Something to repeat, and where its results lie.
struct Work {
    name: String,
    storage: DType,
    recording: Recording,
    /// Each with how its elements are stored, and how many there are.
    results: Vec<(Buffer, DType, usize)>,
}

impl Work {
    async fn results(&self, gpu: &Gpu) -> Result<Vec<Vec<u32>>> {
        let mut read = Vec::new();
        for (buffer, dtype, elements) in &self.results {
            read.push(gpu.read(buffer, 0, words(*elements, *dtype)).await?);
        }
        Ok(read)
    }

    /// Repeats it; with what it gave first.
    async fn repeat(&self, gpu: &Gpu, replays: usize) -> Result<(Stressed, Vec<Vec<u32>>)> {
        let mut first = Vec::new();
        let mut different = 0;
        for replay in 0..replays {
            // What is left of the last replay must not pass for a result of this one.
            for (buffer, dtype, elements) in &self.results {
                gpu.write(buffer, 0, &vec![crate::ops::check::POISON; words(*elements, *dtype)]);
            }
            self.recording.replay()?;
            let results = self.results(gpu).await?;
            if replay == 0 {
                first = results;
            } else if results != first {
                different += 1;
            }
        }
        let on_units = gpu.capabilities().matrix_operands.map(DType::from);
        let matrix_units = on_units == Some(self.storage);
        let (work, storage) = (self.name.clone(), self.storage);
        Ok((Stressed { work, storage, matrix_units, replays, different, error: None }, first))
    }
}

/// Makes a work of these sizes, activations stored as the type says.
type Make = fn(&Gpu, Sizes, DType) -> Result<Work>;

/// Repeats products in three layouts, attention in both forms with its gradients, cross entropy with its gradient and the norm of a
/// gradient, stored as f32 and, where the device has it, as f16. `done` is told each as soon as it is known.
///
/// # Errors
/// As [`Gpu::read`] and those of the operations.
pub async fn stress(gpu: &Gpu, sizes: Sizes, mut done: impl FnMut(&Stressed)) -> Result<Vec<Stressed>> {
    let mut all = Vec::new();
    let halves = gpu.capabilities().f16.then_some(DType::F16);
    for storage in [DType::F32].into_iter().chain(halves) {
        let kinds: [Make; 6] = [
            |gpu, sizes, storage| product(gpu, Layout::Nt, storage, sizes.product),
            |gpu, sizes, storage| product(gpu, Layout::Nn, storage, sizes.product),
            |gpu, sizes, storage| product(gpu, Layout::Tn, storage, sizes.product),
            |gpu, sizes, storage| attention_work(gpu, Form::Unfused, sizes, storage),
            |gpu, sizes, storage| attention_work(gpu, Form::Fused, sizes, storage),
            cross_entropy_work,
        ];
        for make in kinds {
            let (stressed, _) = make(gpu, sizes, storage)?.repeat(gpu, sizes.replays).await?;
            done(&stressed);
            all.push(stressed);
        }
    }
    let (stressed, _) = norm_work(gpu, sizes.norm)?.repeat(gpu, sizes.replays).await?;
    done(&stressed);
    all.push(stressed);
    Ok(all)
}

/// Repeats the products that `units` multiplies on its matrix units, alone and with all that they take along (biases, GELU
/// and its slope, a residual) and their gradients, and compares them with those of `plain`, the same device opened
/// without; none where it has no units.
///
/// # Errors
/// As [`stress`].
pub async fn stress_units(units: &Gpu, plain: &Gpu, sizes: Sizes) -> Result<Vec<Stressed>> {
    let mut all = Vec::new();
    let Some(storage) = units.capabilities().matrix_operands.map(DType::from) else { return Ok(all) };
    // The second one has edges everywhere, and takes smaller tiles.
    for shape in [[sizes.product; 3], [132, 196, 1028]] {
        for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
            let make = |gpu: &Gpu| product_of(gpu, layout, storage, shape);
            all.push(compared(make(units)?, units, make(plain)?, plain, sizes.replays).await?);
        }
        let make = |gpu: &Gpu| feed_forward_work(gpu, storage, shape);
        all.push(compared(make(units)?, units, make(plain)?, plain, sizes.replays).await?);
    }
    Ok(all)
}

/// Repeats a work on matrix units, and compares its results with those of the same work without.
async fn compared(work: Work, units: &Gpu, same: Work, plain: &Gpu, replays: usize) -> Result<Stressed> {
    let (mut stressed, found) = work.repeat(units, replays).await?;
    let (_, expected) = same.repeat(plain, 1).await?;
    let errors = work.results.iter().zip(found.iter().zip(&expected));
    let errors = errors.map(|((_, dtype, _), (found, expected))| difference(*dtype, found, expected));
    let mut worst = Worst::none(());
    errors.for_each(|error| worst.note(error, || ()));
    stressed.error = Some(worst.error);
    Ok(stressed)
}

/// The normalized mean squared error of elements that are stored as the type says.
fn difference(storage: DType, found: &[u32], expected: &[u32]) -> f64 {
    let elements = |words: &[u32]| -> Vec<f64> {
        let half = |bits: u32| f64::from(f16::from_bits(bits as u16));
        match storage {
            DType::F16 => words.iter().flat_map(|&word| [half(word), half(word >> 16)]).collect(),
            DType::F32 | DType::U32 => words.iter().map(|&word| f64::from(f32::from_bits(word))).collect(),
        }
    };
    let (found, expected) = (elements(found), elements(expected));
    let error: f64 = found.iter().zip(&expected).map(|(x, y)| (x - y).powi(2)).sum();
    let power: f64 = expected.iter().map(|y| y * y).sum();
    error / power.max(1e-30)
}

fn words(elements: usize, storage: DType) -> usize {
    elements * storage.bytes() as usize / 4
}

fn product(gpu: &Gpu, layout: Layout, storage: DType, size: usize) -> Result<Work> {
    product_of(gpu, layout, storage, [size; 3])
}

fn product_of(gpu: &Gpu, layout: Layout, storage: DType, [m, n, k]: [usize; 3]) -> Result<Work> {
    let (recording, result) = matmul_recording(gpu, layout, storage, [m, n, k])?;
    let name = format!("product {layout:?} {m} x {n} x {k}").to_lowercase();
    Ok(Work { name, storage, recording, results: vec![(result, storage, m * n)] })
}

/// A feed-forward block over N rows of width C with an inner width of F, with its gradients.
fn feed_forward_work(gpu: &Gpu, storage: DType, [n, f, c]: [usize; 3]) -> Result<Work> {
    let mut graph = Graph::training(gpu).with_storage(storage);
    let mut gradients = Vec::new();
    let mut parameter = |graph: &mut Graph, label: &str, shape: &[usize], dtype| -> Result<Tensor> {
        let elements = shape.iter().product();
        let gradient = gpu.buffer("a gradient", elements as u64 * 4)?;
        let view = graph.recorder().bind(&(&gradient).into());
        graph.recorder().clear(view);
        let tensor = graph.parameter_as(dtype, &values(gpu, label, elements, dtype)?, &gradient, shape)?;
        gradients.push((gradient, DType::F32, elements));
        Ok(tensor)
    };
    let x = parameter(&mut graph, "x", &[n, c], storage)?;
    let mut layer = |graph: &mut Graph, shape: [usize; 2]| -> Result<Affine> {
        let weight = parameter(graph, "a weight", &shape, storage)?;
        Ok(Affine { weight, bias: Some(parameter(graph, "a bias", &shape[..1], DType::F32)?) })
    };
    let layers = [layer(&mut graph, [f, c])?, layer(&mut graph, [c, f])?];
    let y = feed_forward(&mut graph, &x, [&layers[0], &layers[1]], Some(&x))?;
    let kept = graph.keep(gpu, "y", y.view())?;
    let upstream = values(gpu, "d_y", n * c, storage)?;
    let d_y = graph.input(&upstream, [n, c], storage)?;
    graph.backward(&y, d_y)?;
    let recording = graph.finish(gpu, "feed-forward")?;
    let results = [vec![(kept, storage, n * c)], gradients].concat();
    Ok(Work { name: format!("feed-forward {n} x {c} x {f}"), storage, recording, results })
}

/// Made-up values, stored as `storage`.
fn values(gpu: &Gpu, label: &str, count: usize, storage: DType) -> Result<Buffer> {
    let values = (0..count).map(filling);
    match storage {
        DType::F16 => gpu.upload(label, &values.map(f16::from_f32).collect::<Vec<_>>()),
        DType::F32 | DType::U32 => gpu.upload(label, &values.collect::<Vec<_>>()),
    }
}

fn attention_work(gpu: &Gpu, form: Form, sizes: Sizes, storage: DType) -> Result<Work> {
    const SIZE: usize = 64;
    const BUCKETS: usize = 32;
    let [sequences, tokens, count] = sizes.attention;
    let (rows, width) = (sequences * tokens, count * SIZE);
    let qkv = values(gpu, "queries, keys and values", rows * 3 * width, storage)?;
    let d_qkv = gpu.buffer("their gradient", (rows * 3 * width * 4) as u64)?;
    let distances = values(gpu, "distances", BUCKETS * SIZE, storage)?;
    let d_distances = gpu.buffer("their gradient", (BUCKETS * SIZE * 4) as u64)?;
    let mut graph = Graph::training(gpu).with_storage(storage);
    for gradient in [&d_qkv, &d_distances] {
        let view = graph.recorder().bind(&gradient.into());
        graph.recorder().clear(view);
    }
    let heads = Heads { sequences, tokens, heads: count, padding: 0 };
    let x = graph.parameter_as(storage, &qkv, &d_qkv, [rows, 3 * width])?;
    let by_distance = graph.parameter_as(storage, &distances, &d_distances, [BUCKETS, SIZE])?;
    let bounds = graph.constant(&vec![[0, tokens as u32]; rows], [rows, 2], DType::U32)?;
    let y = attention_as(form, &mut graph, &x, Some(&by_distance), &bounds, heads, None)?;
    let upstream = values(gpu, "d_y", rows * width, storage)?;
    let d_y = graph.input(&upstream, [rows, width], storage)?;
    graph.backward(&y, d_y)?;
    let recording = graph.finish(gpu, "attention")?;
    let results = vec![(d_qkv, DType::F32, rows * 3 * width), (d_distances, DType::F32, BUCKETS * SIZE)];
    let name = format!("{form:?} attention, B {sequences}, H {count}, T {tokens}").to_lowercase();
    Ok(Work { name, storage, recording, results })
}

fn cross_entropy_work(gpu: &Gpu, sizes: Sizes, storage: DType) -> Result<Work> {
    let [rows, classes] = sizes.cross_entropy;
    let logits = values(gpu, "logits", rows * classes, storage)?;
    let gradient = gpu.buffer("their gradient", (rows * classes * 4) as u64)?;
    let mut graph = Graph::training(gpu).with_storage(storage);
    let view = graph.recorder().bind(&(&gradient).into());
    graph.recorder().clear(view);
    let x = graph.parameter_as(storage, &logits, &gradient, [rows, classes])?;
    let labels: Vec<u32> = (0..rows as u32).map(|row| row * 37 % classes as u32).collect();
    let labels = graph.constant(&labels, [rows], DType::U32)?;
    let weights = graph.constant(&vec![1f32; rows], [rows], DType::F32)?;
    let y = cross_entropy(&mut graph, &x, &labels, &weights, classes)?;
    let loss = graph.keep(gpu, "losses", y.loss.view())?;
    let ones = graph.constant(&vec![1f32; rows], [rows], DType::F32)?;
    graph.backward(&y.loss, ones)?;
    let recording = graph.finish(gpu, "cross entropy")?;
    let results = vec![(loss, DType::F32, rows), (gradient, DType::F32, rows * classes)];
    Ok(Work { name: format!("cross entropy, {rows} x {classes}"), storage, recording, results })
}

fn norm_work(gpu: &Gpu, elements: usize) -> Result<Work> {
    let gradient = values(gpu, "a gradient", elements, DType::F32)?;
    let (recording, partials, count) = optim::norm_recording(gpu, &gradient)?;
    let name = format!("norm of {elements} elements");
    Ok(Work { name, storage: DType::F32, recording, results: vec![(partials, DType::F32, count)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums in another order pass, operands rounded to fewer bits do not.
    #[test]
    fn bounds_tell_rounding_from_other_arithmetic() {
        const TERMS: usize = 1024;
        let product = |round: fn(f32) -> f32, parts: usize| -> Vec<f32> {
            let term = |i: usize, k: usize| round(filling(i * 31 + k)) * round(filling(i * 57 + 3 * k + 1));
            let part = |i: usize, part: usize| {
                (0..TERMS / parts).map(|k| term(i, part * TERMS / parts + k)).sum::<f32>()
            };
            (0..64).map(|i| (0..parts).map(|p| part(i, p)).sum()).collect()
        };
        let to = |storage, round, parts| -> Vec<u32> {
            let values = product(round, parts);
            match storage {
                DType::F16 => values
                    .chunks(2)
                    .map(|pair| {
                        let [low, high] = [pair[0], pair[1]].map(|x| u32::from(f16::from_f32(x).to_bits()));
                        low | high << 16
                    })
                    .collect(),
                DType::F32 | DType::U32 => values.iter().map(|x| x.to_bits()).collect(),
            }
        };
        let tf32 = |x: f32| f32::from_bits((x.to_bits() + 0x1000) & !0x1fff);
        for storage in [DType::F32, DType::F16] {
            let expected = to(storage, |x| x, 1);
            let error = difference(storage, &to(storage, |x| x, 32), &expected);
            assert!(error <= bound(storage) / 10.0, "{storage:?}: {error:e}");
            assert!(
                difference(storage, &expected, &expected[..].iter().map(|x| x ^ 1 << 14).collect::<Vec<_>>())
                    > bound(storage)
            );
        }
        let error = difference(DType::F32, &to(DType::F32, tf32, 1), &to(DType::F32, |x| x, 1));
        assert!(error > 10.0 * bound(DType::F32), "{error:e}");
    }
}
