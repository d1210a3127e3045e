//! Reading weights: safetensors files and those of `torch.save`, checked before anything uses them.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use rayon::prelude::*;
pub use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::header::{self, Header};
#[cfg(not(target_arch = "wasm32"))]
use super::pickle;
use crate::error::quoted;
use crate::store::{Bytes, Disk, Store};
use crate::{Error, Result};

/// The tensors of one file or of several, memory-mapped where there are files: safetensors, or, but in a page, what
/// `torch.save` writes.
///
/// Opening checks the whole header, or reads the whole pickle, so that later reads stay inside the file. While the value lives the files must
/// not be written to in place; everything here that saves puts a new file in the old one's place instead.
pub struct Weights {
    path: PathBuf,
    files: Vec<Arc<Mapped>>,
    /// Names, with the file and the tensor in it, in the order of the files.
    tensors: Vec<(String, usize, usize)>,
    index: HashMap<String, usize>,
    allow_non_finite: bool,
}

/// One file with its header, or tensors that were copied out of one.
struct Mapped {
    path: PathBuf,
    bytes: Bytes,
    header: Header,
}

impl Weights {
    /// Maps and checks a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::File`] when it is not a whole, sound safetensors file, or a PyTorch
    /// pickle that asks for more than tensors: a web page, a Git LFS pointer and a truncated file are called by name.
    pub fn open(path: impl AsRef<Path>) -> Result<Weights> {
        Self::open_on(&Disk, path)
    }

    /// [`Weights::open`] on a given store.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn open_on(store: &dyn Store, path: impl AsRef<Path>) -> Result<Weights> {
        let path = path.as_ref();
        if store.is_dir(path) {
            return Err(Error::file(path, "a file of weights", "a folder"));
        }
        let bytes = store.read(path)?;
        Self::checked(bytes, path)
    }

    /// Checks a file held in memory; `name` is for the messages.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn from_bytes(bytes: Vec<u8>, name: impl AsRef<Path>) -> Result<Weights> {
        Self::checked(bytes.into(), name.as_ref())
    }

    fn checked(bytes: Bytes, path: &Path) -> Result<Weights> {
        #[cfg(not(target_arch = "wasm32"))]
        if pickle::is_pickle(&bytes) {
            return Self::of_pickle(bytes, path);
        }
        let header = header::read(&bytes, path)?;
        let names = header.tensors.iter().enumerate();
        let tensors = names.map(|(i, (name, _))| (name.clone(), 0, i)).collect();
        let file = Mapped { path: path.to_path_buf(), bytes, header };
        Ok(Self::indexed(path.to_path_buf(), vec![Arc::new(file)], tensors))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn of_pickle(bytes: Bytes, path: &Path) -> Result<Weights> {
        let pickle::Contents { in_place, copied, copied_bytes } = pickle::read(&bytes, path)?;
        let mut files = Vec::new();
        let mut names = Vec::new();
        for (bytes, tensors) in [(bytes, in_place), (copied_bytes.into(), copied)] {
            let places = tensors.iter().enumerate();
            names.extend(places.map(|(i, (name, _))| (name.clone(), files.len(), i)));
            let header = Header { tensors, metadata: Vec::new(), data_start: 0 };
            files.push(Arc::new(Mapped { path: path.to_path_buf(), bytes, header }));
        }
        Ok(Self::indexed(path.to_path_buf(), files, names))
    }

    fn indexed(path: PathBuf, files: Vec<Arc<Mapped>>, tensors: Vec<(String, usize, usize)>) -> Weights {
        let index = tensors.iter().enumerate().map(|(i, (name, _, _))| (name.clone(), i)).collect();
        Weights { path, files, tensors, index, allow_non_finite: false }
    }

    /// The tensors of several files as one; no name may be in two of them. `path` is for the messages.
    pub(super) fn joined(parts: Vec<Weights>, path: PathBuf) -> Weights {
        let (mut files, mut tensors) = (Vec::new(), Vec::new());
        for part in parts {
            let first = files.len();
            files.extend(part.files);
            tensors.extend(part.tensors.into_iter().map(|(name, file, i)| (name, first + file, i)));
        }
        Self::indexed(path, files, tensors)
    }

    /// The tensors under the names that `rename` gives; those to which it gives none are left out.
    ///
    /// # Errors
    /// [`Error::File`] when two tensors get one name.
    pub fn renamed(self, rename: impl Fn(&str) -> Option<String>) -> Result<Weights> {
        let Weights { path, files, tensors: old, allow_non_finite, .. } = self;
        let mut tensors: Vec<(String, usize, usize)> = Vec::with_capacity(old.len());
        let mut origins: HashMap<String, String> = HashMap::new();
        for (name, file, i) in old {
            let Some(new) = rename(&name) else { continue };
            if let Some(other) = origins.insert(new.clone(), name.clone()) {
                let found = format!("both {} and {}", quoted(&other), quoted(&name));
                return Err(Error::file(path, format!("one tensor for {}", quoted(&new)), found));
            }
            tensors.push((new, file, i));
        }
        Ok(Self::indexed(path, files, tensors).allow_non_finite(allow_non_finite))
    }

    /// Whether [`Weights::f32`] and [`Weights::f16`] give back NaN and infinity instead of refusing them.
    pub fn allow_non_finite(mut self, allow: bool) -> Self {
        self.allow_non_finite = allow;
        self
    }

    /// The file, or the index of several, or the name given to [`Weights::from_bytes`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files, with their bytes.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        // What was copied out of a file follows it under its name.
        let mut before = None;
        let files = self.files.iter().map(|file| (file.path.as_path(), &*file.bytes));
        files.filter(move |(path, _)| before.replace(*path) != Some(*path))
    }

    /// The tensors' names, in the order of the file.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.iter().map(|(name, _, _)| name.as_str())
    }

    /// The tensors' names and shapes, in the order of the file.
    pub fn shapes(&self) -> impl ExactSizeIterator<Item = (&str, &[usize])> {
        self.tensors
            .iter()
            .map(|(name, file, i)| (name.as_str(), self.files[*file].header.tensors[*i].1.shape.as_slice()))
    }

    /// The value of a key in the free text of the file, or of the first that has it.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let mut pairs = self.files.iter().flat_map(|file| &file.header.metadata);
        pairs.find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// A tensor's shape, or nothing when there is no such tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|(_, info)| info.shape.as_slice())
    }

    /// The type a tensor is stored in, or nothing when there is no such tensor.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.find(name).map(|(_, info)| info.dtype)
    }

    fn find(&self, name: &str) -> Option<(&Arc<Mapped>, &TensorInfo)> {
        let (_, file, i) = self.tensors.get(*self.index.get(name)?)?;
        let file = self.files.get(*file)?;
        Some((file, &file.header.tensors.get(*i)?.1))
    }

    /// A tensor's values, row-major, converted from f64, f16 or bf16 where needed.
    ///
    /// # Errors
    /// [`Error::File`] when there is no such tensor, its type is not one of those, or a value is NaN or infinite
    /// (an f64 too large for f32 included) and that was not allowed.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>> {
        let (file, info, bytes) = self.stored(name)?;
        let values = decoded(file, name, info.dtype, bytes)?;
        self.check_finite(file, name, 0, values.iter().map(|v| f64::from(*v)))?;
        Ok(values)
    }

    /// Checks that every value of every tensor is finite, those too that no model may ever read.
    ///
    /// # Errors
    /// As [`Weights::f32`].
    pub fn check(&self) -> Result<()> {
        if self.allow_non_finite {
            return Ok(());
        }
        self.tensors.par_iter().try_for_each(|(name, ..)| {
            let (path, info, bytes) = self.stored(name)?;
            if is_whole_number(info.dtype) {
                return Ok(());
            }
            // A part at a time, so that checking a large table takes no memory of its size. Elements are 8 bytes at most.
            let mut first = 0;
            for bytes in bytes.chunks(1 << 20) {
                let values = decoded(path, name, info.dtype, bytes)?;
                self.check_finite(path, name, first, values.iter().map(|v| f64::from(*v)))?;
                first += values.len();
            }
            Ok(())
        })
    }

    /// The rows of a matrix, which are read when they are wanted. They outlive this value.
    ///
    /// # Errors
    /// As [`Weights::f32`], for all rows; [`Error::File`] for a tensor that is no matrix.
    pub fn rows(&self, name: &str) -> Result<Rows> {
        let (path, info, bytes) = self.stored(name)?;
        let &[count, width] = info.shape.as_slice() else {
            let expected = format!("a matrix {}", quoted(name));
            return Err(Error::file(path, expected, format!("a shape of {:?}", info.shape)));
        };
        // A part at a time, so that checking a large table takes no memory of its size.
        let row = (bytes.len() / count.max(1)).max(1);
        let part = ((1 << 20) / row).max(1);
        for (number, bytes) in bytes.chunks(part * row).enumerate() {
            let values = decoded(path, name, info.dtype, bytes)?;
            self.check_finite(path, name, number * part * width, values.into_iter().map(f64::from))?;
        }
        let (file, info) = self.find(name).ok_or_else(|| Error::file(path, quoted(name), "none"))?;
        let start = file.header.data_start + info.data_offsets.0;
        let bytes = start..start + bytes.len();
        Ok(Rows { file: Arc::clone(file), name: name.to_owned(), dtype: info.dtype, bytes, count, width })
    }

    /// A tensor's values rounded to f16, row-major.
    ///
    /// # Errors
    /// As [`Weights::f32`]; a value beyond f16's 65504 counts as infinite.
    pub fn f16(&self, name: &str) -> Result<Vec<f16>> {
        let (file, info, bytes) = self.stored(name)?;
        let values: Vec<f16> = match info.dtype {
            Dtype::F16 => each(bytes, f16::from_le_bytes),
            _ => self.f32(name)?.into_iter().map(f16::from_f32).collect(),
        };
        self.check_finite(file, name, 0, values.iter().map(|v| v.to_f64()))?;
        Ok(values)
    }

    /// A tensor's file, description and bytes.
    fn stored(&self, name: &str) -> Result<(&Path, &TensorInfo, &[u8])> {
        let (file, info) = self.find(name).ok_or_else(|| {
            let found = format!("{} tensors, none with that name", self.tensors.len());
            Error::file(&self.path, format!("a tensor {}", quoted(name)), found)
        })?;
        let (start, end) = info.data_offsets;
        Ok((&file.path, info, &file.bytes[file.header.data_start..][start..end]))
    }

    /// Refuses what is not finite among the values from element `first` on, unless it is allowed.
    fn check_finite(
        &self,
        file: &Path,
        name: &str,
        first: usize,
        mut values: impl Iterator<Item = f64>,
    ) -> Result<()> {
        if self.allow_non_finite {
            return Ok(());
        }
        match values.position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let expected = format!("finite weights in {}", quoted(name));
                Err(Error::file(file, expected, format!("NaN or infinity at element {}", first + at)))
            }
        }
    }
}

/// Whether a type's values are whole numbers, or yes and no: positions, which older files hold beside their weights.
fn is_whole_number(dtype: Dtype) -> bool {
    use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, BOOL | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}

/// A matrix in a file, read row by row.
pub struct Rows {
    file: Arc<Mapped>,
    name: String,
    dtype: Dtype,
    bytes: Range<usize>,
    count: usize,
    width: usize,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("tensor", &self.name)
            .field("dtype", &self.dtype)
            .field("count", &self.count)
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}

impl Rows {
    /// The rows of these numbers, one after the other, converted as [`Weights::f32`] does.
    ///
    /// # Errors
    /// [`Error::File`] for a number beyond the last row.
    pub fn f32(&self, rows: &[u32]) -> Result<Vec<f32>> {
        let bytes = &self.file.bytes[self.bytes.clone()];
        let length = bytes.len() / self.count.max(1);
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for &row in rows {
            let start = row as usize * length;
            let stored = bytes.get(start..start + length).ok_or_else(|| {
                let expected = format!("a row {row} of {}", quoted(&self.name));
                Error::file(&self.file.path, expected, format!("{} rows", self.count))
            })?;
            values.extend(decoded(&self.file.path, &self.name, self.dtype, stored)?);
        }
        Ok(values)
    }
}

/// Elements of `dtype` as f32.
fn decoded(file: &Path, name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>> {
    Ok(match dtype {
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        other => {
            let expected = format!("{} as F32, F16, BF16 or F64", quoted(name));
            return Err(Error::file(file, expected, other.to_string()));
        }
    })
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights({}, {} tensors)", self.path.display(), self.tensors.len())
    }
}

/// Decodes little-endian elements of `N` bytes; the header's check left no remainder.
fn each<T, const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().map(|element| decode(*element)).collect()
}
