//! A made-up language whose best possible loss is known exactly.
//!
//! Documents are written by a hidden Markov model that looks like simple English: every document has a
//! setting, a cast, a mood, an owner and a tense, which decide its words, and every sentence carries its subject's
//! number past other nouns to the verb (`the swords near the tiny castle are small .`). Because the process is
//! known, so is what a perfect masked language model would score on any masked sequence ([`Oracle::floor`]),
//! what one sees from the two neighbouring tokens alone ([`Oracle::neighbours`]), and the entropy of the words
//! without any context ([`Oracle::unigram_entropy`]): three lines to hold a training run against.

mod hmm;
mod language;
mod neighbours;
mod posterior;
mod sample;
mod tokens;
mod words;

pub use hmm::{Hmm, WordId};
pub use language::Language;
pub use posterior::{MaskedExample, Oracle};
