//! Writing safetensors one tensor at a time: a model larger than memory can be read back and saved.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use half::f16;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::quoted;
use crate::store::Sink;
use crate::{Error, Result};

/// Tensors to be saved as f32, or rounded to f16: their names and shapes now, their values one at a time when the file is written.
pub struct TensorSource<'a> {
    tensors: Vec<(String, Vec<usize>)>,
    read: Box<Read<'a>>,
    dtype: Dtype,
}

impl fmt::Debug for TensorSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorSource")
            .field("tensors", &self.tensors)
            .field("dtype", &self.dtype)
            .finish_non_exhaustive()
    }
}

/// Gives the values of the tensor with a name, row-major.
type Read<'a> = dyn FnMut(&str) -> Result<Cow<'a, [f32]>> + 'a;

impl<'a> TensorSource<'a> {
    /// Tensors whose values `read` fetches by name, in the order given, each once.
    pub fn new(
        tensors: Vec<(String, Vec<usize>)>,
        read: impl FnMut(&str) -> Result<Cow<'a, [f32]>> + 'a,
    ) -> TensorSource<'a> {
        TensorSource { tensors, read: Box::new(read), dtype: Dtype::F32 }
    }

    /// Tensors already in memory.
    pub fn from_slices(
        tensors: impl IntoIterator<Item = (impl Into<String>, impl Into<Vec<usize>>, &'a [f32])>,
    ) -> TensorSource<'a> {
        let mut shapes = Vec::new();
        let mut values = HashMap::new();
        for (name, shape, data) in tensors {
            let name: String = name.into();
            values.insert(name.clone(), data);
            shapes.push((name, shape.into()));
        }
        Self::new(shapes, move |name| Ok(Cow::Borrowed(values.get(name).copied().unwrap_or_default())))
    }

    /// The same, rounded to f16: half the size, three digits.
    pub fn as_f16(self) -> Self {
        TensorSource { dtype: Dtype::F16, ..self }
    }

    /// Names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))
    }

    /// Writes the file: header first, then each tensor as it is fetched.
    ///
    /// # Errors
    /// [`Error::File`] when a name comes twice, a tensor has another number of values than its shape, or a value is
    /// NaN or infinite, of f16 also one beyond 65504; those of the source; [`Error::Io`].
    pub fn write(mut self, sink: &mut Sink) -> Result<()> {
        let json = header(&self.tensors, self.dtype, sink)?;
        sink.put(&(json.len() as u64).to_le_bytes())?;
        sink.put(&json)?;
        for (name, shape) in &self.tensors {
            let values = (self.read)(name)?;
            let elements: usize = shape.iter().product();
            if values.len() != elements {
                let expected = format!("{elements} values for {} {shape:?}", quoted(name));
                return Err(Error::file(sink.path(), expected, values.len().to_string()));
            }
            // A model that cannot be loaded again must not take the place of one that can.
            let half = self.dtype == Dtype::F16;
            let finite = |value: &f32| value.is_finite() && !(half && f16::from_f32(*value).is_infinite());
            if let Some(at) = values.iter().position(|value| !finite(value)) {
                let expected = format!("finite values to save in {}", quoted(name));
                return Err(Error::file(sink.path(), expected, format!("{} at element {at}", values[at])));
            }
            if half {
                let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
                sink.put(bytemuck::cast_slice(&halves))?;
            } else {
                sink.put(bytemuck::cast_slice(&values))?;
            }
        }
        Ok(())
    }
}

/// The JSON, padded with spaces so that the data begins at a multiple of eight bytes.
fn header(tensors: &[(String, Vec<usize>)], dtype: Dtype, sink: &Sink) -> Result<Vec<u8>> {
    let width = if dtype == Dtype::F16 { 2usize } else { 4 };
    let mut offset = 0usize;
    let mut infos = Vec::with_capacity(tensors.len());
    let mut seen = std::collections::HashSet::new();
    for (name, shape) in tensors {
        if !seen.insert(name) {
            return Err(Error::file(sink.path(), "names that differ", format!("{} twice", quoted(name))));
        }
        let bytes = shape.iter().try_fold(width, |n, &size| n.checked_mul(size));
        let end = bytes.and_then(|n| offset.checked_add(n));
        let Some(end) = end else {
            let found = format!("{} {shape:?}", quoted(name));
            return Err(Error::file(sink.path(), "tensors that fit in memory", found));
        };
        let info = TensorInfo { dtype, shape: shape.clone(), data_offsets: (offset, end) };
        infos.push((name.clone(), info));
        offset = end;
    }
    // Other tools choose how to read a file by this entry.
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    let unsound = |error: &dyn fmt::Display| {
        Error::file(sink.path(), "tensors that safetensors can hold", error.to_string())
    };
    let metadata = Metadata::new(Some(format), infos).map_err(|error| unsound(&error))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| unsound(&error))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok(json)
}

#[cfg(target_endian = "big")]
compile_error!("values are written in memory order, which must be little-endian");
