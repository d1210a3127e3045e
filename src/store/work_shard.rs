//! Work that several processes divide among them, item by item.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hash::{fnv1a, fnv1a_from};
use crate::random::mix;
use crate::{Error, Result};

/// One of N equal shares of work, called `I/N`: the items I, I + N, I + 2N, …, counted from 1.
///
/// Nobody has to know how many items there are, so that they may come from a pipe, and texts that are sorted by their length
/// come to all shares alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkShard {
    /// Counted from 1.
    number: u64,
    of: u64,
}

impl WorkShard {
    /// As many shares there may be: whoever puts the parts together has all of them open.
    pub const MOST: u64 = 1000;

    /// Share `number`, counted from 1, of `of`.
    ///
    /// # Errors
    /// [`Error::Config`] for a number that is not from 1 to `of`, or more than [`WorkShard::MOST`] shares.
    pub fn new(number: u64, of: u64) -> Result<Self> {
        if (1..=of).contains(&number) && of <= Self::MOST {
            return Ok(WorkShard { number, of });
        }
        let expected = format!("I/N with I from 1 to N, and N up to {}", Self::MOST);
        Err(Error::config("shard", expected, format!("{number}/{of}")))
    }

    /// I, counted from 1.
    pub fn number(self) -> u64 {
        self.number
    }

    /// N
    pub fn of(self) -> u64 {
        self.of
    }

    /// Whether the item `index`, counted from 0, is in this share.
    pub fn has(self, index: u64) -> bool {
        index % self.of == self.number - 1
    }

    /// Which of all items, counted from 0, is number `index` of this share.
    pub fn place(self, index: u64) -> u64 {
        index * self.of + self.number - 1
    }

    /// How many of `total` items are in this share.
    pub fn items(self, total: u64) -> u64 {
        (total + self.of - self.number) / self.of
    }

    /// The part of `output` that this share makes: `OUTPUT.I-of-N`. A slash behind a folder's name is no part of it.
    ///
    /// # Errors
    /// [`Error::Config`] for what has no name of its own, such as `..`.
    pub fn part(self, output: &Path) -> Result<PathBuf> {
        let whole: PathBuf = output.components().collect();
        let Some(name) = whole.file_name() else {
            return Err(Error::config("out", "a name by which parts can be called", output.display()));
        };
        let mut name = name.to_owned();
        name.push(format!(".{}-of-{}", self.number, self.of));
        Ok(whole.with_file_name(name))
    }

    /// The share whose part of an output called `output` has this name, if it is such a part.
    pub(super) fn named(name: &str, output: &str) -> Option<Self> {
        let (number, of) = name.strip_prefix(output)?.strip_prefix('.')?.split_once("-of-")?;
        let shard = WorkShard::new(number.parse().ok()?, of.parse().ok()?).ok()?;
        // A zero in front would be another name for the same part.
        (shard.part(Path::new(output)).ok()?.as_os_str() == name).then_some(shard)
    }
}

impl fmt::Display for WorkShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for WorkShard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').and_then(|(i, n)| i.parse().ok().zip(n.parse().ok()));
        let (number, of) = numbers.ok_or_else(|| {
            let expected = "I/N, two whole numbers such as 1/4 for the first of four";
            Error::config("shard", expected, crate::error::quoted(text))
        })?;
        WorkShard::new(number, of)
    }
}

impl TryFrom<String> for WorkShard {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<WorkShard> for String {
    fn from(shard: WorkShard) -> String {
        shard.to_string()
    }
}

/// All items that came by, of which every share sees each one: by it the parts know that they are of the same input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// How many.
    pub items: u64,
    /// Their hashes, in their order, hashed.
    pub digest: u64,
}

impl Seen {
    /// Adds an item by the hash of what it holds.
    pub(crate) fn add(&mut self, hash: u64) {
        self.items += 1;
        self.digest = mix(self.digest ^ hash);
    }
}

/// The texts, or pairs of texts, of one share among all.
#[derive(Debug)]
pub struct OfShard<I, T> {
    all: I,
    shard: Option<WorkShard>,
    texts: fn(&T) -> (&str, Option<&str>),
    seen: Seen,
}

impl<I, T> OfShard<I, T> {
    /// The items of `shard` among `all`; without a share all of them. `texts` gives what an item is known by.
    pub fn new(all: I, shard: Option<WorkShard>, texts: fn(&T) -> (&str, Option<&str>)) -> Self {
        OfShard { all, shard, texts, seen: Seen::default() }
    }

    /// Where the items come from.
    pub fn all(&self) -> &I {
        &self.all
    }

    /// What came by so far, those of other shares among it; nothing where nothing is divided.
    pub fn seen(&self) -> Seen {
        self.seen
    }
}

impl<T, I: Iterator<Item = Result<T>>> Iterator for OfShard<I, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(shard) = self.shard else { return self.all.next() };
        loop {
            let item = match self.all.next()? {
                Ok(item) => item,
                error => return Some(error),
            };
            let (text, pair) = (self.texts)(&item);
            let hash = fnv1a(text.as_bytes());
            // No text holds this byte, which says where the first of two ends.
            self.seen.add(pair.map_or(hash, |pair| fnv1a_from(fnv1a_from(hash, &[0xff]), pair.as_bytes())));
            if shard.has(self.seen.items - 1) {
                return Some(Ok(item));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_in_one_share() {
        for (total, of) in [(0, 1), (1, 4), (4, 4), (7, 3), (2000, 7)] {
            let shards: Vec<WorkShard> = (1..=of).map(|number| WorkShard::new(number, of).unwrap()).collect();
            for item in 0..total {
                assert_eq!(shards.iter().filter(|shard| shard.has(item)).count(), 1);
            }
            for shard in &shards {
                let places: Vec<u64> = (0..shard.items(total)).map(|index| shard.place(index)).collect();
                let own: Vec<u64> = (0..total).filter(|&item| shard.has(item)).collect();
                assert_eq!(places, own, "{shard} of {total}");
            }
        }
    }

    #[test]
    fn shares_have_names_and_others_are_refused() {
        let shard: WorkShard = "2/4".parse().unwrap();
        assert_eq!((shard.number(), shard.of(), shard.to_string().as_str()), (2, 4, "2/4"));
        for output in ["folder/vectors.npy", "folder/vectors.npy/", "folder/./vectors.npy//"] {
            assert_eq!(shard.part(Path::new(output)).unwrap(), Path::new("folder/vectors.npy.2-of-4"));
        }
        for nameless in ["", ".", "..", "folder/..", "/"] {
            let refused = shard.part(Path::new(nameless)).unwrap_err().to_string();
            assert!(refused.starts_with("out: expected a name by which parts can be called"), "{refused}");
        }
        assert_eq!(WorkShard::named("vectors.npy.2-of-4", "vectors.npy"), Some(shard));
        for other in
            ["vectors.npy", "vectors.npy.02-of-4", "vectors.npy.5-of-4", "a.npy.2-of-4", "vectors.npy.x"]
        {
            assert_eq!(WorkShard::named(other, "vectors.npy"), None, "{other}");
        }
        for wrong in ["0/4", "5/4", "0/0", "1/0", "1/1001", "4", "a/b", "-1/4", "1/4/4", ""] {
            let refused = wrong.parse::<WorkShard>().unwrap_err().to_string();
            assert!(refused.starts_with("shard: expected I/N"), "{refused}");
        }
    }

    #[test]
    fn two_texts_are_not_one() {
        let seen = |items: &[(&'static str, Option<&'static str>)]| {
            let all = items.iter().copied().map(Ok);
            let shard = WorkShard::new(1, 2).unwrap();
            let mut own = OfShard::new(all, Some(shard), |item: &(&'static str, Option<&'static str>)| *item);
            let count = own.by_ref().count() as u64;
            assert_eq!(count, shard.items(own.seen().items));
            own.seen()
        };
        let [first, second, third] =
            [&[("ab", None)][..], &[("a", Some("b"))], &[("a", None), ("b", None)]].map(seen);
        assert!(first != second && second.digest != third.digest && first.digest != third.digest);
        assert_eq!(third.items, 2);
    }
}
