//! Texts and pairs of texts to token ids of a bounded length.

#[cfg(not(target_arch = "wasm32"))]
use rayon::prelude::*;

#[cfg(not(target_arch = "wasm32"))]
use super::table::Example;
use crate::budget;
use crate::text::{Template, Tokenizer};
use crate::{Error, Result};

/// A text or pair as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Of which of the two texts each token is; empty where all are of the first.
    pub types: Vec<u32>,
    /// How many tokens were truncated; at least these, where a text is longer than [`budget::text_limit`].
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
    let specials = template.specials(pair.is_some());
    let least = specials + 1 + usize::from(pair.is_some());
    if longest < least {
        return Err(Error::config("max-length", format!("at least {least} tokens"), longest));
    }
    let room = longest - specials;
    let cut = usize::from([Some(text), pair].into_iter().flatten().any(budget::is_cut));
    let mut first = tokenizer.encode(budget::bounded(text))?;
    let mut second = pair.map(|pair| tokenizer.encode(budget::bounded(pair))).transpose()?;
    let whole = first.len() + second.as_ref().map_or(0, Vec::len);
    match &mut second {
        None => first.truncate(room),
        Some(second) => {
            let [a, b] = longest_first([first.len(), second.len()], room);
            first.truncate(a);
            second.truncate(b);
        }
    }
    let truncated = (whole - first.len() - second.as_ref().map_or(0, Vec::len)).max(cut);
    let (ids, types) = template.join(first, second, |id, _| id);
    Ok(Encoded { ids, types, truncated })
}

/// [`encode`] for many, on all cores.
///
/// # Errors
/// As [`encode`].
#[cfg(not(target_arch = "wasm32"))]
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
