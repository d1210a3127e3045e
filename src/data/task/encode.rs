//! Texts and pairs of texts to token ids of a bounded length.

use rayon::prelude::*;

use super::table::Example;
use crate::text::{Piece, Tokenizer};
use crate::{Error, Result};

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
    /// `<s> a </s></s> b </s>` of one type in RoBERTa's. One that adds nothing stands for BERT's single text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_pair`].
    pub fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let parts = |pieces: &[Piece]| {
            // The parts are what stands before, between and after the texts.
            let part = |from: Option<usize>, to: Option<usize>| -> Vec<Special> {
                let start = from.map_or(0, |text| {
                    pieces.iter().rposition(|p| p.text == Some(text)).map_or(0, |at| at + 1)
                });
                let end = to.and_then(|text| pieces.iter().position(|p| p.text == Some(text)));
                let between = pieces.get(start..end.unwrap_or(pieces.len())).unwrap_or_default();
                between.iter().map(|piece| (piece.id, piece.of_type)).collect()
            };
            [part(None, Some(0)), part(Some(0), Some(1)), part(Some(1), None), part(Some(0), None)]
        };
        let [before, _, _, after] = parts(&tokenizer.pieces("a", None)?);
        let pieces = tokenizer.pieces("a", Some("b"))?;
        let [first, between, last, _] = parts(&pieces);
        let of_type = |text| pieces.iter().find(|p| p.text == Some(text)).map_or(0, |piece| piece.of_type);
        let mut template = Template {
            single: [before, after],
            pair: [first, between, last],
            types: [of_type(0), of_type(1)],
        };
        if template.single.iter().all(Vec::is_empty) {
            let specials = tokenizer.specials();
            template.single = [vec![(specials.cls, 0)], vec![(specials.sep, 0)]];
        }
        Ok(template)
    }

    /// Special tokens around one text, or around two.
    fn specials(&self, pair: bool) -> usize {
        let parts: &[Vec<Special>] = if pair { &self.pair } else { &self.single };
        parts.iter().map(Vec::len).sum()
    }
}

/// A text or pair as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Of which of the two texts each token is; empty where all are of the first.
    pub types: Vec<u32>,
    /// How many tokens were truncated.
    pub truncated: usize,
}

/// Cuts a text, or two, to at most `longest` tokens with the special ones counted; of two the longer loses first.
/// A blank text is the special tokens alone.
///
/// # Errors
/// [`Error::Config`] when `longest` has no room for a token of each text; as [`Tokenizer::encode`].
pub fn encode(
    tokenizer: &Tokenizer,
    template: &Template,
    text: &str,
    pair: Option<&str>,
    longest: usize,
) -> Result<Encoded> {
    let least = template.specials(pair.is_some()) + 1 + usize::from(pair.is_some());
    if longest < least {
        return Err(Error::config("max-length", format!("at least {least} tokens"), longest));
    }
    let room = longest - template.specials(pair.is_some());
    let mut first = tokenizer.encode(text)?;
    let mut second = pair.map(|pair| tokenizer.encode(pair)).transpose()?;
    let whole = first.len() + second.as_ref().map_or(0, Vec::len);
    match &mut second {
        None => first.truncate(room),
        Some(second) => {
            let [a, b] = longest_first([first.len(), second.len()], room);
            first.truncate(a);
            second.truncate(b);
        }
    }
    let truncated = whole - first.len() - second.as_ref().map_or(0, Vec::len);
    let typed = |ids: Vec<u32>, of_type: u32| ids.into_iter().map(move |id| (id, of_type));
    let tokens: Vec<Special> = match second {
        None => {
            let [before, after] = &template.single;
            before.iter().copied().chain(typed(first, 0)).chain(after.iter().copied()).collect()
        }
        Some(second) => {
            let ([before, between, after], [a, b]) = (&template.pair, template.types);
            let left = before.iter().copied().chain(typed(first, a)).chain(between.iter().copied());
            left.chain(typed(second, b)).chain(after.iter().copied()).collect()
        }
    };
    let (ids, mut types): (Vec<u32>, Vec<u32>) = tokens.into_iter().unzip();
    if types.iter().all(|of_type| *of_type == 0) {
        types.clear();
    }
    Ok(Encoded { ids, types, truncated })
}

/// [`encode`] for many, on all cores.
///
/// # Errors
/// As [`encode`].
pub fn encode_all(
    tokenizer: &Tokenizer,
    template: &Template,
    examples: &[Example],
    longest: usize,
) -> Result<Vec<Encoded>> {
    let one = |e: &Example| encode(tokenizer, template, &e.text, e.pair.as_deref(), longest);
    examples.par_iter().map(one).collect()
}

/// The lengths of two texts once they have `room` together, as Hugging Face's `longest_first` leaves them.
fn longest_first([a, b]: [usize; 2], room: usize) -> [usize; 2] {
    if a + b <= room {
        return [a, b];
    }
    let (short, long) = (a.min(b), a.max(b));
    let half = room / 2;
    // The shorter stays whole where the longer alone can give enough.
    let (short, long) = if short <= half { (short, (room - short).min(long)) } else { (half, room - half) };
    if a > b { [long, short] } else { [short, long] }
}

#[cfg(test)]
mod tests {
    use super::longest_first;

    #[test]
    fn the_longer_text_loses_first() {
        for (given, room, expected) in [
            ([3, 4], 7, [3, 4]),
            ([3, 9], 7, [3, 4]),
            ([9, 3], 7, [4, 3]),
            ([9, 9], 7, [3, 4]),
            ([10, 9], 7, [4, 3]),
            ([0, 9], 7, [0, 7]),
            ([5, 5], 8, [4, 4]),
        ] {
            assert_eq!(longest_first(given, room), expected, "{given:?} in {room}");
        }
    }
}
