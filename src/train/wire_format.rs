//! How gradients travel between ranks: as they are, or as half floats that share a scale with their neighbours.
//!
//! A half float holds numbers from 6e-8 to 65,504 alone, and gradients, scaled or not, may be beyond either. So each group of
//! 256 neighbours travels with a power of two that its largest magnitude decides: nothing overflows, and what is below 2⁻³⁹
//! of the largest becomes zero. A group with an infinity or a NaN travels as it is, so that who adds it finds it again.

use std::fmt;
use std::str::FromStr;

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

use crate::error::quoted;
use crate::{Error, Result};

/// Neighbours that share a scale.
pub(super) const GROUP: usize = 256;
/// Bytes of a group in f16: the exponent of its largest magnitude, as f32 stores it, and a half float for each element.
const PACKED: usize = 1 + 2 * GROUP;
/// The exponent of what is not finite.
const NOT_FINITE: u8 = u8::MAX;
/// The least exponent that decides a scale: the power of two of a lower one is beyond f32.
const LEAST: u8 = 15;

/// How gradients travel between ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WireFormat {
    /// As they are.
    #[default]
    F32,
    /// As half floats, each 256 of which share a power of two: half as many bytes. What one block adds up to is rounded so, and once
    /// more the sum of all blocks, on every rank and where a single process computes all blocks.
    F16,
}

impl WireFormat {
    /// For recipes, which say it only where it was asked for.
    pub(super) fn is_f32(&self) -> bool {
        *self == WireFormat::F32
    }

    /// What `elements` of one message must be a multiple of, but for the last, so that the same neighbours share a scale wherever
    /// gradients are divided.
    pub(super) fn unit(self) -> usize {
        match self {
            WireFormat::F32 => 1,
            WireFormat::F16 => GROUP,
        }
    }

    /// Bytes that so many elements take.
    pub(super) fn bytes(self, elements: usize) -> usize {
        match self {
            WireFormat::F32 => 4 * elements,
            WireFormat::F16 => 2 * elements + elements.div_ceil(GROUP),
        }
    }

    /// Puts values behind what is there.
    pub(super) fn put(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            // As they lie in memory: little-endian on all that GPUs are in.
            WireFormat::F32 => bytes.extend_from_slice(bytemuck::cast_slice(values)),
            WireFormat::F16 => {
                for group in values.chunks(GROUP) {
                    let mut halves = [f16::ZERO; GROUP];
                    bytes.push(round(group, &mut halves));
                    bytes.extend_from_slice(bytemuck::cast_slice(&halves[..group.len()]));
                }
            }
        }
    }

    /// Lends the values of `bytes` to `each`, some at a time, with how many came before.
    pub(super) fn lend(self, bytes: &[u8], mut each: impl FnMut(usize, &[f32])) {
        let mut values = [0.0; GROUP];
        match self {
            WireFormat::F32 => {
                for (number, group) in bytes.as_chunks::<4>().0.chunks(GROUP).enumerate() {
                    values
                        .iter_mut()
                        .zip(group)
                        .for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
                    each(number * GROUP, &values[..group.len()]);
                }
            }
            WireFormat::F16 => {
                let mut halves = [f16::ZERO; GROUP];
                for (number, group) in bytes.chunks(PACKED).enumerate() {
                    let Some((&exponent, group)) = group.split_first() else { continue };
                    let (group, _) = group.as_chunks::<2>();
                    halves.iter_mut().zip(group).for_each(|(half, bytes)| *half = f16::from_le_bytes(*bytes));
                    let values = &mut values[..group.len()];
                    restore(exponent, &halves[..group.len()], values);
                    each(number * GROUP, values);
                }
            }
        }
    }

    /// Lends values to `each` as they would come out of what [`WireFormat::put`] makes of them.
    pub(super) fn rounded(self, values: &[f32], mut each: impl FnMut(usize, &[f32])) {
        if self == WireFormat::F32 {
            return each(0, values);
        }
        let (mut halves, mut again) = ([f16::ZERO; GROUP], [0.0; GROUP]);
        for (number, group) in values.chunks(GROUP).enumerate() {
            let again = &mut again[..group.len()];
            let exponent = round(group, &mut halves);
            restore(exponent, &halves[..group.len()], again);
            each(number * GROUP, again);
        }
    }
}

/// 2 to the power of 14 minus that of the largest magnitude, which then has room to be rounded up.
fn scale(exponent: u8) -> f32 {
    match exponent {
        NOT_FINITE => 1.0,
        _ => f32::from_bits((268 - u32::from(exponent.max(LEAST))) << 23),
    }
}

/// Rounds a group to the first of `halves`, and says the exponent of its largest magnitude.
fn round(group: &[f32], halves: &mut [f16; GROUP]) -> u8 {
    let magnitudes = group.iter().map(|value| value.to_bits() & (u32::MAX >> 1));
    let exponent = (magnitudes.max().unwrap_or(0) >> 23) as u8;
    let scale = scale(exponent);
    let mut scaled = [0.0; GROUP];
    scaled.iter_mut().zip(group).for_each(|(scaled, value)| *scaled = value * scale);
    halves[..group.len()].convert_from_f32_slice(&scaled[..group.len()]);
    exponent
}

fn restore(exponent: u8, halves: &[f16], values: &mut [f32]) {
    halves.convert_to_f32_slice(values);
    let back = 1.0 / scale(exponent);
    values.iter_mut().for_each(|value| *value *= back);
}

impl fmt::Display for WireFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WireFormat::F32 => "f32",
            WireFormat::F16 => "f16",
        })
    }
}

impl FromStr for WireFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(WireFormat::F32),
            "f16" => Ok(WireFormat::F16),
            _ => Err(Error::config("wire", "f32 or f16", quoted(text))),
        }
    }
}

impl TryFrom<String> for WireFormat {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<WireFormat> for String {
    fn from(wire: WireFormat) -> Self {
        wire.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travelled(wire: WireFormat, values: &[f32]) -> Vec<f32> {
        let mut bytes = vec![7];
        wire.put(values, &mut bytes);
        assert_eq!(bytes.len() - 1, wire.bytes(values.len()));
        let (mut found, mut rounded) = (Vec::new(), Vec::new());
        wire.lend(&bytes[1..], |at, values| {
            assert_eq!(at, found.len());
            found.extend_from_slice(values);
        });
        wire.rounded(values, |at, values| {
            assert_eq!(at, rounded.len());
            rounded.extend_from_slice(values);
        });
        assert_eq!(bits(&found), bits(&rounded));
        found
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Magnitudes over some 25 powers of two around `size`, of both signs.
    fn values(count: usize, size: f32) -> Vec<f32> {
        let value = |at: usize| {
            let bits = crate::random::mix(at as u64);
            size * (bits as f32 / u64::MAX as f32 - 0.5) * 0.5f32.powi((bits % 25) as i32)
        };
        (0..count).map(value).collect()
    }

    #[test]
    fn f32_comes_out_as_it_went_in() {
        let mut all = values(GROUP + 3, 1.0);
        all.extend([f32::NAN, f32::INFINITY, -0.0, f32::MIN_POSITIVE / 4.0, f32::MAX]);
        assert_eq!(bits(&travelled(WireFormat::F32, &all)), bits(&all));
        assert!(travelled(WireFormat::F32, &[]).is_empty());
    }

    /// To half a unit in the last place of eleven bits, or of the smallest number that the group's scale has, at any size.
    #[test]
    fn f16_rounds_to_eleven_bits_at_any_scale() {
        assert!(travelled(WireFormat::F16, &[]).is_empty());
        for size in [1.0, 1e-30, 3e-9, 7e4, 1e30, 2f32.powi(120)] {
            for count in [1, 255, 256, 257, 1000] {
                let all = values(count, size);
                let found = travelled(WireFormat::F16, &all);
                for (group, found) in all.chunks(GROUP).zip(found.chunks(GROUP)) {
                    let largest = group.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
                    for (value, found) in group.iter().zip(found) {
                        let (value, found) = (f64::from(*value), f64::from(*found));
                        let bound = (value.abs() / 2048.0).max(f64::from(largest) * 2f64.powi(-39));
                        assert!((value - found).abs() <= bound, "{found} for {value} among {largest}");
                    }
                }
            }
        }
    }

    /// What f16 alone could not hold, and what it holds exactly.
    #[test]
    fn f16_neither_overflows_nor_vanishes() {
        let whole = [2f32.powi(100), -2f32.powi(100), 2f32.powi(90)];
        assert_eq!(travelled(WireFormat::F16, &whole), whole);
        let small = [2f32.powi(-100), -1.5 * 2f32.powi(-101), 0.0];
        assert_eq!(travelled(WireFormat::F16, &small), small);
        // Rounded up to the next power of two.
        assert_eq!(travelled(WireFormat::F16, &[65_535.0]), [65_536.0]);
        let least = [f32::MIN_POSITIVE, -f32::MIN_POSITIVE / 8.0];
        assert_eq!(travelled(WireFormat::F16, &least), least);
    }

    #[test]
    fn what_is_not_finite_stays_so_and_spoils_no_other_group() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut all = values(3 * GROUP, 1.0);
            let expected = travelled(WireFormat::F16, &all);
            all[GROUP + 17] = wrong;
            let found = travelled(WireFormat::F16, &all);
            let place = found[GROUP + 17];
            assert!(if wrong.is_nan() { place.is_nan() } else { place == wrong }, "{place}");
            for group in [0, 2] {
                let group = group * GROUP..(group + 1) * GROUP;
                assert_eq!(found[group.clone()], expected[group]);
            }
        }
    }

    #[test]
    fn its_names_are_read_and_written() {
        for wire in [WireFormat::F32, WireFormat::F16] {
            assert_eq!(wire.to_string().parse::<WireFormat>().unwrap(), wire);
            let json = serde_json::to_string(&wire).unwrap();
            assert_eq!(serde_json::from_str::<WireFormat>(&json).unwrap(), wire);
        }
        let refused = "bf16".parse::<WireFormat>().unwrap_err().to_string();
        assert_eq!(refused, "wire: expected f32 or f16, found `bf16`");
    }
}
