//! The part of Python's pickle machine that a state dict needs, and no more.
//!
//! A pickle is a program: its opcodes may call any function of Python by name. Here nothing is ever called. The machine
//! knows the few names that `torch.save` writes for tensors and builds what they stand for; any other name, and any
//! opcode that has no part in a state dict, ends the reading with an error that names it.
//!
//! Values lie in one list and refer to each other by number, so that deep nesting and cycles cost neither stack nor
//! memory. An opcode makes a value at most, and both are bounded, so a hostile file of a few kilobytes cannot grow.

use std::collections::HashMap;
use std::ops::Range;

use super::values::{Global, Id, Pickle, Storage, Value, View, known, text};
use crate::error::quoted;

/// The longest pickle. Those of models are some hundred bytes for each tensor.
const MAX_PICKLE: usize = 1 << 24;
/// The most values of a pickle: some twenty for each tensor.
const MAX_VALUES: usize = 1 << 20;
/// The most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// Reads a pickle from the start of `bytes`.
///
/// # Errors
/// What was found instead of a state dict, in words.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let bytes = &bytes[..bytes.len().min(MAX_PICKLE)];
    let mut machine =
        Machine { bytes, at: 0, values: vec![], stack: vec![], marks: vec![], memo: HashMap::new() };
    let root = machine.run()?;
    Ok(Pickle { bytes, values: machine.values, root, end: machine.at })
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// The heights of the stack at which lists of arguments begin.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Id, String> {
        loop {
            let [opcode] = self.take()?;
            match opcode {
                // The version of the format, and lengths of frames, of which nothing follows.
                0x80 => self.pass(1)?,
                0x95 => self.pass(8)?,
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => {
                    self.pop()?;
                }
                b'N' => self.push(Value::Nothing)?,
                0x88 => self.push(Value::Bool(true))?,
                0x89 => self.push(Value::Bool(false))?,
                b'J' => {
                    let value = i32::from_le_bytes(self.take()?);
                    self.push(Value::Int(value.into()))?;
                }
                b'K' => {
                    let value = u8::from_le_bytes(self.take()?);
                    self.push(Value::Int(value.into()))?;
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.take()?);
                    self.push(Value::Int(value.into()))?;
                }
                0x8a => self.long()?,
                b'G' => {
                    self.pass(8)?;
                    self.push(Value::Nothing)?;
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.take()?);
                    self.text(length.into())?;
                }
                b'T' => {
                    let length = u32::from_le_bytes(self.take()?);
                    self.text(length.into())?;
                }
                0x8c | b'U' => {
                    let [length] = self.take()?;
                    self.text(length.into())?;
                }
                0x8d => {
                    let length = u64::from_le_bytes(self.take()?);
                    self.text(length)?;
                }
                b')' => self.push(Value::Tuple(vec![]))?,
                b']' => self.push(Value::List(vec![]))?,
                b'}' => self.push(Value::Dict(vec![]))?,
                0x85..=0x87 => {
                    let items = self.pop_many(usize::from(opcode - 0x84))?;
                    self.push(Value::Tuple(items))?;
                }
                b't' => {
                    let items = self.pop_mark()?;
                    self.push(Value::Tuple(items))?;
                }
                b'l' => {
                    let items = self.pop_mark()?;
                    self.push(Value::List(items))?;
                }
                b'd' => {
                    let items = self.pop_mark()?;
                    let pairs = pairs(items)?;
                    self.push(Value::Dict(pairs))?;
                }
                b'a' => {
                    let items = self.pop_many(1)?;
                    self.append(items)?;
                }
                b'e' => {
                    let items = self.pop_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let items = self.pop_many(2)?;
                    self.set(items)?;
                }
                b'u' => {
                    let items = self.pop_mark()?;
                    self.set(items)?;
                }
                b'q' => {
                    let [key] = self.take()?;
                    self.remember(key.into())?;
                }
                b'r' => {
                    let key = u32::from_le_bytes(self.take()?);
                    self.remember(key)?;
                }
                0x94 => self.remember(self.memo.len() as u32)?,
                b'h' => {
                    let [key] = self.take()?;
                    self.recall(key.into())?;
                }
                b'j' => {
                    let key = u32::from_le_bytes(self.take()?);
                    self.recall(key)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, &name)?;
                }
                0x93 => {
                    let [module, name] = [1, 0].map(|below| self.stack.len().checked_sub(below + 1));
                    let word = |at: Option<usize>| match self.values.get(*self.stack.get(at?)?)? {
                        Value::Text(range) => text(self.bytes, range).map(str::to_owned),
                        _ => None,
                    };
                    let (Some(module), Some(name)) = (word(module), word(name)) else {
                        return Err("a name that is no text".to_owned());
                    };
                    self.pop_many(2)?;
                    self.global(&module, &name)?;
                }
                b'R' => self.call()?,
                b'b' => self.build()?,
                b'Q' => self.persistent()?,
                other => {
                    return Err(format!(
                        "the opcode 0x{other:02x}, which no state dict needs: it was not run"
                    ));
                }
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let found = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let found = *found.ok_or_else(|| self.ended())?;
        self.at += N;
        Ok(found)
    }

    fn ended(&self) -> String {
        match self.bytes.len() {
            MAX_PICKLE => format!("a pickle of more than {MAX_PICKLE} bytes"),
            length => format!("a pickle that is cut short after {length} bytes"),
        }
    }

    fn skip(&mut self, count: u64) -> Result<Range<usize>, String> {
        let rest = self.bytes.len() - self.at;
        let count = usize::try_from(count).ok().filter(|&count| count <= rest).ok_or_else(|| self.ended())?;
        let start = self.at;
        self.at += count;
        Ok(start..self.at)
    }

    fn pass(&mut self, count: u64) -> Result<(), String> {
        self.skip(count).map(|_| ())
    }

    /// A text up to the end of the line.
    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.ended())?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end + 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.values.len() == MAX_VALUES {
            return Err(format!("a pickle of more than {MAX_VALUES} values"));
        }
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    /// What lies on the stack above the last mark.
    fn height(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, String> {
        if self.height() < count {
            return Err("a pickle that takes what it did not put".to_owned());
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    fn pop(&mut self) -> Result<Id, String> {
        Ok(self.pop_many(1)?[0])
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("a pickle that takes what it did not put")?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Result<Id, String> {
        match self.stack.last() {
            Some(&top) if self.height() > 0 => Ok(top),
            _ => Err("a pickle that takes what it did not put".to_owned()),
        }
    }

    fn long(&mut self) -> Result<(), String> {
        let [length] = self.take()?;
        let range = self.skip(length.into())?;
        if range.len() > 16 {
            return Err(format!("a number of {} bytes", range.len()));
        }
        let digits = &self.bytes[range];
        let negative = digits.last().is_some_and(|&last| last >= 0x80);
        let mut padded = [if negative { 0xff } else { 0 }; 16];
        padded[..digits.len()].copy_from_slice(digits);
        self.push(Value::Int(i128::from_le_bytes(padded)))
    }

    fn text(&mut self, length: u64) -> Result<(), String> {
        let range = self.skip(length)?;
        if text(self.bytes, &range).is_none() {
            return Err("a text that is not UTF-8".to_owned());
        }
        self.push(Value::Text(range))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => list.extend(items),
            _ => return Err("items for what is no list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<Id>) -> Result<(), String> {
        let (top, new) = (self.top()?, pairs(items)?);
        match &mut self.values[top] {
            Value::Dict(dict) => dict.extend(new),
            _ => return Err("keys for what is no dict".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let value = *self.memo.get(&key).ok_or("a pickle that recalls what it did not put")?;
        self.stack.push(value);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let asked = quoted(&format!("{module}.{name}"));
        let global = known(module, name).ok_or_else(|| {
            format!("a pickle that asks for {asked}, which is no part of a tensor: it was not run")
        })?;
        self.push(Value::Global(global))
    }

    /// What stands for the result of a function.
    fn call(&mut self) -> Result<(), String> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let Value::Tuple(arguments) = &self.values[arguments] else {
            return Err("a call without arguments".to_owned());
        };
        let made = match (&self.values[function], arguments.as_slice()) {
            (Value::Global(Global::OrderedDict), []) => Value::Dict(vec![]),
            (Value::Global(Global::OrderedDict), &[list]) => Value::Dict(self.listed(list)?),
            (Value::Global(Global::RebuildTensor), &[storage, offset, shape, strides, ..]) => {
                Value::Tensor(self.view(storage, [offset, shape, strides])?)
            }
            (Value::Global(Global::RebuildParameter), &[tensor, ..]) => match &self.values[tensor] {
                Value::Tensor(view) => Value::Tensor(view.clone()),
                _ => return Err("a parameter that is no tensor".to_owned()),
            },
            (Value::Global(_), _) => return Err("a tensor with other parts than PyTorch writes".to_owned()),
            _ => return Err("a call of what is no function".to_owned()),
        };
        self.push(made)
    }

    /// The pairs of a list of pairs, with which Python 2 made a dict. Each counts as a value.
    fn listed(&mut self, list: Id) -> Result<Vec<(Id, Id)>, String> {
        let no_pairs = || "a dict of what are no pairs".to_owned();
        let Value::List(items) = &self.values[list] else { return Err(no_pairs()) };
        if self.values.len() + items.len() > MAX_VALUES {
            return Err(format!("a pickle of more than {MAX_VALUES} values"));
        }
        let pair = |item: &Id| match &self.values[*item] {
            Value::List(pair) | Value::Tuple(pair) => match pair.as_slice() {
                &[key, value] => Ok((key, value)),
                _ => Err(no_pairs()),
            },
            _ => Err(no_pairs()),
        };
        let pairs: Vec<(Id, Id)> = items.iter().map(pair).collect::<Result<_, _>>()?;
        self.values.resize(self.values.len() + pairs.len(), Value::Nothing);
        Ok(pairs)
    }

    fn view(&self, storage: Id, [offset, shape, strides]: [Id; 3]) -> Result<View, String> {
        let Value::Storage(_) = &self.values[storage] else {
            return Err("a tensor without a storage".to_owned());
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(format!("a tensor of {} dimensions with {} strides", shape.len(), strides.len()));
        }
        Ok(View { storage, offset: self.size(offset)?, shape, strides })
    }

    fn sizes(&self, id: Id) -> Result<Vec<u64>, String> {
        match &self.values[id] {
            Value::Tuple(sizes) if sizes.len() <= MAX_RANK => {
                sizes.iter().map(|&size| self.size(size)).collect()
            }
            Value::Tuple(sizes) => Err(format!("a tensor of {} dimensions", sizes.len())),
            _ => Err("a tensor without a shape".to_owned()),
        }
    }

    fn size(&self, id: Id) -> Result<u64, String> {
        match &self.values[id] {
            Value::Int(size) => u64::try_from(*size).map_err(|_| format!("a tensor with a size of {size}")),
            _ => Err("a tensor with a size that is no number".to_owned()),
        }
    }

    /// Attributes of a dict, in which PyTorch keeps the versions of modules, say nothing of tensors.
    fn build(&mut self) -> Result<(), String> {
        self.pop()?;
        match self.values[self.top()?] {
            Value::Dict(_) => Ok(()),
            _ => Err("attributes for what is no dict".to_owned()),
        }
    }

    /// What lies outside of the pickle: a storage.
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let Value::Tuple(parts) = &self.values[id] else {
            return Err("a reference to no storage".to_owned());
        };
        let (word, class, key, elements, view) = match *parts.as_slice() {
            [word, class, key, _place, elements] => (word, class, key, elements, None),
            [word, class, key, _place, elements, view] => (word, class, key, elements, Some(view)),
            _ => return Err("a reference to no storage".to_owned()),
        };
        let word = match &self.values[word] {
            Value::Text(range) => text(self.bytes, range),
            _ => None,
        };
        let (Some("storage"), Value::Global(Global::Storage(dtype)), Value::Text(key)) =
            (word, &self.values[class], &self.values[key])
        else {
            return Err("a reference to no storage".to_owned());
        };
        if view.is_some_and(|view| !matches!(self.values[view], Value::Nothing)) {
            return Err("a storage that is part of another, as before PyTorch 0.4".to_owned());
        }
        let storage = Storage { key: key.clone(), dtype: *dtype, elements: self.size(elements)? };
        self.push(Value::Storage(storage))
    }
}

fn pairs(items: Vec<Id>) -> Result<Vec<(Id, Id)>, String> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a key without a value".to_owned());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}
