//! The posterior of a word from its position, its own corrupted token and the two tokens beside it.
//!
//! A position is selected with its neighbours as K of n tokens are: without putting back. At the ends of a
//! document the missing neighbour is known to be missing.

use std::collections::{BTreeMap, HashMap};

use super::hmm::{Hmm, WordId};
use super::tokens::{MASKED, Tokens};

/// The distributions at three positions in a row, and P(class) summed over the classes with those. Beyond either
/// end of a document stands one more than the last distribution.
type Triples = Vec<([usize; 3], f64)>;

/// A path over three slots; `None` lies outside of the document.
#[derive(Debug, Clone, Copy)]
struct Path {
    left: Option<usize>,
    right: Option<usize>,
    middle: usize,
    /// The product of the transitions inside.
    probability: f64,
    /// Which of the triples its slots have.
    triples: usize,
}

/// Everything that does not depend on the words seen.
#[derive(Debug, Clone)]
pub(super) struct Neighbours {
    paths: Vec<Path>,
    triples: Vec<Triples>,
    forwards: Vec<Vec<f64>>,
    endings: Vec<Vec<f64>>,
}

impl Neighbours {
    pub(super) fn new(hmm: &Hmm, endings: &[Vec<f64>]) -> Self {
        let mut this = Self {
            paths: Vec::new(),
            triples: Vec::new(),
            forwards: hmm.forwards(endings.len()),
            endings: endings.to_vec(),
        };
        let mut known = HashMap::new();
        for left in std::iter::once(None).chain((0..hmm.slots()).map(Some)) {
            let middles = match left {
                None => (0..hmm.slots()).map(|slot| (slot, 1.0)).collect(),
                Some(left) => hmm.next[left].clone(),
            };
            for (middle, first) in middles {
                let rights = hmm.next[middle].iter().map(|&(slot, p)| (Some(slot), p));
                for (right, second) in rights.chain([(None, 1.0)]) {
                    // Slots with the same row of distributions share their triples.
                    let rows = [left, Some(middle), right].map(|slot| slot.map(|slot| &hmm.emission[slot]));
                    let triples = *known.entry(rows).or_insert_with(|| {
                        this.triples.push(triples(hmm, rows));
                        this.triples.len() - 1
                    });
                    this.paths.push(Path { left, right, middle, probability: first * second, triples });
                }
            }
        }
        this
    }

    /// P(true word | what is seen around `position`, and that it is one of `selected` selected ones), `[words]`.
    /// `None` where the language cannot look like that.
    pub(super) fn posterior(
        &self,
        tokens: &Tokens<'_>,
        input: &[Option<WordId>],
        position: usize,
        selected: usize,
    ) -> Option<Vec<f64>> {
        let last = self.endings.len() - 1;
        let left = position.checked_sub(1);
        let right = (position < last).then_some(position + 1);
        let mut weights = vec![0.0; self.triples.len()];
        for path in &self.paths {
            if path.left.is_some() != left.is_some() || path.right.is_some() != right.is_some() {
                continue;
            }
            // Without a slot on the left the document starts here, and without one on the right it ends here.
            let forward = match (path.left, left) {
                (Some(slot), Some(t)) => self.forwards[t][slot],
                _ => self.forwards[position][path.middle],
            };
            let ending = match (path.right, right) {
                (Some(slot), Some(t)) => self.endings[t][slot],
                _ => self.endings[position][path.middle],
            };
            weights[path.triples] += forward * path.probability * ending;
        }

        let sides = [left.map(|t| input[t]), right.map(|t| input[t])];
        let odds = odds(input.len(), selected, sides.iter().flatten().count());
        // How likely a side's token is from a distribution if it is not selected, and if it is.
        let [lefts, mut rights] = sides.map(|side| likelihoods(tokens, side));
        // Summed over whether the right one is selected, for either state of the left one.
        for r in &mut rights {
            *r = [odds[0] * r[0] + odds[1] * r[1], odds[1] * r[0] + odds[2] * r[1]];
        }
        let mut mass = vec![0.0; tokens.hmm.distributions.len()];
        for (triples, weight) in self.triples.iter().zip(weights).filter(|(_, weight)| *weight > 0.0) {
            for &([a, b, c], prior) in triples {
                let (l, r) = (lefts[a], rights[c]);
                mass[b] += weight * prior * (l[0] * r[0] + l[1] * r[1]);
            }
        }
        tokens.word_posterior(&mass, input[position])
    }
}

/// How likely a neighbour's token is from each distribution, not selected and selected; the last stands for
/// what lies outside of the document.
fn likelihoods(tokens: &Tokens<'_>, token: Option<Option<WordId>>) -> Vec<[f64; 2]> {
    let inside = (0..tokens.hmm.distributions.len()).map(|distribution| match token {
        None => [1.0, 0.0],
        Some(None) => [0.0, MASKED],
        Some(Some(token)) => {
            let clean = tokens.clean(distribution, token);
            [clean, tokens.selected(clean)]
        }
    });
    inside.chain([[1.0, 0.0]]).collect()
}

/// P(the m given ones of `sides` neighbours are selected and the others are not | the position itself is one of
/// `selected` among `tokens`), for m = 0, 1, 2.
fn odds(tokens: usize, selected: usize, sides: usize) -> [f64; 3] {
    let mut odds = [0.0; 3];
    for (chosen, p) in odds.iter_mut().enumerate().take(sides + 1) {
        let mut left = [selected as f64 - 1.0, tokens as f64 - selected as f64];
        let mut total = tokens as f64 - 1.0;
        *p = 1.0;
        for side in 0..sides {
            let kind = usize::from(side >= chosen);
            *p *= left[kind] / total;
            left[kind] -= 1.0;
            total -= 1.0;
        }
    }
    odds
}

/// The distinct distributions of three slots over all classes.
fn triples(hmm: &Hmm, rows: [Option<&Vec<usize>>; 3]) -> Triples {
    let mut sums: BTreeMap<[usize; 3], f64> = BTreeMap::new();
    for (class, p) in hmm.classes.iter().enumerate() {
        *sums.entry(rows.map(|row| row.map_or(hmm.distributions.len(), |row| row[class]))).or_default() += p;
    }
    sums.into_iter().collect()
}
