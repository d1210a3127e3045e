//! What a tokenizer puts around texts, and between two of them.

use super::tokenizer::{Piece, Tokenizer};
use crate::Result;

/// What a tokenizer puts around one text and around two: special tokens, each with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Before and after a text alone.
    single: [Vec<Special>; 2],
    /// Before, between and after two texts.
    pair: [Vec<Special>; 3],
    /// The types of the tokens of two texts.
    types: [u32; 2],
}

/// The id and the type of a special token.
type Special = (u32, u32);

impl Template {
    /// The template of a tokenizer: `[CLS] a [SEP] b [SEP]` with `b [SEP]` of type 1 in BERT's (Devlin et al. 2018),
    /// `<s> a </s></s> b </s>` of one type in RoBERTa's. Where it adds nothing, BERT's is taken.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_pair`].
    pub fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let (alone, joined) = (tokenizer.pieces("a", None)?, tokenizer.pieces("a", Some("b"))?);
        let mut template = Template {
            single: [before(&alone, 0), after(&alone, 0)],
            pair: [before(&joined, 0), between(&joined), after(&joined, 1)],
            types: [0, 1]
                .map(|text| joined.iter().find(|piece| piece.text == Some(text)).map_or(0, |p| p.of_type)),
        };
        let specials = tokenizer.specials();
        let (cls, sep) = (specials.cls, specials.sep);
        if template.single.iter().all(Vec::is_empty) {
            template.single = [vec![(cls, 0)], vec![(sep, 0)]];
        }
        if template.pair.iter().all(Vec::is_empty) {
            template.pair = [vec![(cls, 0)], vec![(sep, 0)], vec![(sep, 1)]];
            template.types = [0, 1];
        }
        Ok(template)
    }

    /// The number of special tokens around one text, or around a pair.
    pub fn specials(&self, pair: bool) -> usize {
        let parts: &[Vec<Special>] = if pair { &self.pair } else { &self.single };
        parts.iter().map(Vec::len).sum()
    }

    /// The tokens of one text or of two with the special ones, and the type of each; no types at all where all are 0.
    /// `special` makes a token of the id of a special one and of the number of the text that it opens or closes.
    pub fn join<T>(
        &self,
        first: Vec<T>,
        second: Option<Vec<T>>,
        special: impl Fn(u32, usize) -> T,
    ) -> (Vec<T>, Vec<u32>) {
        let specials = |part: &[Special], text: usize| -> Vec<(T, u32)> {
            part.iter().map(|&(id, of_type)| (special(id, text), of_type)).collect()
        };
        let typed = |text: Vec<T>, of_type: u32| text.into_iter().map(|token| (token, of_type)).collect();
        let parts: Vec<Vec<(T, u32)>> = match second {
            None => {
                let [before, after] = &self.single;
                vec![specials(before, 0), typed(first, 0), specials(after, 0)]
            }
            Some(second) => {
                let ([before, between, after], [a, b]) = (&self.pair, self.types);
                let left = [specials(before, 0), typed(first, a), specials(between, 0)];
                left.into_iter().chain([typed(second, b), specials(after, 1)]).collect()
            }
        };
        let (tokens, mut types): (Vec<T>, Vec<u32>) = parts.into_iter().flatten().unzip();
        if types.iter().all(|of_type| *of_type == 0) {
            types.clear();
        }
        (tokens, types)
    }
}

/// The special tokens before the text with a number.
fn before(pieces: &[Piece], text: usize) -> Vec<Special> {
    specials(pieces.iter().take_while(|piece| piece.text != Some(text)))
}

/// The special tokens after the text with a number.
fn after(pieces: &[Piece], text: usize) -> Vec<Special> {
    let mut found = specials(pieces.iter().rev().take_while(|piece| piece.text != Some(text)));
    found.reverse();
    found
}

/// The special tokens between two texts.
fn between(pieces: &[Piece]) -> Vec<Special> {
    let from_the_first = pieces.iter().skip_while(|piece| piece.text != Some(0));
    specials(from_the_first.take_while(|piece| piece.text != Some(1)).filter(|piece| piece.text.is_none()))
}

fn specials<'a>(pieces: impl Iterator<Item = &'a Piece>) -> Vec<Special> {
    pieces.map(|piece| (piece.id, piece.of_type)).collect()
}
