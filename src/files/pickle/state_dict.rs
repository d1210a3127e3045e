//! From the values of a pickle to tensors in the bytes of a file.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::Contents;
use super::values::{Id, Pickle, Storage, Value, View};
use crate::error::quoted;

/// The tensors of a state dict, whose storages lie where `place` says in `bytes`.
///
/// Tensors that lie in their storage as they are stay where they are. Those that are transposed or cut out are copied,
/// in all no more than the file has bytes: each element may be in several tensors, but a file cannot become many.
///
/// # Errors
/// What was found instead, in words.
pub(super) fn contents(
    pickle: &Pickle,
    bytes: &[u8],
    place: impl Fn(&str) -> Option<Range<usize>>,
) -> Result<Contents, String> {
    let mut contents = Contents::default();
    let mut copies: HashMap<_, TensorInfo> = HashMap::new();
    let mut names = HashSet::new();
    for &(key, value) in state_dict(pickle)? {
        let name = pickle.text(key).ok_or("a state dict with a key that is no text")?;
        let shown = quoted(name);
        let Value::Tensor(view) = pickle.value(value) else {
            return Err(format!("{shown}, which is no tensor"));
        };
        if !names.insert(name) {
            return Err(format!("the key {shown} twice"));
        }
        let Value::Storage(storage) = pickle.value(view.storage) else {
            return Err(format!("{shown} without a storage"));
        };
        let key = pickle.key(storage).unwrap_or_default();
        let whole = stored(key, storage, place(key))?;
        let extent = Extent::of(view, storage).map_err(|fault| format!("{shown} {fault}"))?;
        let width = width(storage.dtype);
        let shape: Vec<usize> = view.shape.iter().map(|&size| size as usize).collect();
        let info = |start: usize, bytes: usize| TensorInfo {
            dtype: storage.dtype,
            shape: shape.clone(),
            data_offsets: (start, start + bytes),
        };
        if extent.is_contiguous {
            let start = whole.start + extent.first * width;
            contents.in_place.push((name.to_owned(), info(start, extent.elements * width)));
            continue;
        }
        // Tied weights are copied once.
        let same = (key, view.offset, &view.shape, &view.strides);
        let copy = match copies.get(&same) {
            Some(copy) => copy.clone(),
            None => {
                let start = contents.copied_bytes.len();
                if start + extent.elements * width > bytes.len() {
                    let found = "more elements in transposed tensors than the file has";
                    return Err(found.to_owned());
                }
                gather(&bytes[whole], view, width, &mut contents.copied_bytes);
                let copy = info(start, extent.elements * width);
                copies.insert(same, copy.clone());
                copy
            }
        };
        contents.copied.push((name.to_owned(), copy));
    }
    if names.is_empty() {
        return Err("no tensors".to_owned());
    }
    Ok(contents)
}

/// The tensors by their names: the dict itself, or what it calls `state_dict`, as training programs save it.
fn state_dict<'p>(pickle: &'p Pickle) -> Result<&'p [(Id, Id)], String> {
    let Value::Dict(outer) = pickle.value(pickle.root) else { return Err("no dict of tensors".to_owned()) };
    let inner = outer.iter().find(|(key, _)| pickle.text(*key) == Some("state_dict"));
    match inner.map(|&(_, value)| pickle.value(value)) {
        Some(Value::Dict(inner)) => Ok(inner),
        _ => Ok(outer),
    }
}

/// The bytes of an element.
pub(super) fn width(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// No tensor has so many elements.
const MAX_ELEMENTS: u64 = 1 << 48;

/// Where a storage lies, if all of it does.
fn stored(key: &str, storage: &Storage, place: Option<Range<usize>>) -> Result<Range<usize>, String> {
    let key = quoted(key);
    let place =
        place.ok_or_else(|| format!("no storage {key}, which a tensor is in: the file is cut short"))?;
    let needed = storage.elements.checked_mul(width(storage.dtype) as u64);
    if needed.is_none_or(|needed| needed > place.len() as u64) {
        let (elements, dtype, bytes) = (storage.elements, storage.dtype, place.len());
        return Err(format!("a storage {key} of {elements} {dtype} in {bytes} bytes"));
    }
    Ok(place)
}

/// Which elements of a storage a tensor has.
struct Extent {
    first: usize,
    elements: usize,
    /// Whether they follow each other.
    is_contiguous: bool,
}

impl Extent {
    fn of(view: &View, storage: &Storage) -> Result<Extent, String> {
        let beyond = || {
            let View { offset, shape, strides, .. } = view;
            let found = format!("of shape {shape:?} from element {offset} on, with strides {strides:?}");
            format!("{found}, which its storage of {} elements does not hold", storage.elements)
        };
        // Without the zeros, so that no product of the sizes overflows later either.
        let sizes = || view.shape.iter().filter(|&&size| size > 0);
        let product = sizes().try_fold(1u64, |n, &size| n.checked_mul(size)).filter(|&n| n < MAX_ELEMENTS);
        let elements = product.ok_or_else(beyond)?;
        if sizes().count() < view.shape.len() {
            return Ok(Extent { first: 0, elements: 0, is_contiguous: true });
        }
        let (mut last, mut inner, mut is_contiguous) = (view.offset, 1, true);
        for (&size, &stride) in view.shape.iter().zip(&view.strides).rev().filter(|(size, _)| **size > 1) {
            is_contiguous &= stride == inner;
            inner *= size;
            let step = (size - 1).checked_mul(stride).ok_or_else(beyond)?;
            last = last.checked_add(step).ok_or_else(beyond)?;
        }
        // Elements that are in a tensor several times would let it be larger than the file.
        if last >= storage.elements || elements > storage.elements {
            return Err(beyond());
        }
        Ok(Extent { first: view.offset as usize, elements: elements as usize, is_contiguous })
    }
}

/// Puts the elements of a tensor behind each other.
fn gather(storage: &[u8], view: &View, width: usize, into: &mut Vec<u8>) {
    let mut index = vec![0; view.shape.len()];
    let mut at = view.offset as usize;
    loop {
        into.extend_from_slice(&storage[at * width..][..width]);
        // The next index: the last dimension runs fastest.
        let mut dimension = view.shape.len();
        loop {
            let Some(next) = dimension.checked_sub(1) else { return };
            dimension = next;
            let (size, stride) = (view.shape[dimension], view.strides[dimension] as usize);
            index[dimension] += 1;
            if index[dimension] < size {
                at += stride;
                break;
            }
            at -= stride * (size as usize - 1);
            index[dimension] = 0;
        }
    }
}
