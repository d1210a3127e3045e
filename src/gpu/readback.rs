//! Bringing results back to the CPU.

use super::buffer::Buffer;
use super::context::Gpu;
use crate::{Error, Result};

/// What a mapping was answered with.
type Mapped = std::result::Result<(), wgpu::BufferAsyncError>;

/// Bytes that are read at once, so that reading a large tensor takes no memory of its size.
const PIECE: u64 = 16 << 20;

/// Bytes of the number that every read-back carries.
const PROOF: u64 = 4;

impl Gpu {
    /// Bytes that reading `bytes` takes on the device for a moment.
    pub fn read_back_bytes(bytes: u64) -> u64 {
        bytes.min(PIECE).next_multiple_of(4) + PROOF
    }

    /// Takes that many bytes as a read-back would, and gives them back.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn try_read_back(&self, bytes: u64) -> Result<()> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        self.allocate("the largest read-back", bytes, usage).map(drop)
    }

    /// Reads `count` elements from `offset` bytes on, after everything submitted so far. What is large comes in pieces.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] and [`Error::Gpu`] when the driver cannot deliver, [`Error::WorkLost`] when it says that it has and
    /// has not.
    pub async fn read<T: bytemuck::Pod>(&self, buffer: &Buffer, offset: u64, count: usize) -> Result<Vec<T>> {
        let mut data = vec![T::zeroed(); count];
        let mut at = offset;
        for piece in bytemuck::cast_slice_mut::<T, u8>(&mut data).chunks_mut(PIECE as usize) {
            self.begin_piece(buffer, at, piece.len() as u64)?.deliver(self, piece).await?;
            at += PIECE;
        }
        Ok(data)
    }

    /// Begins to read `bytes` from `offset` on, as they are after everything submitted so far: what is submitted later
    /// does not change what arrives. Until [`ReadBack::finish`] it takes as much memory of the device as it reads.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::DeviceLost`] and [`Error::Gpu`].
    pub fn begin_read(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<ReadBack> {
        let starts = (0..bytes).step_by(PIECE as usize);
        let piece = |start: u64| self.begin_piece(buffer, offset + start, PIECE.min(bytes - start));
        Ok(ReadBack { gpu: self.clone(), bytes, pieces: starts.map(piece).collect::<Result<_>>()? })
    }

    fn begin_piece(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Piece> {
        // The data and, behind it, a number that no earlier read-back had.
        let padded = bytes.next_multiple_of(4);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.allocate("read-back", Self::read_back_bytes(bytes), usage)?;
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&buffer.0.raw, offset, &staging.0.raw, 0, padded);
        encoder.copy_buffer_to_buffer(&self.0.submissions.proof, 0, &staging.0.raw, padded, PROOF);
        let (submission, proof) = {
            let number = self.number_read();
            (self.submit(encoder.finish()), *number)
        };
        self.check("read-back")?;
        let arrival = Arrival::of(&staging);
        Ok(Piece { staging, padded, proof, submission, arrival })
    }
}

/// A read-back that was submitted and may not have arrived yet.
#[derive(Debug)]
pub struct ReadBack {
    gpu: Gpu,
    bytes: u64,
    pieces: Vec<Piece>,
}

impl ReadBack {
    /// [`ReadBack::finish`], where `each` is lent what has arrived, piece by piece and in their order, as the driver has mapped
    /// it: it is copied nowhere else.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn lend<T: bytemuck::Pod>(self, mut each: impl FnMut(&[T])) -> Result<()> {
        let mut left = self.bytes;
        for piece in self.pieces {
            let bytes = left.min(PIECE);
            left -= bytes;
            piece.lend(&self.gpu, |view| each(bytemuck::cast_slice(&view[..bytes as usize]))).await?;
        }
        Ok(())
    }

    /// Waits for the elements, and for nothing that was submitted after them.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn finish<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        let mut data = vec![T::zeroed(); self.bytes as usize / size_of::<T>()];
        let into = bytemuck::cast_slice_mut::<T, u8>(&mut data).chunks_mut(PIECE as usize);
        for (piece, into) in self.pieces.into_iter().zip(into) {
            piece.deliver(&self.gpu, into).await?;
        }
        Ok(data)
    }
}

/// A part of a read-back.
#[derive(Debug)]
struct Piece {
    staging: Buffer,
    /// Where the number stands behind the data.
    padded: u64,
    proof: u32,
    /// None where the submission was lost on purpose, in a test.
    submission: Option<wgpu::SubmissionIndex>,
    arrival: Arrival,
}

impl Piece {
    /// Waits for the data.
    async fn deliver(self, gpu: &Gpu, data: &mut [u8]) -> Result<()> {
        self.arrival.wait(gpu, self.submission).await?;
        data.copy_from_slice(&arrived(&self.staging, self.padded, self.proof)?[..data.len()]);
        Ok(())
    }

    /// Waits for the data, which `take` is lent with what it was padded with.
    #[cfg(not(target_arch = "wasm32"))]
    async fn lend(self, gpu: &Gpu, take: impl FnOnce(&[u8])) -> Result<()> {
        self.arrival.wait(gpu, self.submission).await?;
        take(&arrived(&self.staging, self.padded, self.proof)?);
        Ok(())
    }
}

/// What was mapped, with `proof` behind its `padded` bytes.
fn arrived(staging: &Buffer, padded: u64, proof: u32) -> Result<wgpu::BufferView> {
    let failed = |message: String| Error::Gpu { operation: "read-back".into(), message };
    let view = staging.0.raw.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
    if view[padded as usize..] != proof.to_le_bytes() {
        let message = "the data never arrived: the driver dropped the copy and called it done";
        return Err(Error::WorkLost { operation: "read-back".into(), message: message.into() });
    }
    Ok(view)
}

/// The answer to a mapping, which comes at some time.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
struct Arrival(std::sync::mpsc::Receiver<Mapped>);

#[cfg(not(target_arch = "wasm32"))]
impl Arrival {
    fn of(staging: &Buffer) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.0.raw.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only when the caller gave up; there is nobody left to tell.
            let _ = sender.send(result);
        });
        Arrival(receiver)
    }

    async fn wait(self, gpu: &Gpu, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        // Native wgpu answers only while it is polled.
        gpu.wait_for("read-back", submission)?;
        let failed = |message: String| Error::Gpu { operation: "read-back".into(), message };
        match self.0.try_recv() {
            Ok(mapped) => mapped.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed("no answer".into())),
        }
    }
}

/// The answer to a mapping, and who is to be woken by it.
#[cfg(target_arch = "wasm32")]
#[derive(Debug)]
struct Arrival(std::rc::Rc<std::cell::RefCell<(Option<Mapped>, Option<std::task::Waker>)>>);

#[cfg(target_arch = "wasm32")]
impl Arrival {
    fn of(staging: &Buffer) -> Self {
        let arrival = Arrival(std::rc::Rc::default());
        let shared = std::rc::Rc::clone(&arrival.0);
        staging.0.raw.map_async(wgpu::MapMode::Read, .., move |result| {
            let mut state = shared.borrow_mut();
            state.0 = Some(result);
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        });
        arrival
    }

    async fn wait(self, gpu: &Gpu, _: Option<wgpu::SubmissionIndex>) -> Result<()> {
        use std::task::Poll;
        let mapped = std::future::poll_fn(|context| {
            let mut state = self.0.borrow_mut();
            match state.0.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    state.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
        .map_err(|e| Error::Gpu { operation: "read-back".into(), message: e.to_string() });
        if mapped.is_err() {
            // A browser tells that the device was lost after it has failed what waited for it.
            turn().await;
        }
        gpu.check("read-back")?;
        mapped
    }
}

/// Lets the browser deliver what it has to tell, for a twentieth of a second.
#[cfg(target_arch = "wasm32")]
async fn turn() {
    use wasm_bindgen::{JsCast, JsValue};
    let later = js_sys::Promise::new(&mut |resolve, _| {
        let global = js_sys::global();
        let timer = js_sys::Reflect::get(&global, &JsValue::from_str("setTimeout"));
        if let Some(timer) = timer.ok().and_then(|timer| timer.dyn_into::<js_sys::Function>().ok()) {
            // Every place where WebGPU is has timers.
            let _ = timer.call2(&global, &resolve, &JsValue::from_f64(50.0));
        }
    });
    let _ = wasm_bindgen_futures::JsFuture::from(later).await;
}
