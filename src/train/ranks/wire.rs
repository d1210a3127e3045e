//! Values as bytes, little-endian, between processes of one program.

use crate::data::Batch;
use crate::data::task::Encoded;
use crate::train::objective::{Targets, TextBatch};
use crate::{Error, Result};

/// Puts values one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn number(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn count(&mut self, value: usize) {
        self.number(value as u64);
    }

    pub(super) fn double(&mut self, value: f64) {
        self.number(value.to_bits());
    }

    pub(super) fn floats(&mut self, values: &[f32]) {
        self.count(values.len());
        self.0.extend_from_slice(float_bytes(values));
    }

    pub(super) fn words(&mut self, values: &[u32]) {
        self.count(values.len());
        self.0.extend_from_slice(bytemuck::cast_slice(values));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend(text.as_bytes());
    }

    pub(super) fn list<T>(&mut self, list: &[T], put: impl Fn(&T, &mut Self)) {
        self.count(list.len());
        list.iter().for_each(|one| put(one, self));
    }
}

/// Takes them again.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    from: usize,
}

impl<'a> Reader<'a> {
    /// What came from a rank.
    pub(super) fn new(bytes: &'a [u8], from: usize) -> Self {
        Reader { rest: bytes, from }
    }

    /// What is said of bytes that nobody here has written.
    pub(super) fn broken(&self) -> Error {
        Error::Rank { rank: self.from, message: "it sent what cannot be read: this is a defect".to_owned() }
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.broken())?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        let bytes = self.bytes(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| self.broken())?))
    }

    pub(super) fn count(&mut self) -> Result<usize> {
        usize::try_from(self.number()?).map_err(|_| self.broken())
    }

    pub(super) fn double(&mut self) -> Result<f64> {
        Ok(f64::from_bits(self.number()?))
    }

    /// A number of elements of so many bytes each, of which there are enough.
    fn room(&mut self, bytes: usize) -> Result<usize> {
        let count = self.count()?;
        if count.checked_mul(bytes).is_none_or(|bytes| bytes > self.rest.len()) {
            return Err(self.broken());
        }
        Ok(count)
    }

    pub(super) fn floats(&mut self) -> Result<Vec<f32>> {
        let count = self.room(4)?;
        Ok(floats(self.bytes(4 * count)?).collect())
    }

    pub(super) fn words(&mut self) -> Result<Vec<u32>> {
        let count = self.room(4)?;
        let (words, _) = self.bytes(4 * count)?.as_chunks::<4>();
        Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let count = self.room(1)?;
        String::from_utf8(self.bytes(count)?.to_vec()).map_err(|_| self.broken())
    }

    /// A batch.
    pub(super) fn packed<T: Packed>(&mut self) -> Result<T> {
        T::unpack(&mut self.rest, self.from)
    }

    pub(super) fn list<T>(&mut self, take: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.room(1)?;
        (0..count).map(|_| take(self)).collect()
    }
}

/// f32s as bytes, as they lie in memory: little-endian on all that GPUs are in. Gradients are far too many to be taken one by one.
pub(super) fn float_bytes(values: &[f32]) -> &[u8] {
    bytemuck::cast_slice(values)
}

/// Bytes as f32s; what does not fill one is left out.
pub(super) fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|float| f32::from_le_bytes(*float))
}

/// A batch that travels.
pub trait Packed: Sized {
    /// Puts it behind what is there.
    fn pack(&self, bytes: &mut Vec<u8>);

    /// Takes it from the front of `bytes`, which came from a rank.
    ///
    /// # Errors
    /// [`Error::Rank`] where it is not there.
    fn unpack(bytes: &mut &[u8], from: usize) -> Result<Self>;
}

/// Puts a value by what writes it.
fn put(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Writer)) {
    let mut writer = Writer(std::mem::take(bytes));
    write(&mut writer);
    *bytes = writer.0;
}

/// Takes a value by what reads it.
fn take<T>(bytes: &mut &[u8], from: usize, read: impl FnOnce(&mut Reader<'_>) -> Result<T>) -> Result<T> {
    let mut reader = Reader::new(bytes, from);
    let value = read(&mut reader)?;
    *bytes = reader.rest;
    Ok(value)
}

impl Packed for Batch {
    fn pack(&self, bytes: &mut Vec<u8>) {
        let Batch { sequences, seq_len, input_ids, bounds, masked_rows, labels, tokens, truncated } = self;
        put(bytes, |to| {
            [sequences, seq_len, tokens, truncated].into_iter().for_each(|count| to.count(*count));
            [input_ids, masked_rows, labels].into_iter().for_each(|words| to.words(words));
            to.words(bounds.as_flattened());
        });
    }

    fn unpack(bytes: &mut &[u8], from: usize) -> Result<Self> {
        take(bytes, from, |it| {
            let [sequences, seq_len, tokens, truncated] =
                [it.count()?, it.count()?, it.count()?, it.count()?];
            let [input_ids, masked_rows, labels] = [it.words()?, it.words()?, it.words()?];
            let bounds = it.words()?.as_chunks::<2>().0.to_vec();
            Ok(Batch { sequences, seq_len, input_ids, bounds, masked_rows, labels, tokens, truncated })
        })
    }
}

impl Packed for TextBatch {
    fn pack(&self, bytes: &mut Vec<u8>) {
        let TextBatch { tokens, texts, targets } = self;
        put(bytes, |to| {
            to.count(*tokens);
            to.list(texts, |Encoded { ids, types, truncated }, to| {
                to.words(ids);
                to.words(types);
                to.count(*truncated);
            });
            match targets {
                Targets::Classes(classes) => {
                    to.byte(0);
                    to.words(classes);
                }
                Targets::Numbers(numbers) => {
                    to.byte(1);
                    to.floats(numbers);
                }
                Targets::Labels(lists) => {
                    to.byte(2);
                    to.list(lists, |labels, to| to.words(labels));
                }
                Targets::Tokens(lists) => {
                    to.byte(3);
                    to.list(lists, |tokens, to| {
                        let flat: Vec<u32> =
                            tokens.iter().flat_map(|(place, class)| [*place, *class]).collect();
                        to.words(&flat);
                    });
                }
                Targets::Pairs => to.byte(4),
            }
        });
    }

    fn unpack(bytes: &mut &[u8], from: usize) -> Result<Self> {
        take(bytes, from, |it| {
            let tokens = it.count()?;
            let texts =
                it.list(|it| Ok(Encoded { ids: it.words()?, types: it.words()?, truncated: it.count()? }))?;
            let targets = match it.byte()? {
                0 => Targets::Classes(it.words()?),
                1 => Targets::Numbers(it.floats()?),
                2 => Targets::Labels(it.list(Reader::words)?),
                3 => Targets::Tokens(it.list(|it| {
                    Ok(it.words()?.as_chunks::<2>().0.iter().map(|[place, class]| (*place, *class)).collect())
                })?),
                4 => Targets::Pairs,
                _ => return Err(it.broken()),
            };
            Ok(TextBatch { tokens, texts, targets })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: Packed + PartialEq + std::fmt::Debug>(value: T) {
        let mut bytes = vec![7];
        value.pack(&mut bytes);
        let whole = bytes.split_off(1);
        let mut rest = &[&whole[..], &[9]].concat()[..];
        assert_eq!(T::unpack(&mut rest, 3).unwrap(), value);
        assert_eq!(rest, [9]);
        // Whatever is cut off is noticed, whatever is changed does no harm.
        for end in 0..whole.len() {
            let error = T::unpack(&mut &whole[..end], 3).unwrap_err().to_string();
            assert!(error.starts_with("rank 3: "), "{error}");
            let mut changed = whole.clone();
            changed[end] = 0xff;
            let _ = T::unpack(&mut &changed[..], 3);
        }
    }

    #[test]
    fn batches_come_out_as_they_went_in() {
        round(Batch::default());
        round(Batch {
            sequences: 2,
            seq_len: 3,
            input_ids: vec![1, 2, 3, 4, 5, u32::MAX],
            bounds: vec![[0, 3], [0, 2], [1, 1], [0, 0], [7, 9], [2, 3]],
            masked_rows: vec![1, 4],
            labels: vec![9, 8],
            tokens: 6,
            truncated: 1,
        });
        let text = |ids: &[u32]| Encoded { ids: ids.to_vec(), types: vec![0; ids.len()], truncated: 2 };
        let texts = vec![text(&[1, 2, 3]), text(&[])];
        for targets in [
            Targets::Classes(vec![1, 0]),
            Targets::Numbers(vec![-0.5, f32::MIN_POSITIVE]),
            Targets::Labels(vec![vec![], vec![1, 2]]),
            Targets::Tokens(vec![vec![(1, 2), (2, 0)], vec![]]),
            Targets::Pairs,
        ] {
            round(TextBatch { tokens: 8, texts: texts.clone(), targets });
        }
    }

    #[test]
    fn numbers_come_out_as_they_went_in() {
        let mut to = Writer::default();
        to.text("ä");
        to.double(-0.1);
        to.floats(&[f32::NAN, -0.0]);
        let mut it = Reader::new(&to.0, 0);
        assert_eq!((it.text().unwrap(), it.double().unwrap()), ("ä".to_owned(), -0.1));
        let bits: Vec<u32> = it.floats().unwrap().into_iter().map(f32::to_bits).collect();
        assert_eq!(bits, [f32::NAN.to_bits(), (-0.0_f32).to_bits()]);
    }
}
