//! Zeros that the device has between the values of a parameter, where kernels want widths that a model does not have.
//!
//! Files hold no such zeros, and nor do an optimizer's saved moments: they are put in when values are written to a device,
//! and left out when they are read from it.

use std::borrow::Cow;

/// Runs of a dimension that are longer on the device: zeros follow each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// The dimension, whose size is a multiple of `run`.
    pub dimension: usize,
    /// The length of a run.
    pub run: usize,
    /// Its length on the device, which is larger.
    pub to: usize,
}

impl Padding {
    /// What becomes of a shape.
    pub fn shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if let Some(size) = shape.get_mut(self.dimension) {
            *size = *size / self.run * self.to;
        }
        shape
    }

    /// How many neighbouring values of a tensor of `shape` are a run.
    fn inner(self, shape: &[usize]) -> usize {
        shape.iter().skip(self.dimension + 1).product::<usize>()
    }

    /// The values of a tensor of `shape`, with zeros between them.
    pub fn padded(self, shape: &[usize], values: &[f32]) -> Vec<f32> {
        let inner = self.inner(shape);
        let mut padded = Vec::with_capacity(values.len() / self.run * self.to);
        for run in values.chunks(self.run * inner) {
            padded.extend(run);
            padded.resize(padded.len() + (self.to - self.run) * inner, 0.0);
        }
        padded
    }

    /// The values of a tensor of `shape` without the zeros.
    pub fn unpadded(self, shape: &[usize], values: &[f32]) -> Vec<f32> {
        let inner = self.inner(shape);
        let runs = values.chunks(self.to * inner);
        runs.flat_map(|run| &run[..self.run * inner]).copied().collect()
    }
}

/// [`Padding::padded`] where there is any.
pub(crate) fn padded<'v>(padding: Option<Padding>, shape: &[usize], values: &'v [f32]) -> Cow<'v, [f32]> {
    padding.map_or(Cow::Borrowed(values), |padding| padding.padded(shape, values).into())
}

/// [`Padding::unpadded`] where there is any.
pub(crate) fn unpadded(padding: Option<Padding>, shape: &[usize], values: Vec<f32>) -> Vec<f32> {
    match padding {
        Some(padding) => padding.unpadded(shape, &values),
        None => values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_come_and_go() {
        let values: Vec<f32> = (1..=12).map(|value| value as f32).collect();
        let rows = Padding { dimension: 0, run: 2, to: 3 };
        assert_eq!(rows.shape(&[4, 3]), [6, 3]);
        let padded = rows.padded(&[4, 3], &values);
        assert_eq!(padded[..9], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0]);
        assert_eq!(rows.unpadded(&[4, 3], &padded), values);
        let columns = Padding { dimension: 1, run: 1, to: 2 };
        assert_eq!(columns.shape(&[4, 3]), [4, 6]);
        let padded = columns.padded(&[4, 3], &values);
        assert_eq!(padded[..6], [1.0, 0.0, 2.0, 0.0, 3.0, 0.0]);
        assert_eq!(columns.unpadded(&[4, 3], &padded), values);
        let vector = Padding { dimension: 0, run: 6, to: 8 };
        assert_eq!(vector.unpadded(&[12], &vector.padded(&[12], &values)), values);
    }
}
