//! A hidden Markov model whose documents each belong to one hidden class.

use crate::{Error, Result};

/// A word of a made-up language: an index into [`super::Language::words`].
pub type WordId = u32;

/// A hidden Markov model with a hidden class per document.
///
/// A document draws a class and then walks over *slots* (a Markov chain that all classes share), and each slot
/// writes one word from a distribution that depends on slot and class. A document must end in a slot marked as
/// last; its law is that of the chain conditioned on doing so.
#[derive(Debug, Clone)]
pub struct Hmm {
    /// How many words there are; ids run from 0.
    pub words: usize,
    /// P(class), `[classes]`.
    pub classes: Vec<f64>,
    /// P(first slot), `[slots]`.
    pub start: Vec<f64>,
    /// P(next slot | slot) as `(next, probability)`, `[slots]`.
    pub next: Vec<Vec<(usize, f64)>>,
    /// Whether a document may end in the slot, `[slots]`.
    pub last: Vec<bool>,
    /// Which of `distributions` the slot draws from in the class, `[slots, classes]`.
    pub emission: Vec<Vec<usize>>,
    /// P(word) as `(word, probability)` with distinct words.
    pub distributions: Vec<Vec<(WordId, f64)>>,
}

impl Hmm {
    /// Checks sizes, indices and that every distribution sums to one.
    ///
    /// # Errors
    /// [`Error::Config`] that names the first table that does not fit.
    pub fn check(&self) -> Result<()> {
        let slots = self.start.len();
        let sized = [self.next.len(), self.last.len(), self.emission.len()].iter().all(|&n| n == slots);
        if !sized || slots == 0 {
            return Err(Error::config("slots", "tables of one length", slots));
        }
        sums_to_one("classes", self.classes.iter().copied())?;
        sums_to_one("start", self.start.iter().copied())?;
        for row in &self.next {
            sums_to_one("next", row.iter().map(|&(_, p)| p))?;
            if let Some((to, _)) = row.iter().find(|(to, _)| *to >= slots) {
                return Err(Error::config("next", format!("slots below {slots}"), to));
            }
        }
        for row in &self.emission {
            if row.len() != self.classes.len() || row.iter().any(|&d| d >= self.distributions.len()) {
                return Err(Error::config("emission", "one distribution per class", format!("{row:?}")));
            }
        }
        for row in &self.distributions {
            sums_to_one("distributions", row.iter().map(|&(_, p)| p))?;
            if let Some((word, _)) = row.iter().find(|(word, _)| *word as usize >= self.words) {
                return Err(Error::config("distributions", format!("words below {}", self.words), word));
            }
        }
        Ok(())
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.start.len()
    }

    /// P(a document of `length` words ends in a last slot | slot at position t), `[length, slots]`.
    ///
    /// # Errors
    /// [`Error::Config`] if no document of that length can be written.
    pub fn endings(&self, length: usize) -> Result<Vec<Vec<f64>>> {
        let mut endings = vec![vec![0.0; self.slots()]; length];
        let Some(end) = endings.last_mut() else {
            return Err(Error::config("length", "at least one word", length));
        };
        for (h, &last) in end.iter_mut().zip(&self.last) {
            *h = f64::from(u8::from(last));
        }
        for t in (0..length - 1).rev() {
            for slot in 0..self.slots() {
                endings[t][slot] = self.next[slot].iter().map(|&(to, p)| p * endings[t + 1][to]).sum();
            }
        }
        if self.start.iter().zip(&endings[0]).all(|(p, h)| p * h == 0.0) {
            return Err(Error::config("length", "a length in which a document can end", length));
        }
        Ok(endings)
    }

    /// P(slot at position t) before a document is made to end well, `[length, slots]`.
    pub fn forwards(&self, length: usize) -> Vec<Vec<f64>> {
        let mut forwards = Vec::with_capacity(length);
        let mut now = self.start.clone();
        for _ in 0..length {
            let mut then = vec![0.0; self.slots()];
            for (slot, &mass) in now.iter().enumerate() {
                for &(to, p) in &self.next[slot] {
                    then[to] += mass * p;
                }
            }
            forwards.push(std::mem::replace(&mut now, then));
        }
        forwards
    }

    /// P(slot at position t) in documents of `endings.len()` words, `[length, slots]`.
    pub fn marginals(&self, endings: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let mut marginals = self.forwards(endings.len());
        for (row, ending) in marginals.iter_mut().zip(endings) {
            for (p, h) in row.iter_mut().zip(ending) {
                *p *= h;
            }
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= total);
        }
        marginals
    }

    /// P(word) at a position drawn uniformly from documents of `endings.len()` words, `[words]`.
    pub fn unigram(&self, endings: &[Vec<f64>]) -> Vec<f64> {
        let mut mass = vec![0.0; self.distributions.len()];
        let marginals = self.marginals(endings);
        for slot in 0..self.slots() {
            let visits: f64 = marginals.iter().map(|row| row[slot]).sum::<f64>() / endings.len() as f64;
            for (class, p) in self.classes.iter().enumerate() {
                mass[self.emission[slot][class]] += visits * p;
            }
        }
        let mut unigram = vec![0.0; self.words];
        for (distribution, mass) in self.distributions.iter().zip(mass) {
            for &(word, p) in distribution {
                unigram[word as usize] += mass * p;
            }
        }
        unigram
    }
}

fn sums_to_one(what: &str, values: impl Iterator<Item = f64> + Clone) -> Result<()> {
    let total: f64 = values.clone().sum();
    if values.clone().all(|p| p >= 0.0) && (total - 1.0).abs() < 1e-9 {
        return Ok(());
    }
    Err(Error::config(what, "probabilities that sum to one", total))
}
