//! Prepared sequences, mapped into memory where they lie on a disk.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::manifest::{FILE, Manifest, Part, UNIGRAMS, unigram_entropy};
use super::masking::MaskingOptions;
use crate::hash::{fnv1a, fnv1a_from};
use crate::store::{Bytes, Disk, Store, checksums};
use crate::text::companions::SPECIAL_TOKENS_FILE;
use crate::text::{Companions, TokenTable, Tokenizer, tokenizer};
use crate::{Error, Result};

/// Which part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// To train on.
    Train,
    /// To measure on.
    HeldOut,
}

/// A part of a sequence that sees itself alone: `[CLS]`, text, `[SEP]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its first position.
    pub start: usize,
    /// Past its last position.
    pub end: usize,
    /// Its number in the split, from which its masks are drawn. A sequence that is not packed is one segment, whose
    /// number is the sequence's where nothing is packed.
    pub number: u64,
}

/// How many tokens of a packed sequence are masked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskedCount {
    /// On average.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
}

impl MaskedCount {
    /// Room for the masked tokens of a batch of so many sequences; one batch in some ten thousand has more.
    pub fn room(&self, sequences: usize) -> usize {
        (self.mean * sequences as f64 + 4.0 * self.deviation * (sequences as f64).sqrt()).ceil() as usize
    }
}

/// One or more data folders as one sequence of sequences, folder after folder.
pub struct Dataset {
    seq_len: usize,
    tokenizer: Tokenizer,
    train: Sequences,
    held_out: Sequences,
    /// `[V]` counts of each id in train, then in held-out.
    unigrams: [Vec<u64>; 2],
    fingerprint: u64,
}

#[derive(Default)]
struct Sequences {
    shards: Vec<Shard>,
    /// Past the last sequence of each shard.
    ends: Vec<u64>,
    tokens: u64,
    /// How many segments were numbered.
    numbered: u64,
}

struct Shard {
    path: PathBuf,
    token_bytes: usize,
    tokens: Bytes,
    offsets: Bytes,
    /// Start and number of each segment, where sequences are packed.
    segments: Option<Bytes>,
    /// Added to the numbers of the segments; where sequences are not packed, to their indices in the shard.
    first_number: u64,
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (train, held_out) = (self.len(Split::Train), self.len(Split::HeldOut));
        let mut structure = formatter.debug_struct("Dataset");
        structure.field("seq_len", &self.seq_len).field("train", &train).field("held_out", &held_out);
        structure.finish_non_exhaustive()
    }
}

impl Dataset {
    /// Opens folders made by [`prepare`](super::prepare::prepare) and checks every byte against its checksum.
    ///
    /// # Errors
    /// A folder that is incomplete or changed, or two of different tokenizers or sequence lengths.
    pub fn open(folders: &[PathBuf]) -> Result<Self> {
        Self::open_on(&Disk, folders)
    }

    /// [`Dataset::open`] from a given store.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_on(store: &dyn Store, folders: &[impl AsRef<Path>]) -> Result<Self> {
        Self::open_with(store, folders, true)
    }

    /// [`Dataset::open_on`]; without `verify` the manifest is not compared with its checksum. The files that it lists are
    /// always compared with those that it gives, from which the data's fingerprint follows.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_with(store: &dyn Store, folders: &[impl AsRef<Path>], verify: bool) -> Result<Self> {
        let folders: Vec<&Path> = folders.iter().map(AsRef::as_ref).collect();
        let Some(first) = folders.first() else {
            return Err(Error::config("data", "at least one folder", "none"));
        };
        if verify {
            // The manifest lists the other files itself.
            for folder in &folders {
                checksums::verify(store, folder, &[FILE], |name| {
                    [FILE, SPECIAL_TOKENS_FILE].contains(&name)
                })?;
            }
        }
        let manifests =
            folders.iter().map(|folder| Manifest::read(store, folder)).collect::<Result<Vec<_>>>()?;
        let seq_len = manifests[0].seq_len;
        for (folder, manifest) in folders.iter().zip(&manifests) {
            if manifest.seq_len != seq_len {
                let expected = format!("sequences of {seq_len} tokens as in {}", first.display());
                return Err(Error::file(folder, expected, format!("{} tokens", manifest.seq_len)));
            }
            if manifest.tokenizer != manifests[0].tokenizer {
                let expected = format!("the tokenizer of {} ({})", first.display(), manifests[0].tokenizer);
                return Err(Error::file(folder, expected, format!("another ({})", manifest.tokenizer)));
            }
        }
        let path = first.join(tokenizer::FILE);
        let roles = Companions::read(store, first)?.roles();
        let tokenizer = Tokenizer::with_roles(store.read(&path)?.to_vec(), &path, &roles)?;
        let vocab_size = tokenizer.vocab_size();
        let mut dataset = Dataset {
            seq_len,
            tokenizer,
            train: Sequences::default(),
            held_out: Sequences::default(),
            unigrams: [vec![0; vocab_size], vec![0; vocab_size]],
            fingerprint: fnv1a(b""),
        };
        for (folder, manifest) in folders.iter().zip(&manifests) {
            dataset.add(store, folder, manifest)?;
        }
        Ok(dataset)
    }

    fn add(&mut self, store: &dyn Store, folder: &Path, manifest: &Manifest) -> Result<()> {
        if manifest.vocab_size != self.vocab_size() {
            let expected = format!("the {} tokens of its tokenizer", self.vocab_size());
            return Err(Error::file(folder.join(FILE), expected, format!("{} tokens", manifest.vocab_size)));
        }
        let copy = sound(store, folder.join(tokenizer::FILE), None, manifest.tokenizer_crc32)?;
        if format!("{:016x}", fnv1a(&copy)) != manifest.tokenizer {
            return Err(Error::file(
                folder.join(tokenizer::FILE),
                "the tokenizer of its manifest",
                "another",
            ));
        }
        let size = (self.vocab_size() as u64).checked_mul(16);
        let counts = sound(store, folder.join(UNIGRAMS), size, manifest.unigrams_crc32)?;
        let (train, held_out) = counts.split_at(counts.len() / 2);
        for (totals, counts) in self.unigrams.iter_mut().zip([train, held_out]) {
            for (total, count) in totals.iter_mut().zip(u64s(counts)) {
                *total = total.saturating_add(count);
            }
        }
        self.train.add((store, folder), &manifest.train, manifest, &mut self.fingerprint)?;
        self.held_out.add((store, folder), &manifest.held_out, manifest, &mut self.fingerprint)?;
        self.fingerprint = fnv1a_from(self.fingerprint, manifest.tokenizer.as_bytes());
        self.fingerprint = fnv1a_from(self.fingerprint, &(manifest.seq_len as u64).to_le_bytes());
        Ok(())
    }

    fn split(&self, split: Split) -> &Sequences {
        match split {
            Split::Train => &self.train,
            Split::HeldOut => &self.held_out,
        }
    }

    /// How many sequences a part has.
    pub fn len(&self, split: Split) -> u64 {
        self.split(split).ends.last().copied().unwrap_or(0)
    }

    /// Whether a part has no sequence.
    pub fn is_empty(&self, split: Split) -> bool {
        self.len(split) == 0
    }

    /// How many tokens a part has, `[CLS]` and `[SEP]` included.
    pub fn tokens(&self, split: Split) -> u64 {
        self.split(split).tokens
    }

    /// T: no sequence is longer.
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// V: every id is below.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size()
    }

    /// The tokenizer of the data.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What is known of each id.
    pub fn table(&self) -> &TokenTable {
        self.tokenizer.table()
    }

    /// The loss in nats of guessing held-out tokens by their frequency in train, counts raised by one; none if nothing
    /// was held out.
    pub fn unigram_entropy(&self) -> Option<f64> {
        unigram_entropy(&self.unigrams[0], &self.unigrams[1])
    }

    /// A number that differs between different data, different tokenizers or another order of folders; where the
    /// folders lie does not matter.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The tokens of a sequence, `[CLS]` first and `[SEP]` last; 3 to `seq_len` of them.
    ///
    /// # Errors
    /// An index past the end, or a sequence that is too long or has an id past the vocabulary.
    pub fn sequence(&self, split: Split, index: u64) -> Result<Vec<u32>> {
        let (shard, start, end) = self.locate(split, index)?;
        let tokens = shard.tokens(start, end);
        let vocab_size = self.vocab_size() as u32;
        if let Some(id) = tokens.iter().find(|&&id| id >= vocab_size) {
            let found = format!("{id} in sequence {index}");
            return Err(Error::file(&shard.path, format!("token ids below {vocab_size}"), found));
        }
        Ok(tokens)
    }

    /// Whether a sequence may have more than one segment.
    pub fn packed(&self) -> bool {
        [Split::Train, Split::HeldOut]
            .into_iter()
            .any(|split| self.split(split).shards.iter().any(|shard| shard.segments.is_some()))
    }

    /// The segments of a sequence: in order, without a gap.
    ///
    /// # Errors
    /// As [`Dataset::sequence`]; segments that overlap or are too short to be any.
    pub fn segments(&self, split: Split, index: u64) -> Result<Vec<Segment>> {
        let (shard, start, end) = self.locate(split, index)?;
        let length = (end - start) as usize;
        let Some(bytes) = &shard.segments else {
            let number = shard.first_number.wrapping_add(self.local(split, index));
            return Ok(vec![Segment { start: 0, end: length, number }]);
        };
        let count = bytes.len() / 16;
        let first = first_at(bytes, count, start);
        let mut segments: Vec<Segment> = Vec::new();
        for at in first..count {
            let offset = u64_at(bytes, 2 * at);
            if offset >= end {
                break;
            }
            let number = shard.first_number.wrapping_add(u64_at(bytes, 2 * at + 1));
            segments.push(Segment { start: (offset - start) as usize, end: length, number });
        }
        for at in 1..segments.len() {
            segments[at - 1].end = segments[at].start;
        }
        let sound = segments.first().is_some_and(|first| first.start == 0)
            && segments.iter().all(|segment| segment.end >= segment.start + 3);
        if !sound {
            let expected = format!("segments of 3 tokens or more that fill sequence {index}");
            let found = format!("{} of them", segments.len());
            return Err(Error::file(shard.path.with_extension("seg"), expected, found));
        }
        Ok(segments)
    }

    /// How many tokens of packed sequences to train on are masked, from up to 65,536 of them; none unless some are packed.
    ///
    /// # Errors
    /// As [`Dataset::segments`].
    pub fn masked(&self, masking: &MaskingOptions) -> Result<Option<MaskedCount>> {
        let length = self.len(Split::Train);
        if !self.packed() || length == 0 {
            return Ok(None);
        }
        let looks = length.min(1 << 16);
        let count = |look: u64| {
            let index = (u128::from(look) * u128::from(length) / u128::from(looks)) as u64;
            let segments = self.segments(Split::Train, index)?;
            Ok(segments.iter().map(|part| masking.masked(part.end - part.start - 2) as f64).sum())
        };
        let counts = (0..looks).into_par_iter().map(count).collect::<Result<Vec<f64>>>()?;
        let mean = counts.iter().sum::<f64>() / looks as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / looks as f64;
        Ok(Some(MaskedCount { mean, deviation: variance.sqrt() }))
    }

    /// The index of a sequence in its shard.
    fn local(&self, split: Split, index: u64) -> u64 {
        let ends = &self.split(split).ends;
        let number = ends.partition_point(|&end| end <= index);
        index - if number == 0 { 0 } else { ends[number - 1] }
    }

    /// The shard of a sequence and the range of its tokens there, which lies in the file.
    fn locate(&self, split: Split, index: u64) -> Result<(&Shard, u64, u64)> {
        let sequences = self.split(split);
        let number = sequences.ends.partition_point(|&end| end <= index);
        let Some(shard) = sequences.shards.get(number) else {
            let expected = format!("a sequence below {}", self.len(split));
            return Err(Error::config("sequence", expected, index));
        };
        let local = self.local(split, index) as usize;
        let (start, end) = (u64_at(&shard.offsets, local), u64_at(&shard.offsets, local + 1));
        let length = end.checked_sub(start).filter(|length| (3..=self.seq_len as u64).contains(length));
        if length.is_none() || end > (shard.tokens.len() / shard.token_bytes) as u64 {
            let expected = format!("3 to {} tokens in sequence {index}", self.seq_len);
            return Err(Error::file(&shard.path, expected, format!("{start} to {end}")));
        }
        Ok((shard, start, end))
    }
}

impl Sequences {
    fn add(
        &mut self,
        (store, folder): (&dyn Store, &Path),
        part: &Part,
        manifest: &Manifest,
        fingerprint: &mut u64,
    ) -> Result<()> {
        let open = |shard: &super::manifest::Shard| {
            let path = |ending: &str| folder.join(format!("{}.{ending}", shard.name));
            let size = |count: u64, bytes: u64| Some(count.saturating_mul(bytes));
            let index = shard.sequences.saturating_add(1);
            Ok(Shard {
                path: path("bin"),
                token_bytes: manifest.token_bytes,
                tokens: sound(
                    store,
                    path("bin"),
                    size(shard.tokens, manifest.token_bytes as u64),
                    shard.crc32,
                )?,
                offsets: sound(store, path("idx"), size(index, 8), shard.index_crc32)?,
                segments: match shard.segments {
                    Some(segments) => {
                        Some(sound(store, path("seg"), size(segments.count, 16), segments.crc32)?)
                    }
                    None => None,
                },
                first_number: 0,
            })
        };
        let mut shards = part.shards.par_iter().map(open).collect::<Result<Vec<_>>>()?;
        let first_number = self.numbered;
        for (shard, opened) in part.shards.iter().zip(&mut shards) {
            // The numbers of a packed folder count through its shards already.
            opened.first_number = if manifest.pack { first_number } else { self.numbered };
            self.numbered += shard.segments.map_or(shard.sequences, |segments| segments.count);
            if let Some(segments) = shard.segments {
                *fingerprint = fnv1a_from(*fingerprint, &segments.crc32.to_le_bytes());
            }
            self.ends.push(self.ends.last().copied().unwrap_or(0) + shard.sequences);
            *fingerprint = fnv1a_from(*fingerprint, &shard.tokens.to_le_bytes());
            let crcs = [shard.crc32, shard.index_crc32].into_iter().chain(shard.documents_crc32);
            for crc in crcs {
                *fingerprint = fnv1a_from(*fingerprint, &crc.to_le_bytes());
            }
        }
        self.shards.extend(shards);
        self.tokens += part.tokens;
        Ok(())
    }
}

impl Shard {
    /// The tokens of a range that lies in the file.
    fn tokens(&self, start: u64, end: u64) -> Vec<u32> {
        let bytes = &self.tokens[start as usize * self.token_bytes..end as usize * self.token_bytes];
        match self.token_bytes {
            2 => bytes.as_chunks().0.iter().map(|&bytes| u32::from(u16::from_le_bytes(bytes))).collect(),
            _ => bytes.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect(),
        }
    }
}

fn u64s(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes))
}

/// The `index`-th number of a file of 64-bit integers; 0 past its end.
fn u64_at(bytes: &[u8], index: usize) -> u64 {
    bytes.as_chunks().0.get(index).map_or(0, |&bytes| u64::from_le_bytes(bytes))
}

/// The first of `count` records of two numbers that begins with `least` or more; they ascend.
fn first_at(bytes: &[u8], count: usize, least: u64) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        if u64_at(bytes, 2 * middle) < least { low = middle + 1 } else { high = middle }
    }
    low
}

/// A file whose size and checksum must be these.
fn sound(store: &dyn Store, path: PathBuf, size: Option<u64>, crc32: u32) -> Result<Bytes> {
    let bytes = store.read(&path)?;
    let found = bytes.len() as u64;
    if let Some(size) = size.filter(|&size| size != found) {
        return Err(Error::file(path, format!("{size} bytes"), format!("{found}")));
    }
    let actual = checksums::crc32(&bytes);
    if actual != crc32 {
        return Err(Error::file(path, format!("the checksum {crc32:08x}"), format!("{actual:08x}")));
    }
    Ok(bytes)
}
