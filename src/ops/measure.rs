//! How fast an adapter is at what training is made of: `wgrad doctor` and the benchmarks ask here.

use web_time::Instant;

use super::attention::{Form, Heads, attention_as};
use super::matmul::{Layout, Matrix, Product, product};
use crate::autograd::Graph;
use crate::gpu::{AdapterKind, Buffer, Gpu, Recorder, Recording};
use crate::tensor::DType;
use crate::{Error, Result};

/// Replays in one timing at most, so that the queue stays short.
const MOST_REPLAYS: f64 = 1000.0;

/// Element `i` of what is measured with: between -1 and 1, and with bits that change everywhere, which draw the power
/// that real data draws.
pub fn filling(i: usize) -> f32 {
    (i * 7919 % 1013) as f32 / 506.5 - 1.0
}

/// Seconds that one replay of `recording` takes when many follow each other: the mean over as many as last about
/// `budget` seconds, after one that warms up. `watched` is any buffer; reading from it waits for the device.
///
/// # Errors
/// As [`Recording::replay`] and [`Gpu::read`].
pub async fn seconds(gpu: &Gpu, recording: &Recording, watched: &Buffer, budget: f64) -> Result<f64> {
    let mut count = 1.0;
    let mut taken = 0.0;
    // The first round compiles and allocates what drivers leave for later, the second one estimates.
    for round in 0..3 {
        let began = Instant::now();
        recording.repeat(count as usize)?;
        gpu.read::<u32>(watched, 0, 1).await?;
        taken = began.elapsed().as_secs_f64() / count;
        if round == 1 {
            if taken >= budget {
                break;
            }
            count = (budget / taken.max(1e-9)).round().clamp(1.0, MOST_REPLAYS);
        }
    }
    Ok(taken)
}

/// Speed of f32 matrix products `c [m, n] = a · b` with an inner size of `k`, with the operands laid out as
/// `layout` says, in GFLOP/s (`2 m n k` operations each), measured for about `budget` seconds.
///
/// # Errors
/// [`crate::Error::Shape`] for sizes that are no multiples of 4; [`crate::Error::Limit`] for matrices larger than a
/// binding; as [`seconds`].
pub async fn matmul(gpu: &Gpu, layout: Layout, sizes: [usize; 3], budget: f64) -> Result<f64> {
    matmul_stored(gpu, layout, DType::F32, sizes, budget).await
}

/// [`matmul`] with all three matrices stored as `storage`: f32, or f16, which takes the matrix units where the device
/// was opened with them. Sums are in f32 always.
///
/// # Errors
/// As [`matmul`]; those of f16 on a device without it.
pub async fn matmul_stored(
    gpu: &Gpu,
    layout: Layout,
    storage: DType,
    sizes: [usize; 3],
    budget: f64,
) -> Result<f64> {
    let (recording, watched) = matmul_recording(gpu, layout, storage, sizes)?;
    let taken = seconds(gpu, &recording, &watched, budget).await?;
    Ok(2.0 * sizes.iter().product::<usize>() as f64 / taken / 1e9)
}

/// A buffer of so many elements of [`filling`].
fn filled(gpu: &Gpu, storage: DType, elements: usize) -> Result<Buffer> {
    let values = (0..elements).map(filling);
    match storage {
        DType::F16 => gpu.upload("f16", &values.map(half::f16::from_f32).collect::<Vec<_>>()),
        _ => gpu.upload("f32", &values.collect::<Vec<_>>()),
    }
}

/// What [`matmul_stored`] replays, and the buffer it writes.
///
/// # Errors
/// As [`matmul_stored`].
pub fn matmul_recording(
    gpu: &Gpu,
    layout: Layout,
    storage: DType,
    [m, n, k]: [usize; 3],
) -> Result<(Recording, Buffer)> {
    let (a, b) = match layout {
        Layout::Nt => ([m, k], [n, k]),
        Layout::Nn => ([m, k], [k, n]),
        Layout::Tn => ([k, m], [k, n]),
    };
    let mut graph = Graph::inference(gpu).with_storage(storage);
    let mut matrix = |[rows, columns]: [usize; 2]| -> Result<(Matrix, Buffer)> {
        let buffer = filled(gpu, storage, rows * columns)?;
        Ok((Matrix::whole(graph.recorder().bind(&(&buffer).into()), columns), buffer))
    };
    let ((a, _), (b, _), (c, watched)) = (matrix(a)?, matrix(b)?, matrix([m, n])?);
    product(&mut graph, Product::single(layout, storage, [m, n, k]), a, b, c)?;
    Ok((graph.finish(gpu, "matrix product")?, watched))
}

/// The speed of the fastest large square product, in GFLOP/s: what the speeds of other work are held against. Each
/// layout is measured for about `budget` seconds.
///
/// # Errors
/// As [`matmul`].
pub async fn matmul_peak(gpu: &Gpu, budget: f64) -> Result<f64> {
    // A product that is cut for an assumed speed is slower than the device.
    settle_speed(gpu).await?;
    // Large enough to keep a fast GPU busy, and not to keep a CPU busy for minutes.
    let size = match gpu.capabilities().kind {
        AdapterKind::Cpu => 1024,
        AdapterKind::Gpu => 4096,
    };
    let mut peak: f64 = 0.0;
    for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
        peak = peak.max(matmul(gpu, layout, [size; 3], budget).await?);
    }
    Ok(peak)
}

/// Measures how fast matrix products are, once for a device, and sizes for it what is recorded from now on, so that no
/// dispatch takes long: see [`Gpu::set_speed`]. It takes some hundredths of a second, and more on slow devices. Where
/// there is no memory for it, a speed is assumed.
///
/// # Errors
/// As [`matmul`], but for [`Error::OutOfMemory`].
pub async fn settle_speed(gpu: &Gpu) -> Result<()> {
    if gpu.knows_speed() {
        return Ok(());
    }
    // Not as large as a GPU needs to be at its fastest: dispatches come out rather too short.
    let size = match gpu.capabilities().kind {
        AdapterKind::Cpu => 512,
        AdapterKind::Gpu => 1024,
    };
    match matmul(gpu, Layout::Nt, [size; 3], 0.01).await {
        Ok(gigaflops) => gpu.set_speed(1e9 * gigaflops),
        Err(Error::OutOfMemory { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Seconds of one attention, forward alone and forward with backward, each measured for about `budget` seconds:
/// `heads` of `size` (D) over unpadded sequences, with `buckets` relative positions (0 for none), in this form, all stored
/// as `storage`: f16 takes the matrix units where the device was opened with them.
///
/// # Errors
/// As [`attention_as`] and [`seconds`]; those of f16 on a device without it.
pub async fn attention_seconds(
    gpu: &Gpu,
    (form, storage): (Form, DType),
    heads: Heads,
    size: usize,
    buckets: usize,
    budget: f64,
) -> Result<(f64, f64)> {
    let (rows, width) = (heads.sequences * heads.tokens, heads.heads * size);
    let of_gradient = |count: usize| gpu.buffer("a gradient", count as u64 * DType::F32.bytes());
    let (qkv, d_qkv) = (filled(gpu, storage, rows * 3 * width)?, of_gradient(rows * 3 * width)?);
    let by_distance = (buckets * size).max(4);
    let (distances, d_distances) = (filled(gpu, storage, by_distance)?, of_gradient(by_distance)?);
    let d_y = filled(gpu, storage, rows * width)?;
    let record = |graph: Graph| -> Result<Recording> {
        let mut graph = graph.with_storage(storage);
        let qkv = graph.parameter_as(storage, &qkv, &d_qkv, [rows, 3 * width])?;
        let distances = match buckets {
            0 => None,
            _ => Some(graph.parameter_as(storage, &distances, &d_distances, [buckets, size])?),
        };
        let bounds = vec![[0, heads.tokens as u32]; rows];
        let bounds = graph.constant(&bounds, [rows, 2], DType::U32)?;
        let y = attention_as(form, &mut graph, &qkv, distances.as_ref(), &bounds, heads, None)?;
        if y.needs_gradient() {
            let d_y = graph.input(&d_y, [rows, width], storage)?;
            graph.backward(&y, d_y)?;
        }
        graph.finish(gpu, "attention")
    };
    let forward = seconds(gpu, &record(Graph::inference(gpu))?, &qkv, budget).await?;
    let both = seconds(gpu, &record(Graph::training(gpu))?, &qkv, budget).await?;
    Ok((forward, both))
}

/// Speed of copying `bytes` from buffer to buffer in GB/s, bytes read and bytes written both counted, measured for
/// about `budget` seconds.
///
/// # Errors
/// [`crate::Error::Limit`] for more bytes than a buffer holds; as [`seconds`].
pub async fn copy(gpu: &Gpu, bytes: u64, budget: f64) -> Result<f64> {
    let (from, to) = (gpu.buffer("a copy's source", bytes)?, gpu.buffer("a copy", bytes)?);
    let mut recorder = Recorder::new(gpu);
    let (source, target) = (recorder.bind(&(&from).into()), recorder.bind(&(&to).into()));
    recorder.copy(source, target);
    let recording = recorder.finish(gpu, "copy")?;
    let taken = seconds(gpu, &recording, &to, budget).await?;
    Ok(2.0 * bytes as f64 / taken / 1e9)
}
