//! Bringing results back to the CPU.

use super::buffer::Buffer;
use super::context::Gpu;
use crate::{Error, Result};

/// A reading that was asked for and may not have arrived yet.
#[cfg(not(target_arch = "wasm32"))]
type Arrival = std::sync::mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>;

/// Bytes that are read at once, so that reading a large tensor takes no memory of its size.
const PIECE: u64 = 16 << 20;

/// Bytes of the number that every read-back carries.
const CANARY: u64 = 4;

impl Gpu {
    /// Bytes that reading `bytes` takes on the device for a moment.
    pub fn read_back_bytes(bytes: u64) -> u64 {
        bytes.min(PIECE).next_multiple_of(4) + CANARY
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
    /// [`Error::DeviceLost`] and [`Error::Gpu`] when the driver cannot deliver, or says that it has and has not.
    pub async fn read<T: bytemuck::Pod>(&self, buffer: &Buffer, offset: u64, count: usize) -> Result<Vec<T>> {
        let mut data = vec![T::zeroed(); count];
        let mut at = offset;
        for piece in bytemuck::cast_slice_mut::<T, u8>(&mut data).chunks_mut(PIECE as usize) {
            self.read_piece(buffer, at, piece).await?;
            at += PIECE;
        }
        Ok(data)
    }

    async fn read_piece(&self, buffer: &Buffer, offset: u64, data: &mut [u8]) -> Result<()> {
        let bytes = data.len() as u64;
        // The data and, behind it, a number that no earlier read-back had.
        let padded = bytes.next_multiple_of(4);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.allocate("read-back", Self::read_back_bytes(bytes), usage)?;
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&buffer.0.raw, offset, &staging.0.raw, 0, padded);
        encoder.copy_buffer_to_buffer(&self.0.submissions.canary, 0, &staging.0.raw, padded, CANARY);
        let canary = {
            let number = self.number_read();
            self.submit(encoder.finish());
            *number
        };
        self.check("read-back")?;
        self.map(&staging).await?;
        let view = staging
            .0
            .raw
            .get_mapped_range(..)
            .map_err(|e| Error::Gpu { operation: "read-back".into(), message: e.to_string() })?;
        if view[padded as usize..] != canary.to_le_bytes() {
            let message = "the data never arrived: the driver dropped the copy and called it done";
            return Err(Error::Gpu { operation: "read-back".into(), message: message.into() });
        }
        data.copy_from_slice(&view[..bytes as usize]);
        Ok(())
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn map(&self, staging: &Buffer) -> Result<()> {
        let (sender, arrival): (_, Arrival) = std::sync::mpsc::channel();
        staging.0.raw.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only when the caller gave up; there is nobody left to tell.
            let _ = sender.send(result);
        });
        // Native wgpu answers only while it is polled.
        self.wait("read-back")?;
        match arrival.try_recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::Gpu { operation: "read-back".into(), message: error.to_string() }),
            Err(_) => Err(Error::Gpu { operation: "read-back".into(), message: "no answer".into() }),
        }
    }

    #[cfg(target_arch = "wasm32")]
    async fn map(&self, staging: &Buffer) -> Result<()> {
        use std::cell::RefCell;
        use std::rc::Rc;
        use std::task::{Poll, Waker};
        type State = (Option<Result<(), wgpu::BufferAsyncError>>, Option<Waker>);
        let state: Rc<RefCell<State>> = Rc::default();
        let shared = Rc::clone(&state);
        staging.0.raw.map_async(wgpu::MapMode::Read, .., move |result| {
            let mut state = shared.borrow_mut();
            state.0 = Some(result);
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        });
        let mapped = std::future::poll_fn(|context| {
            let mut state = state.borrow_mut();
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
        self.check("read-back")?;
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
