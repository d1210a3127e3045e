//! What is seen in the place of a word: the word, `[MASK]`, or any other token.

use super::hmm::{Hmm, WordId};

/// P(masked | selected), P(replaced | selected), P(kept | selected).
pub(super) const MASKED: f64 = 0.8;
const REPLACED: f64 = 0.1;
const KEPT: f64 = 0.1;

/// What tokens say of the words in their places.
#[derive(Debug, Clone)]
pub(super) struct Tokens<'a> {
    pub hmm: &'a Hmm,
    /// 10% of selected tokens become each of the vocabulary's tokens this often.
    noise: f64,
    /// P(word | distribution), `[distributions, words]`.
    dense: Vec<f64>,
}

impl<'a> Tokens<'a> {
    /// Those of a vocabulary of so many tokens.
    pub(super) fn new(hmm: &'a Hmm, vocabulary: usize) -> Self {
        let mut dense = vec![0.0; hmm.distributions.len() * hmm.words];
        for (row, distribution) in dense.chunks_exact_mut(hmm.words).zip(&hmm.distributions) {
            distribution.iter().for_each(|&(word, p)| row[word as usize] += p);
        }
        Tokens { hmm, noise: REPLACED / vocabulary as f64, dense }
    }

    /// P(a visible token in the place of a selected word), where that word is the token with probability `clean`.
    pub(super) fn selected(&self, clean: f64) -> f64 {
        KEPT * clean + self.noise
    }

    /// P(token | distribution), 0 for a token that is no word.
    pub(super) fn clean(&self, distribution: usize, token: WordId) -> f64 {
        if (token as usize) < self.hmm.words {
            self.dense[distribution * self.hmm.words + token as usize]
        } else {
            0.0
        }
    }

    /// The words' posterior from a mass per distribution, with the position's own token taken in.
    pub(super) fn word_posterior(&self, mass: &[f64], own: Option<WordId>) -> Option<Vec<f64>> {
        let mut posterior = vec![0.0; self.hmm.words];
        for (distribution, &mass) in self.hmm.distributions.iter().zip(mass).filter(|(_, mass)| **mass > 0.0)
        {
            distribution.iter().for_each(|&(word, p)| posterior[word as usize] += mass * p);
        }
        if let Some(own) = own {
            for (word, p) in posterior.iter_mut().enumerate() {
                *p *= self.noise + if word == own as usize { KEPT } else { 0.0 };
            }
        }
        let total: f64 = posterior.iter().sum();
        posterior.iter_mut().for_each(|p| *p /= total);
        (total > 0.0 && total.is_finite()).then_some(posterior)
    }
}
