//! A compiled shader entry point and the description it is compiled from.

use super::shader::{Constant, Source};

/// Texels in one row of a buffer that is read as a texture.
pub const TEXELS: u32 = 1024;

/// One field of a struct that shaders share: name, offset and size in bytes.
pub type Field = (&'static str, usize, usize);

/// The fields of a `Params` struct in Rust, compared by a test with the shader's.
pub type ParamsLayout = &'static [Field];

/// A struct of 4-byte fields that Rust and shaders both declare, under one name: a test compares the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedStruct {
    /// Its name.
    pub name: &'static str,
    /// Its fields in Rust.
    pub fields: ParamsLayout,
}

/// Declares structs of 4-byte fields that lie in buffers of shaders: `#[repr(C)]`, each with its layout as `SHARED`. The
/// crate that does so depends on `bytemuck` and its derives.
#[macro_export]
macro_rules! shared {
    ($(
        $(#[$note:meta])*
        $visible:vis struct $name:ident { $($(#[$about:meta])* $field:ident: $kind:ty),+ $(,)? }
    )+) => {$(
        $(#[$note])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        $visible struct $name { $($(#[$about])* $visible $field: $kind),+ }

        impl $name {
            $visible const SHARED: $crate::gpu::SharedStruct = $crate::gpu::SharedStruct {
                name: stringify!($name),
                fields: &[
                    $((stringify!($field), std::mem::offset_of!($name, $field), size_of::<$kind>())),+
                ],
            };
        }
    )+};
}
pub use shared;

/// Declares an operation's uniform parameters: a struct named `Params`, its layout beside it as `LAYOUT`. The crate that
/// does so depends on `bytemuck` and its derives.
#[macro_export]
macro_rules! params {
    ($($field:ident: $kind:ty),+ $(,)?) => {
        $crate::gpu::shared! { struct Params { $($field: $kind),+ } }

        const LAYOUT: $crate::gpu::ParamsLayout = Params::SHARED.fields;
    };
}
pub use params;

/// What a kernel is compiled from. Bindings follow one rule: `Params` at 0 (uniform), then the buffers it
/// reads (`read`), then those it writes (`read_write`).
#[derive(Debug, Clone, Copy)]
pub struct KernelSpec {
    /// The shader file.
    pub source: Source,
    /// The entry point.
    pub entry: &'static str,
    /// How many buffers it only reads.
    pub reads: u32,
    /// How many of these, the first ones, it reads as textures of 4 `elem` a texel, [`TEXELS`] texels a row:
    /// the recorder copies them. Adapters that are CPUs fetch texels faster than storage.
    pub textures: u32,
    /// How many storage buffers it writes.
    pub writes: u32,
    /// The Rust side of its `Params`.
    pub params: ParamsLayout,
    /// One set of constants that makes it complete: tests validate the shader with it.
    pub example: &'static [Constant],
}

impl KernelSpec {
    /// The kernel `entry` of `source` without textures, which reads and writes so many buffers.
    pub const fn new(
        source: Source,
        entry: &'static str,
        [reads, writes]: [u32; 2],
        params: ParamsLayout,
        example: &'static [Constant],
    ) -> Self {
        KernelSpec { source, entry, reads, textures: 0, writes, params, example }
    }

    /// What it is called in errors and profiles: `gelu:forward`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.source.name, self.entry)
    }
}

/// What a compiled kernel is found by: the whole source, because a program may name its shader as this crate does.
pub(super) type KernelKey = (Source, &'static str, Vec<Constant>);

/// A compiled entry point.
#[derive(Debug)]
pub struct Kernel {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) name: String,
}
