//! What a page calls: devices, files in memory, models and training runs as JavaScript objects.
//!
//! Everything that waits is a promise; everything structured crosses as JSON text. The JavaScript package in `web/`
//! wraps these for people; nothing here knows a page.

mod attention;
mod classify;
mod embed;
mod fill;
mod tag;
mod text;
mod train;

use std::cell::{Cell, RefCell};
use std::str::FromStr;

use js_sys::Uint8Array;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use self::embed::Embedder;
use crate::files::ModelFolder;
use crate::files::weights::Dtype;
use crate::gpu::{AdapterKind, Gpu, GpuOptions};
use crate::ops::measure::settle_speed;
use crate::store::Memory;
use crate::tensor::DType;
use crate::{Error, Result};

#[wasm_bindgen]
unsafe extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(text: &str);
}

/// Tells the console of panics, which end the module: the page then starts another.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info| console_error(&info.to_string())));
}

/// An error as JavaScript knows it: its name is the kind, its message the line that the program would print.
impl From<Error> for JsValue {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NoAdapter { .. } => "NoAdapter",
            Error::DeviceLost { .. } => "DeviceLost",
            Error::WorkLost { .. } => "WorkLost",
            Error::OutOfMemory { .. } => "OutOfMemory",
            Error::File { .. } | Error::Newer { .. } | Error::Line { .. } | Error::Io { .. } => "FileError",
            Error::Config { .. } => "ConfigError",
            Error::WrongResult { .. } => "WrongResult",
            _ => "WgradError",
        };
        let value = js_sys::Error::new(&error.to_string());
        value.set_name(kind);
        value.into()
    }
}

/// A structure of numbers, texts and lists as JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The settings of a call, from JSON.
fn settings<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::config("options", "the options of this call", error))
}

/// A WebGPU device.
#[wasm_bindgen]
pub struct Device {
    options: GpuOptions,
    gpu: RefCell<Gpu>,
}

#[wasm_bindgen]
impl Device {
    /// Opens the browser's device. `kind`, `plain` or `software`, chooses the kernels instead of the adapter.
    pub async fn open(kind: Option<String>) -> Result<Device> {
        let kind = kind.as_deref().map(AdapterKind::from_str).transpose()?;
        // Whatever was trained on an adapter can be run on it.
        let options = GpuOptions { kind, max_binding: Some(u64::MAX), ..GpuOptions::default() };
        let gpu = RefCell::new(Gpu::open(&options).await?);
        Ok(Device { options, gpu })
    }

    /// What the device offers, as JSON.
    pub fn about(&self) -> String {
        json(self.gpu.borrow().capabilities())
    }

    /// Gives the device back to the browser.
    pub fn close(&self) {
        self.gpu.borrow().destroy();
    }
}

impl Device {
    fn gpu(&self) -> Gpu {
        self.gpu.borrow().clone()
    }

    /// The device, opened anew if it was lost. Its speed is known, by which everything that is recorded on it is cut.
    async fn working(&self) -> Result<Gpu> {
        let mut gpu = self.gpu();
        if matches!(gpu.check("opening"), Err(Error::DeviceLost { .. })) {
            gpu = Gpu::open(&self.options).await?;
            self.gpu.replace(gpu.clone());
        }
        settle_speed(&gpu).await?;
        Ok(gpu)
    }
}

/// A model that serves one call at a time. A call takes it away and brings it back, so that nothing stays borrowed while
/// the call waits for the device.
struct Serving<T> {
    task: &'static str,
    model: Cell<Option<T>>,
}

impl<T> Serving<T> {
    fn new(task: &'static str, model: T) -> Self {
        Serving { task, model: Cell::new(Some(model)) }
    }

    async fn call<R>(&self, work: impl AsyncFnOnce(&mut T) -> Result<R>) -> Result<R> {
        let busy = || Error::config(self.task, "one call at a time", "another that is running");
        let mut model = self.model.take().ok_or_else(busy)?;
        let result = work(&mut model).await;
        self.model.set(Some(model));
        result
    }
}

/// How activations of a folder's model are stored: as asked, or else as its weights are; f32 where the device has no f16.
fn storage(gpu: &Gpu, folder: &ModelFolder, half: Option<bool>) -> DType {
    let weights = &folder.weights;
    let stored = || weights.names().all(|name| weights.dtype(name) == Some(Dtype::F16));
    if half.unwrap_or_else(stored) && gpu.capabilities().f16 { DType::F16 } else { DType::F32 }
}

/// Files in memory, by path.
#[wasm_bindgen]
#[derive(Default)]
pub struct Files(Memory);

#[wasm_bindgen]
impl Files {
    /// No files.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Files {
        Files::default()
    }

    /// The same files, for another who frees them on its own.
    pub fn share(&self) -> Files {
        Files(self.0.clone())
    }

    /// Puts a file in, in place of one of that name.
    pub fn insert(&self, path: &str, bytes: Vec<u8>) {
        self.0.insert(path, bytes);
    }

    /// A copy of a file's bytes.
    pub fn get(&self, path: &str) -> Option<Uint8Array> {
        self.0.get(path).map(|bytes| Uint8Array::from(bytes.as_slice()))
    }

    /// All paths, as a JSON list.
    pub fn paths(&self) -> String {
        json(&self.0.paths())
    }

    /// Removes a file, or a folder with all in it.
    pub fn remove(&self, path: &str) {
        self.0.remove(path);
    }
}
