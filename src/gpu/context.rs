//! Opening a device, allocating buffers on it, and learning what went wrong with it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::buffer::{Allocation, Buffer, Reserved};
use super::capabilities::{Capabilities, UNITS_BUFFERS, UNITS_MEMORY};
use super::kernel::{Kernel, KernelKey};
use super::lock::lock;
use super::options::GpuOptions;
use super::profile::Profile;
use super::speed::Speed;
use super::submission::Submissions;
use crate::{Error, Result};

/// An open device. Cheap to clone; all clones are the same device.
///
/// ```
/// use wgrad::gpu::{Gpu, GpuOptions};
///
/// # fn main() -> wgrad::Result<()> {
/// # if std::env::var_os("CI").is_none() && pollster::block_on(wgrad::gpu::Gpu::open(&Default::default())).is_err() { return Ok(()); }
/// let gpu = pollster::block_on(Gpu::open(&GpuOptions::default()))?;
/// println!("{}", gpu.capabilities().name);
/// let buffer = gpu.buffer("numbers", 12)?;
/// gpu.write(&buffer, 0, &[1.0_f32, 2.0, 3.0]);
/// let numbers: Vec<f32> = pollster::block_on(gpu.read(&buffer, 0, 3))?;
/// assert_eq!(numbers, [1.0, 2.0, 3.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gpu(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) capabilities: Capabilities,
    pub(super) kernels: Mutex<HashMap<KernelKey, Arc<Kernel>>>,
    pub(super) submissions: Submissions,
    pub(super) speed: Speed,
    pub(super) profile: Mutex<Option<Profile>>,
    pub(super) saturate_f16: bool,
    faults: Arc<Mutex<Faults>>,
    memory: Option<u64>,
    allocated: Arc<AtomicU64>,
    peak: AtomicU64,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu")
            .field("name", &self.0.capabilities.name)
            .field("backend", &self.0.capabilities.backend)
            .field("allocated", &self.0.allocated)
            .finish_non_exhaustive()
    }
}

/// What the driver reported since the last look.
#[derive(Default)]
struct Faults {
    error: Option<(bool, String)>, // (out of memory, message)
    lost: Option<String>,
}

fn new_instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    wgpu::Instance::new(descriptor)
}

/// The process's one connection to its drivers: making another would load them all again.
#[cfg(not(target_arch = "wasm32"))]
fn instance() -> wgpu::Instance {
    static INSTANCE: std::sync::OnceLock<wgpu::Instance> = std::sync::OnceLock::new();
    INSTANCE.get_or_init(new_instance).clone()
}

#[cfg(target_arch = "wasm32")]
fn instance() -> wgpu::Instance {
    new_instance()
}

#[cfg(not(target_arch = "wasm32"))]
/// Strongest first: a real GPU before one that poses as one.
fn rank(info: &wgpu::AdapterInfo) -> u32 {
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

#[cfg(not(target_arch = "wasm32"))]
async fn find_adapters() -> Vec<wgpu::Adapter> {
    let mut found = instance().enumerate_adapters(wgpu::Backends::PRIMARY).await;
    found.sort_by_key(|adapter| rank(&adapter.get_info()));
    found
}

#[cfg(target_arch = "wasm32")]
async fn find_adapters() -> Vec<wgpu::Adapter> {
    // Of two GPUs in a laptop, a page gets the weaker one unless it asks.
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    instance().request_adapter(&options).await.into_iter().collect()
}

/// The strongest adapter that fits.
async fn choose(options: &GpuOptions) -> Result<wgpu::Adapter> {
    let mut adapters = find_adapters().await;
    let wanted = |adapter: &wgpu::Adapter| {
        let about = Capabilities::of(adapter, &adapter.limits());
        options.adapter.as_ref().is_none_or(|part| about.is_called(part))
    };
    let Some(chosen) = adapters.iter().position(wanted) else {
        let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
        let there = if names.is_empty() { String::new() } else { format!(" among {}", names.join(", ")) };
        let asked = options.adapter.as_ref().map(|part| format!(" matching \"{part}\"{there}"));
        return Err(Error::NoAdapter { asked: asked.unwrap_or_default() });
    };
    // The same card may be there once more behind another interface.
    let is = |adapter: &wgpu::Adapter| {
        let about = adapter.get_info();
        (about.name, about.backend, about.device_type)
    };
    let alike: Vec<usize> = (chosen..adapters.len())
        .filter(|&at| wanted(&adapters[at]) && is(&adapters[at]) == is(&adapters[chosen]))
        .collect();
    Ok(adapters.swap_remove(alike[options.number % alike.len()]))
}

/// WebGPU's default limits, with larger bindings and buffers where they are asked for and to be had, and with the workgroup
/// memory and the number of bindings that kernels for matrix units take.
fn limits(adapter: &wgpu::Adapter, options: &GpuOptions) -> wgpu::Limits {
    let (mut limits, offered) = (wgpu::Limits::default(), adapter.limits());
    if options.matrix_units.is_some() {
        let more = |least: u32, asked: u32, offered: u32| asked.min(offered).max(least);
        limits.max_compute_workgroup_storage_size = more(
            limits.max_compute_workgroup_storage_size,
            UNITS_MEMORY,
            offered.max_compute_workgroup_storage_size,
        );
        limits.max_storage_buffers_per_shader_stage = more(
            limits.max_storage_buffers_per_shader_stage,
            UNITS_BUFFERS,
            offered.max_storage_buffers_per_shader_stage,
        );
    }
    if let Some(asked) = options.max_binding {
        let more = |least: u64, offered: u64| asked.min(offered).max(least);
        limits.max_storage_buffer_binding_size =
            more(limits.max_storage_buffer_binding_size, offered.max_storage_buffer_binding_size);
        limits.max_buffer_size = more(limits.max_buffer_size, offered.max_buffer_size);
    }
    limits
}

impl Gpu {
    /// What every adapter of this machine could offer, strongest first.
    pub async fn adapters() -> Vec<Capabilities> {
        find_adapters().await.iter().map(|a| Capabilities::of(a, &a.limits())).collect()
    }

    /// What the adapter could offer that [`Gpu::open`] takes.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when none fits.
    pub async fn chosen(options: &GpuOptions) -> Result<Capabilities> {
        let adapter = choose(options).await?;
        let mut capabilities = Capabilities::of(&adapter, &adapter.limits());
        capabilities.adjust(options);
        Ok(capabilities)
    }

    /// Opens a device on the strongest adapter that fits, within WebGPU's default limits but for
    /// [`GpuOptions::max_binding`] and what [`GpuOptions::matrix_units`] takes: 32 KiB of workgroup memory, 10 storage buffers.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when none fits, [`Error::Gpu`] when the driver refuses the device.
    pub async fn open(options: &GpuOptions) -> Result<Gpu> {
        Gpu::on(choose(options).await?, options).await
    }

    /// Opens a device on an adapter of one's own choosing; [`GpuOptions::adapter`] is ignored.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the driver refuses the device.
    pub async fn on(adapter: wgpu::Adapter, options: &GpuOptions) -> Result<Gpu> {
        let limits = limits(&adapter, options);
        let mut features = adapter.features() & wgpu::Features::SHADER_F16;
        let mut capabilities = Capabilities::of(&adapter, &limits);
        capabilities.adjust(options);
        if !capabilities.f16 {
            features = wgpu::Features::empty();
        }
        if options.timestamps {
            features |= adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        }
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if capabilities.matrix_tile.is_some() {
            features |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
            if capabilities.vulkan_memory_model {
                features |= wgpu::Features::PASSTHROUGH_SHADERS;
            }
            // SAFETY: what may go wrong is a driver that computes wrongly, which `wgrad doctor` would tell.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("wgrad"),
                required_features: features,
                experimental_features,
                required_limits: limits.clone(),
                ..Default::default()
            })
            .await
            .map_err(|e| Error::Gpu { operation: "opening the device".into(), message: e.to_string() })?;
        let faults = Arc::new(Mutex::new(Faults::default()));
        let seen = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let out_of_memory = matches!(error, wgpu::Error::OutOfMemory { .. });
            lock(&seen).error.get_or_insert((out_of_memory, error.to_string()));
        }));
        let seen = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, message| {
            lock(&seen).lost.get_or_insert(format!("{reason:?}: {message}"));
        });
        Ok(Gpu(Arc::new(Inner {
            submissions: Submissions::new(&device, options.longest_submission),
            speed: Speed::new(options.speed, capabilities.kind),
            profile: Mutex::default(),
            saturate_f16: options.saturate_f16,
            device,
            queue,
            capabilities,
            kernels: Mutex::default(),
            faults,
            memory: options.memory,
            allocated: Arc::default(),
            peak: AtomicU64::default(),
        })))
    }

    /// What the device offers.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// Operations per second that large matrix products are taken to reach.
    pub fn speed(&self) -> f64 {
        self.0.speed.get()
    }

    /// Whether the speed was given or measured rather than assumed.
    pub fn knows_speed(&self) -> bool {
        self.0.speed.is_known()
    }

    /// Sizes what is recorded from now on for so many operations per second.
    pub fn set_speed(&self, operations: f64) {
        self.0.speed.set(operations);
    }

    /// Bytes that live buffers and textures of this device take.
    pub fn allocated(&self) -> u64 {
        self.0.allocated.load(Ordering::Relaxed)
    }

    /// The most bytes that ever were [allocated](Gpu::allocated) at once.
    pub fn peak_allocated(&self) -> u64 {
        self.0.peak.load(Ordering::Relaxed)
    }

    /// Allocates `bytes` (rounded up to 16) of zeros that shaders and copies may use.
    ///
    /// # Errors
    /// [`Error::Limit`] over the device's largest buffer, [`Error::OutOfMemory`] over its memory or the
    /// budget of [`GpuOptions::memory`].
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer> {
        use wgpu::BufferUsages as Usage;
        let usage = Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST;
        self.allocate(label, bytes.max(1).next_multiple_of(16), usage)
    }

    pub(super) fn allocate(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer> {
        let inner = &self.0;
        if bytes > inner.capabilities.max_buffer {
            return Err(Error::Limit {
                operation: format!("the buffer for {label}"),
                adapter: inner.capabilities.name.clone(),
                expected: format!("{bytes} bytes in one buffer"),
                found: format!("at most {}", inner.capabilities.max_buffer),
            });
        }
        let reserved = self.reserve(label, bytes)?;
        let raw = inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        let buffer = Buffer(Arc::new(Allocation { raw, _reserved: reserved }));
        self.check_created(label, bytes)?;
        Ok(buffer)
    }

    /// Counts `bytes` against the budget for as long as the result lives.
    pub(super) fn reserve(&self, label: &str, bytes: u64) -> Result<Reserved> {
        let inner = &self.0;
        let before = inner.allocated.fetch_add(bytes, Ordering::Relaxed);
        let reserved = Reserved { bytes, allocated: Arc::clone(&inner.allocated) };
        match inner.memory {
            Some(budget) if before.saturating_add(bytes) > budget => {
                let hint = format!("{before} of {budget} are taken");
                Err(Error::OutOfMemory { operation: label.to_string(), bytes, hint })
            }
            _ => {
                inner.peak.fetch_max(before.saturating_add(bytes), Ordering::Relaxed);
                Ok(reserved)
            }
        }
    }

    /// [`Gpu::check`] after something of `bytes` was created.
    pub(super) fn check_created(&self, label: &str, bytes: u64) -> Result<()> {
        self.check(label).map_err(|error| match error {
            Error::OutOfMemory { operation, hint, .. } => Error::OutOfMemory { operation, bytes, hint },
            other => other,
        })
    }

    /// A buffer that holds `data`.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn upload<T: bytemuck::NoUninit>(&self, label: &str, data: &[T]) -> Result<Buffer> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let buffer = self.buffer(label, bytes.len() as u64)?;
        self.write(&buffer, 0, data);
        Ok(buffer)
    }

    /// Queues `data` to be written at `offset` bytes, before the next submission runs.
    pub fn write<T: bytemuck::NoUninit>(&self, buffer: &Buffer, offset: u64, data: &[T]) {
        if !data.is_empty() {
            self.0.queue.write_buffer(&buffer.0.raw, offset, bytemuck::cast_slice(data));
        }
    }

    /// Whether anything went wrong on the device since the last look; `operation` names what was done.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::OutOfMemory`] or [`Error::Gpu`] with the driver's words.
    pub fn check(&self, operation: &str) -> Result<()> {
        let mut faults = lock(&self.0.faults);
        if let Some(message) = &faults.lost {
            return Err(Error::DeviceLost { operation: operation.into(), message: message.clone() });
        }
        match faults.error.take() {
            None => Ok(()),
            Some((true, hint)) => {
                Err(Error::OutOfMemory { operation: operation.into(), bytes: self.allocated(), hint })
            }
            Some((false, message)) => Err(Error::Gpu { operation: operation.into(), message }),
        }
    }

    /// Lets finished submissions release what they hold, without waiting for running ones.
    pub fn poll(&self) {
        // The browser polls by itself; natively an error here reappears through the handlers.
        let _ = self.0.device.poll(wgpu::PollType::Poll);
    }

    /// Waits until all submitted work is done. In the browser it returns at once.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub fn wait(&self, operation: &str) -> Result<()> {
        self.wait_for(operation, None)
    }

    /// [`Gpu::wait`] for one submission and those before it; for all where it is none.
    pub(super) fn wait_for(
        &self,
        operation: &str,
        submission_index: Option<wgpu::SubmissionIndex>,
    ) -> Result<()> {
        let until = wgpu::PollType::Wait { submission_index, timeout: None };
        if let Err(error) = self.0.device.poll(until) {
            self.check(operation)?;
            return Err(Error::Gpu { operation: operation.into(), message: error.to_string() });
        }
        self.check(operation)
    }

    /// Gives the device back to the driver. Whatever is done with it afterwards is [`Error::DeviceLost`].
    pub fn destroy(&self) {
        self.0.device.destroy();
        lock(&self.0.faults).lost.get_or_insert("the device was closed".into());
    }
}
