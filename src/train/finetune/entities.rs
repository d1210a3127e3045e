//! Entities in tagged words, counted as the package `seqeval` counts them (Nakayama 2018) in its default mode, which follows
//! the script of CoNLL's shared tasks: an `I-` without a `B-` begins an entity.

use std::collections::{BTreeMap, HashSet};

/// Words that are one entity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entity {
    /// What kind it is: `PER` of `B-PER`.
    pub kind: String,
    /// Its first word.
    pub first: usize,
    /// Its last word.
    pub last: usize,
}

/// How many entities of each kind are right, were found, and are there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntityCounts(BTreeMap<String, [usize; 3]>);

/// The letter before the first hyphen, which says where in an entity the word stands, and the kind.
fn parts(tag: &str) -> (char, &str) {
    let letter = tag.chars().next().unwrap_or('O');
    let rest = &tag[tag.chars().next().map_or(0, char::len_utf8)..];
    let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
    (letter, if kind.is_empty() { "_" } else { kind })
}

/// The entities in the tags of the words of one text: B(egin), I(nside), E(nd), S(ingle) or O(utside), with a kind after a
/// hyphen.
pub fn entities<'a>(tags: impl IntoIterator<Item = &'a str>) -> Vec<Entity> {
    let mut found = Vec::new();
    let (mut before, mut kind_before, mut first) = ('O', "", 0);
    for (word, tag) in tags.into_iter().chain(["O"]).enumerate() {
        let (letter, kind) = parts(tag);
        let inside = |letter: char| !matches!(letter, 'O' | '.');
        let other_kind = kind != kind_before;
        let ends = matches!(before, 'E' | 'S')
            || (matches!(before, 'B' | 'I') && matches!(letter, 'B' | 'S' | 'O'))
            || (inside(before) && other_kind);
        if ends {
            let kind = kind_before.to_owned();
            found.push(Entity { kind, first, last: word.saturating_sub(1) });
        }
        let starts = matches!(letter, 'B' | 'S')
            || (matches!(before, 'E' | 'S' | 'O') && matches!(letter, 'E' | 'I'))
            || (inside(letter) && other_kind);
        if starts {
            first = word;
        }
        (before, kind_before) = (letter, kind);
    }
    found
}

impl EntityCounts {
    /// Counts the entities of texts, whose words were tagged as `predicted` and are `actual`.
    pub fn of(predicted: &[Vec<&str>], actual: &[Vec<&str>]) -> Self {
        let mut counts = EntityCounts::default();
        // One sequence, in which texts end as `seqeval` ends them.
        let all = |texts: &[Vec<&str>]| -> HashSet<Entity> {
            let tags = texts.iter().flat_map(|tags| tags.iter().copied().chain(["O"]));
            entities(tags.collect::<Vec<_>>()).into_iter().collect()
        };
        let (predicted, actual) = (all(predicted), all(actual));
        let mut count = |entity: &Entity, at: usize| {
            counts.0.entry(entity.kind.clone()).or_default()[at] += 1;
        };
        predicted.intersection(&actual).for_each(|entity| count(entity, 0));
        predicted.iter().for_each(|entity| count(entity, 1));
        actual.iter().for_each(|entity| count(entity, 2));
        counts
    }

    /// `[precision, recall, F1]` over the entities of all kinds; 0 where one is 0/0.
    pub fn scores(&self) -> [f64; 3] {
        let sums = self
            .0
            .values()
            .fold([0; 3], |[a, b, c], [right, found, there]| [a + right, b + found, c + there]);
        scores(sums)
    }

    /// Of each kind `[precision, recall, F1]`, and how many entities there are.
    pub fn by_kind(&self) -> impl Iterator<Item = (&str, [f64; 3], usize)> {
        self.0.iter().map(|(kind, counts)| (kind.as_str(), scores(*counts), counts[2]))
    }
}

fn scores([right, found, there]: [usize; 3]) -> [f64; 3] {
    let share = |part: usize, of: usize| if of == 0 { 0.0 } else { part as f64 / of as f64 };
    [share(right, found), share(right, there), share(2 * right, found + there)]
}
