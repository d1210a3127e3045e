//! What a perfect masked language model knows: the exact posterior of every masked word.
//!
//! Of a document's n tokens exactly K are selected, every set of K being equally likely. A selected token is
//! masked (80%), replaced by one of the vocabulary's tokens (10%) or kept (10%). Which of the visible tokens are
//! selected is hidden, but how many are is known: K less the number of masks. So forward and backward run over
//! (slot, number of selected visible tokens so far) for every class, and the sum over all of it is exact.

use rayon::prelude::*;

use super::hmm::{Hmm, WordId};
use super::neighbours::Neighbours;
use super::tokens::{MASKED, Tokens};
use crate::{Error, Result};

/// A corrupted document, `[CLS]` and `[SEP]` left out, in word ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedExample {
    /// What the model sees: `None` is `[MASK]`; an id that is no word stands for any other token.
    pub input: Vec<Option<WordId>>,
    /// Every selected position, each once.
    pub positions: Vec<usize>,
    /// The true word at each of `positions`.
    pub labels: Vec<WordId>,
}

/// Scores the best possible predictors on corrupted documents of one length, in nats per selected position.
#[derive(Debug, Clone)]
pub struct Oracle<'a> {
    hmm: &'a Hmm,
    length: usize,
    tokens: Tokens<'a>,
    endings: Vec<Vec<f64>>,
    /// The words a class can write, `[classes, words]`.
    writes: Vec<Vec<bool>>,
    near: Neighbours,
}

/// What a position's word looks like from one class: a log factor, and a mass per distribution.
struct View {
    log: f64,
    mass: Vec<(usize, f64)>,
}

impl<'a> Oracle<'a> {
    /// Prepares for documents of `length` words, where a random token is one of `vocabulary` non-special tokens.
    ///
    /// # Errors
    /// [`Error::Config`] if the model is not well formed, if no document has that length, or if the vocabulary is
    /// smaller than the number of words.
    pub fn new(hmm: &'a Hmm, length: usize, vocabulary: usize) -> Result<Self> {
        hmm.check()?;
        if vocabulary < hmm.words {
            return Err(Error::config("vocabulary", format!("{} tokens or more", hmm.words), vocabulary));
        }
        let endings = hmm.endings(length)?;
        let writes = (0..hmm.classes.len()).map(|class| {
            let mut writes = vec![false; hmm.words];
            for row in &hmm.emission {
                hmm.distributions[row[class]].iter().for_each(|&(word, _)| writes[word as usize] = true);
            }
            writes
        });
        let writes = writes.collect();
        let near = Neighbours::new(hmm, &endings);
        Ok(Self { hmm, length, tokens: Tokens::new(hmm, vocabulary), endings, writes, near })
    }

    /// The loss that no predictor can beat on average: mean -ln P(true word | the whole corrupted document, and
    /// that this position is selected).
    ///
    /// # Errors
    /// [`Error::Config`] if an example is not a corruption of a document of the language.
    pub fn floor(&self, examples: &[MaskedExample]) -> Result<f64> {
        self.mean(examples, |example| self.posteriors(&example.input, &example.positions))
    }

    /// The best loss of a predictor that sees no more than the position, its own corrupted token and the two
    /// beside it.
    ///
    /// # Errors
    /// [`Error::Config`] if an example is not a corruption of a document of the language.
    pub fn neighbours(&self, examples: &[MaskedExample]) -> Result<f64> {
        self.mean(examples, |example| self.neighbour_posteriors(&example.input, &example.positions))
    }

    /// P(true word | the position, its own corrupted token and the two beside it, and that it is selected) for
    /// each of `positions`, which are all the selected ones: `[positions, words]`.
    ///
    /// # Errors
    /// [`Error::Config`] if the input is not a corruption of a document of the language.
    pub fn neighbour_posteriors(
        &self,
        input: &[Option<WordId>],
        positions: &[usize],
    ) -> Result<Vec<Vec<f64>>> {
        self.check(input, positions)?;
        let near = |&position| self.near.posterior(&self.tokens, input, position, positions.len());
        positions.iter().map(|position| near(position).ok_or_else(impossible)).collect()
    }

    /// The entropy of a word without any context, averaged over the positions of a document.
    pub fn unigram_entropy(&self) -> f64 {
        self.hmm.unigram(&self.endings).iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum()
    }

    /// P(true word | the whole corrupted document, and that this position is selected) for each of `positions`,
    /// which are all the selected ones: `[positions, words]`.
    ///
    /// # Errors
    /// [`Error::Config`] if the input is not a corruption of a document of the language.
    pub fn posteriors(&self, input: &[Option<WordId>], positions: &[usize]) -> Result<Vec<Vec<f64>>> {
        self.check(input, positions)?;
        let masks = input.iter().filter(|token| token.is_none()).count();
        // Selected tokens that are visible. A class that cannot write more than that many tokens is impossible.
        let Some(hidden) = positions.len().checked_sub(masks) else { return Err(impossible()) };
        let alive = (0..self.hmm.classes.len()).filter(|&class| {
            let foreign = |token: &WordId| !self.writes[class].get(*token as usize).copied().unwrap_or(false);
            self.hmm.classes[class] > 0.0
                && input.iter().flatten().filter(|w| foreign(w)).nth(hidden).is_none()
        });
        let views: Vec<_> = alive.map(|class| self.views(class, input, positions, hidden)).collect();
        let posteriors = positions.iter().enumerate().map(|(at, &position)| {
            let top = views.iter().map(|class| class[at].log).fold(f64::NEG_INFINITY, f64::max);
            let mut mass = vec![0.0; self.hmm.distributions.len()];
            for view in views.iter().map(|class| &class[at]).filter(|view| view.log > f64::NEG_INFINITY) {
                let weight = (view.log - top).exp();
                view.mass.iter().for_each(|&(distribution, m)| mass[distribution] += weight * m);
            }
            self.tokens.word_posterior(&mass, input[position]).ok_or_else(impossible)
        });
        posteriors.collect()
    }

    /// Forward and backward in one class, with `hidden` selected tokens among the visible ones.
    fn views(&self, class: usize, input: &[Option<WordId>], positions: &[usize], hidden: usize) -> Vec<View> {
        let (slots, counts) = (self.hmm.slots(), hidden + 1);
        // Takes the token at t into a table of (slot, count): a selected visible token moves the count by one.
        let emit = |t: usize, table: &[f64]| {
            let mut out = vec![0.0; table.len()];
            for slot in 0..slots {
                let from = &table[slot * counts..][..counts];
                let to = &mut out[slot * counts..][..counts];
                let Some(token) = input[t] else {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = MASKED * from);
                    continue;
                };
                let clean = self.tokens.clean(self.hmm.emission[slot][class], token);
                let dirty = self.tokens.selected(clean);
                for count in 0..counts {
                    let moved = if count > 0 { from[count - 1] * dirty } else { 0.0 };
                    to[count] = from[count] * clean + moved;
                }
            }
            out
        };

        // before[t]: everything seen before t, and the slot at t. Its logarithm is scaled off and kept.
        let mut before = vec![vec![0.0; slots * counts]];
        for slot in 0..slots {
            before[0][slot * counts] = self.hmm.start[slot];
        }
        let mut before_log = vec![0.0];
        for t in 1..self.length {
            let seen = emit(t - 1, &before[t - 1]);
            let mut then = vec![0.0; slots * counts];
            for (slot, edges) in self.hmm.next.iter().enumerate() {
                let seen = &seen[slot * counts..][..counts];
                if seen.iter().any(|&p| p > 0.0) {
                    for &(to, p) in edges {
                        add_scaled(&mut then[to * counts..][..counts], seen, p);
                    }
                }
            }
            before_log.push(before_log[t - 1] + rescale(&mut then));
            before.push(then);
        }

        // after: everything seen after t given the slot at t, going back.
        let mut after = vec![0.0; slots * counts];
        for slot in 0..slots {
            after[slot * counts] = self.endings[self.length - 1][slot];
        }
        let mut log = self.hmm.classes[class].ln();
        let mut views: Vec<_> = positions.iter().map(|_| None).collect();
        for t in (0..self.length).rev() {
            if let Some(at) = positions.iter().position(|&position| position == t) {
                let mass = self.meet(class, &before[t], &after, counts, input[t].is_some());
                views[at] = Some(View { log: log + before_log[t], mass });
            }
            let seen = emit(t, &after);
            after.fill(0.0);
            for (slot, edges) in self.hmm.next.iter().enumerate() {
                for &(to, p) in edges {
                    add_scaled(&mut after[slot * counts..][..counts], &seen[to * counts..][..counts], p);
                }
            }
            log += rescale(&mut after);
        }
        let nothing = || View { log: f64::NEG_INFINITY, mass: Vec::new() };
        views.into_iter().map(|view| view.unwrap_or_else(nothing)).collect()
    }

    /// The mass of each distribution at a selected position: the counts before, after and of the position itself
    /// make up the number of selected visible tokens.
    fn meet(
        &self,
        class: usize,
        before: &[f64],
        after: &[f64],
        counts: usize,
        visible: bool,
    ) -> Vec<(usize, f64)> {
        let Some(rest) = (counts - 1).checked_sub(usize::from(visible)) else { return Vec::new() };
        let masses = (0..self.hmm.slots()).map(|slot| {
            let at = slot * counts;
            let mass: f64 = (0..=rest).map(|count| before[at + count] * after[at + rest - count]).sum();
            (self.hmm.emission[slot][class], mass)
        });
        masses.filter(|&(_, mass)| mass > 0.0).collect()
    }

    fn check(&self, input: &[Option<WordId>], positions: &[usize]) -> Result<()> {
        if input.len() != self.length {
            return Err(Error::config("input", format!("{} tokens", self.length), input.len()));
        }
        let mut selected = vec![false; self.length];
        for &position in positions {
            if position >= self.length || std::mem::replace(&mut selected[position], true) {
                let expected = format!("distinct positions below {}", self.length);
                return Err(Error::config("positions", expected, position));
            }
        }
        Ok(())
    }

    /// Mean -ln P(label) over all positions of all examples, summed in their order.
    fn mean<F>(&self, examples: &[MaskedExample], posteriors: F) -> Result<f64>
    where
        F: Fn(&MaskedExample) -> Result<Vec<Vec<f64>>> + Sync,
    {
        let sums = examples.par_iter().map(|example| {
            if example.labels.len() != example.positions.len() {
                let expected = format!("{}, one per position", example.positions.len());
                return Err(Error::config("labels", expected, example.labels.len()));
            }
            let mut sum = 0.0;
            for (posterior, &label) in posteriors(example)?.iter().zip(&example.labels) {
                let p = posterior.get(label as usize).copied().unwrap_or(0.0);
                if p <= 0.0 {
                    return Err(Error::config("labels", "words that the language can write there", label));
                }
                sum -= p.ln();
            }
            Ok(sum)
        });
        let sums = sums.collect::<Result<Vec<f64>>>()?;
        let positions: usize = examples.iter().map(|example| example.positions.len()).sum();
        if positions == 0 {
            return Err(Error::config("examples", "at least one selected position", "none"));
        }
        Ok(sums.iter().sum::<f64>() / positions as f64)
    }
}

fn impossible() -> Error {
    Error::config("input", "a corruption of a document of the language", "one that it cannot write")
}

fn add_scaled(to: &mut [f64], from: &[f64], scale: f64) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += scale * from);
}

/// Scales a table to a largest value of one and returns the logarithm of what was taken out.
fn rescale(table: &mut [f64]) -> f64 {
    let top = table.iter().copied().fold(0.0, f64::max);
    if top > 0.0 {
        table.iter_mut().for_each(|p| *p /= top);
    }
    top.ln()
}
