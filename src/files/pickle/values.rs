//! What a pickle can make, and the names that it may ask for.

use std::ops::Range;

use safetensors::Dtype;

/// The number of a value.
pub(super) type Id = usize;

/// What a pickle can make.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// What no tensor depends on: `None`, floats.
    Nothing,
    Bool(bool),
    Int(i128),
    /// Where the text stands in the pickle.
    Text(Range<usize>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(View),
}

/// The names that a state dict may ask for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Global {
    OrderedDict,
    Storage(Dtype),
    RebuildTensor,
    RebuildParameter,
}

/// Elements that lie elsewhere in the file, under a name.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    /// Where its name stands in the pickle.
    pub key: Range<usize>,
    pub dtype: Dtype,
    pub elements: u64,
}

/// A tensor: which elements of a storage, in which order.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// The number of the storage among the values.
    pub storage: Id,
    /// Its first element.
    pub offset: u64,
    pub shape: Vec<u64>,
    /// How many elements further the next one of each dimension lies.
    pub strides: Vec<u64>,
}

/// A pickle that was read to its end.
pub(super) struct Pickle<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) values: Vec<Value>,
    /// What it is of.
    pub root: Id,
    /// Where it ends.
    pub end: usize,
}

impl<'a> Pickle<'a> {
    /// The value of a number that the machine gave.
    pub(super) fn value(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::Nothing)
    }

    /// The text that a value is.
    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        match self.value(id) {
            Value::Text(range) => text(self.bytes, range),
            _ => None,
        }
    }

    /// All storages that it speaks of.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// The name of a storage.
    pub(super) fn key(&self, storage: &Storage) -> Option<&'a str> {
        text(self.bytes, &storage.key)
    }
}

pub(super) fn text<'a>(bytes: &'a [u8], range: &Range<usize>) -> Option<&'a str> {
    std::str::from_utf8(bytes.get(range.clone())?).ok()
}

/// What a name stands for, if a state dict may ask for it.
pub(super) fn known(module: &str, name: &str) -> Option<Global> {
    match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
        ("torch" | "torch.cuda", name) => Some(Global::Storage(match name.strip_suffix("Storage")? {
            "Double" => Dtype::F64,
            "Float" => Dtype::F32,
            "Half" => Dtype::F16,
            "BFloat16" => Dtype::BF16,
            "Long" => Dtype::I64,
            "Int" => Dtype::I32,
            "Short" => Dtype::I16,
            "Char" => Dtype::I8,
            "Byte" => Dtype::U8,
            "Bool" => Dtype::BOOL,
            _ => return None,
        })),
        _ => None,
    }
}
