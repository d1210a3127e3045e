//! A device of wgpu's `noop` backend: it accepts everything and computes nothing.

use anyhow::Context;
use wgrad::gpu::{Gpu, GpuOptions};

/// Opens one.
pub(super) async fn open(options: &GpuOptions) -> anyhow::Result<Gpu> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::NOOP;
    descriptor.backend_options.noop = wgpu::NoopBackendOptions {
        enable: true,
        // Kernels for matrix units are compiled for one size.
        subgroup_min_size: Some(32),
        subgroup_max_size: Some(32),
        ..Default::default()
    };
    let instance = wgpu::Instance::new(descriptor);
    let adapter = instance.request_adapter(&Default::default()).await.context("wgpu's noop backend")?;
    Ok(Gpu::on(adapter, options).await?)
}
