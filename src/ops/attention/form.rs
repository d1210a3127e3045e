//! Which form of attention is recorded.

use serde::Serialize;

use super::Heads;
use crate::gpu::{AdapterKind, Capabilities, UNITS_BUFFERS, UNITS_MEMORY};
use crate::ops::choices::{LONG, LONG_ATTENTION, LONGEST, SHORT_ATTENTION};
use crate::ops::units::Units;
use crate::tensor::DType;

/// The forms of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Matrix products with a softmax between them; the probabilities `[B, H, T, Tp]` are stored.
    Unfused,
    /// One kernel each way that keeps a number per row.
    Fused,
}

impl Form {
    /// The widest head (D) that is fused.
    pub const WIDEST_FUSED: usize = 128;
    /// The widest head (D) that is fused on matrix units: what wider ones keep of their rows does not fit AMD's registers.
    pub(super) const WIDEST_ON_UNITS: usize = 64;

    /// The units of a device that the fused form of heads of `size` (D) runs on: those that take f16, where a workgroup has
    /// the memory and the bindings.
    pub(super) fn units(device: &Capabilities, size: usize, storage: DType) -> Option<Units> {
        let fits = device.max_workgroup_memory >= UNITS_MEMORY && device.max_storage_buffers >= UNITS_BUFFERS;
        Units::of(device, storage).filter(|units| units.half && fits && size <= Self::WIDEST_ON_UNITS)
    }

    /// The form for `heads` of `size` (D) whose activations are stored as `storage`: what was chosen for the device, where
    /// that fits, else by [rule](Form::by_rule).
    pub fn choose(device: &Capabilities, heads: Heads, size: usize, storage: DType) -> Self {
        let choice = match heads.tokens {
            0..LONG => SHORT_ATTENTION,
            LONG..LONGEST => LONG_ATTENTION,
            _ => return Self::by_rule(device, heads, size, storage),
        };
        match device.choices.get(choice.name) {
            Some("fused") if size <= Self::WIDEST_FUSED => Form::Fused,
            Some("unfused") if Self::fits(device, heads, storage) => Form::Unfused,
            _ => Self::by_rule(device, heads, size, storage),
        }
    }

    /// Whether one binding of the device holds the probabilities.
    fn fits(device: &Capabilities, heads: Heads, storage: DType) -> bool {
        let Heads { sequences, tokens, heads, .. } = heads;
        let elements = sequences * heads * tokens * tokens.next_multiple_of(4);
        elements as u64 * storage.bytes() <= device.max_binding
    }

    /// The form where nothing was chosen. Dropout is the same work in both.
    ///
    /// - On adapters that are CPUs the unfused form, several times as fast on lavapipe: its products read through
    ///   textures.
    /// - On matrix units that take f16, heads no wider than 64: the fused form, whatever the length: 5 dispatches a layer and step instead of 12, and
    ///   less than half of the bytes (`wgrad bench step --as`).
    /// - On other GPUs the unfused form too: on an H200 it is faster at 128 and at 512 tokens, up to five times with its gradients. The fused
    ///   form keeps O(T) where the other keeps T² per head, so it is taken from 1024 tokens on, and from 256 on where
    ///   the probabilities do not fit one binding of the device.
    pub fn by_rule(device: &Capabilities, heads: Heads, size: usize, storage: DType) -> Self {
        let (tokens, fits) = (heads.tokens, Self::fits(device, heads, storage));
        let unfused = tokens < LONG || (tokens < LONGEST && fits);
        let on_units = Self::units(device, size, storage).is_some();
        match device.kind {
            AdapterKind::Gpu if (on_units || !unfused) && size <= Self::WIDEST_FUSED => Form::Fused,
            AdapterKind::Gpu | AdapterKind::Cpu => Form::Unfused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Choices, MatrixOperands};

    #[test]
    fn what_is_long_or_does_not_fit_a_binding_is_fused_on_gpus() {
        use AdapterKind::{Cpu, Gpu};
        let choose = |kind, sequences, tokens, size, storage| {
            let device = Capabilities { kind, max_binding: 128 << 20, ..Capabilities::default() };
            Form::choose(&device, Heads { sequences, tokens, heads: 12, padding: 0 }, size, storage)
        };
        assert_eq!(choose(Gpu, 256, 128, 64, DType::F32), Form::Unfused);
        assert_eq!(choose(Gpu, 1000, 128, 64, DType::F32), Form::Unfused);
        assert_eq!(choose(Gpu, 8, 512, 64, DType::F32), Form::Unfused);
        assert_eq!(choose(Gpu, 16, 512, 64, DType::F16), Form::Unfused);
        assert_eq!(choose(Gpu, 16, 512, 64, DType::F32), Form::Fused);
        assert_eq!(choose(Gpu, 1, 1024, 64, DType::F16), Form::Fused);
        assert_eq!(choose(Gpu, 16, 512, 132, DType::F32), Form::Unfused);
        assert_eq!(choose(Cpu, 16, 2048, 64, DType::F32), Form::Unfused);
    }

    #[test]
    fn what_was_chosen_is_taken_where_it_fits() {
        let device = |kind, choices: &str| Capabilities {
            kind,
            max_binding: 128 << 20,
            choices: Choices::from(choices),
            ..Capabilities::default()
        };
        let choose = |device: &Capabilities, sequences, tokens, size| {
            Form::choose(device, Heads { sequences, tokens, heads: 12, padding: 0 }, size, DType::F32)
        };
        let gpu = device(AdapterKind::Gpu, "attention.short=fused attention.long=unfused");
        assert_eq!(choose(&gpu, 8, 128, 64), Form::Fused);
        assert_eq!(choose(&gpu, 8, 256, 64), Form::Unfused);
        // Neither what is too wide, nor what does not fit, nor what is longest.
        assert_eq!(choose(&gpu, 8, 128, 132), Form::Unfused);
        assert_eq!(choose(&gpu, 16, 512, 64), Form::Fused);
        assert_eq!(choose(&gpu, 1, 1024, 64), Form::Fused);
        let cpu = device(AdapterKind::Cpu, "attention.long=fused");
        assert_eq!(
            [128, 512, 2048].map(|tokens| choose(&cpu, 1, tokens, 64)),
            [Form::Unfused, Form::Fused, Form::Unfused]
        );
    }

    #[test]
    fn on_units_that_take_f16_every_length_is_fused() {
        let device = Capabilities {
            kind: AdapterKind::Gpu,
            max_binding: 128 << 20,
            matrix_operands: Some(MatrixOperands::F16),
            matrix_tile: Some(16),
            matrix_subgroup: Some(32),
            max_workgroup_memory: 32 << 10,
            max_storage_buffers: 10,
            ..Capabilities::default()
        };
        let heads = Heads { sequences: 32, tokens: 128, heads: 12, padding: 0 };
        let choose = |device: &Capabilities, size, storage| Form::choose(device, heads, size, storage);
        assert_eq!(choose(&device, 64, DType::F16), Form::Fused);
        assert_eq!(choose(&device, 64, DType::F32), Form::Unfused);
        assert_eq!(choose(&device, 68, DType::F16), Form::Unfused);
        let small = Capabilities { max_workgroup_memory: 16 << 10, ..device.clone() };
        assert_eq!(choose(&small, 64, DType::F16), Form::Unfused);
        let few = Capabilities { max_storage_buffers: 8, ..device };
        assert_eq!(choose(&few, 64, DType::F16), Form::Unfused);
    }
}
