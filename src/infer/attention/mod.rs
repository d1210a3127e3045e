//! Where a model looks: its attention probabilities on one text or on a pair.
//!
//! They are read by a recording of their own ([`Readout::Attention`]), which copies them out of the memory that the
//! encoder shares between layers. Training and guessing do not pay for that.

mod probabilities;

use std::sync::Arc;

use serde::Serialize;

pub use probabilities::Probabilities;

use crate::files::ModelFolder;
use crate::gpu::Gpu;
use crate::infer::load::{agree, load};
use crate::infer::readout::Readout;
use crate::infer::session::{Sequence, Session};
use crate::models::Model;
use crate::tensor::DType;
use crate::text::{Template, Tokenizer};
use crate::{Error, Result};

/// The longest sequence for models whose weights set no limit: its probabilities still fit one binding.
const LONGEST: usize = 1024;

/// A model and its tokenizer, ready to be looked into. It keeps the recordings of the lengths it has met.
#[derive(Debug)]
pub struct AttentionReader {
    session: Session,
    tokenizer: Tokenizer,
    template: Template,
}

/// Token ids with their types.
struct Typed<'a>(&'a [u32], &'a [u32]);

impl Sequence for Typed<'_> {
    fn ids(&self) -> &[u32] {
        self.0
    }

    fn types(&self) -> &[u32] {
        self.1
    }
}

/// One position of a text as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttendedToken {
    /// Its id.
    pub id: u32,
    /// As the vocabulary spells it.
    pub label: String,
    /// The part of the text that it stands for; empty for `[CLS]` and `[SEP]`.
    pub text: String,
    /// Whether blanks come before it in the text.
    pub space_before: bool,
    /// Whether it is one of the special tokens.
    pub special: bool,
    /// Of which text it is: 0, or 1 for the second of a pair.
    pub part: usize,
}

/// A text, or a pair, and where the model looks in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attention {
    /// The tokens, with the special ones that the tokenizer's [`Template`] puts around them: `[CLS] text [SEP]` or
    /// `[CLS] text [SEP] second [SEP]` in BERT's.
    pub tokens: Vec<AttendedToken>,
    /// Their attention.
    pub probabilities: Probabilities,
    /// How many tokens were cut off, because the texts were longer than the model's context: from the end of the
    /// longer one, until both fit.
    pub truncated: usize,
}

impl AttentionReader {
    /// Joins a model and a tokenizer.
    ///
    /// # Errors
    /// [`Error::Config`] when they disagree on the vocabulary or the special tokens, or the context has no room
    /// for a token between those.
    pub fn new(gpu: &Gpu, model: Model, tokenizer: Tokenizer) -> Result<Self> {
        let config = &model.config;
        agree(config, &tokenizer)?;
        if config.max_position_embeddings < 3 {
            let expected = "room for a token between the first one and the separator";
            return Err(Error::config("max_position_embeddings", expected, config.max_position_embeddings));
        }
        let (session, template) = (Session::new(gpu, Arc::new(model), DType::F32), Template::of(&tokenizer)?);
        Ok(AttentionReader { session, tokenizer, template })
    }

    /// Loads the encoder of a model folder onto a device.
    ///
    /// # Errors
    /// Those of reading the files (NaN and infinite weights are refused unless `folder.weights` allows them), of
    /// [`AttentionReader::new`] and of the device.
    pub fn open(gpu: &Gpu, folder: &ModelFolder) -> Result<Self> {
        let tokenizer = folder.tokenizer()?;
        let model = load(gpu, folder.config.encoder(), &folder.weights, DType::F32)?;
        Self::new(gpu, model, tokenizer)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        self.session.model()
    }

    /// The longest sequence, `[CLS]` and `[SEP]` counted: the table of absolute positions; 1024 where positions
    /// are relative.
    pub fn longest(&self) -> usize {
        let config = &self.model().config;
        if config.is_bounded() { config.max_position_embeddings } else { LONGEST }
    }

    /// Where the model looks in `text`, or in the pair of `text` and `second`.
    ///
    /// # Errors
    /// [`Error::Config`] for a text without a token, and for weights whose probabilities are not finite; those of
    /// the device.
    pub async fn read(&mut self, text: &str, second: Option<&str>) -> Result<Attention> {
        let mut parts = vec![self.pieces(text, 0)?];
        if let Some(second) = second {
            parts.push(self.pieces(second, 1)?);
        }
        for (part, name) in parts.iter().zip(["text", "second text"]) {
            if part.is_empty() {
                return Err(Error::config(name, "at least one token", "an empty text"));
            }
        }
        let room = self.longest().saturating_sub(self.template.specials(parts.len() > 1));
        let truncated = truncate(&mut parts, room);
        let mut parts = parts.into_iter();
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        let (tokens, types) = self.template.join(first, second, |id, part| self.special(id, part));
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let probabilities = self.probabilities(&ids, &types, ids.len()).await?;
        if !probabilities.values.iter().all(|p| p.is_finite()) {
            return Err(Error::config("the model's weights", "finite probabilities", "NaN or infinity"));
        }
        Ok(Attention { tokens, probabilities, truncated })
    }

    /// The attention of the first `length` of the token ids; the rest is padding, which nothing attends to. `types`
    /// has a token type for each id; models without token types ignore them.
    ///
    /// # Errors
    /// [`Error::Shape`] for no ids or too many, a `length` of 0 or beyond them, an id outside the vocabulary or a type
    /// beyond the model's; those of the device.
    pub async fn probabilities(
        &mut self,
        ids: &[u32],
        types: &[u32],
        length: usize,
    ) -> Result<Probabilities> {
        let longest = self.longest();
        if ids.is_empty() || ids.len() > longest || length == 0 || length > ids.len() {
            return Err(Error::Shape {
                operation: "attention",
                expected: format!("1 to {longest} tokens, not all of them padding"),
                found: format!("{} tokens, {length} of them no padding", ids.len()),
            });
        }
        // Padding is the same to the model whatever stands there.
        let text = Typed(&ids[..length], types.get(..length).unwrap_or(types));
        let read = self.session.single(Readout::Attention, text, &[]).await?;
        Ok(Probabilities::collect(&self.model().config, &read, ids.len(), length))
    }

    /// The tokens of one text.
    fn pieces(&self, text: &str, part: usize) -> Result<Vec<AttendedToken>> {
        let mut end = 0;
        let token = |(id, range): (u32, std::ops::Range<usize>)| {
            // Offsets come from a file's own rules: they may point anywhere.
            let piece = text.get(range.clone()).unwrap_or_default();
            let before = text.get(end..range.start).unwrap_or_default();
            let blank = |text: &str| text.contains(char::is_whitespace);
            let space_before = blank(before) || piece.starts_with(' ');
            end = range.end;
            AttendedToken {
                id,
                label: self.tokenizer.token(id).unwrap_or_default(),
                text: piece.trim_matches(' ').to_owned(),
                space_before,
                special: false,
                part,
            }
        };
        Ok(self.tokenizer.encode_with_offsets(text)?.into_iter().map(token).collect())
    }

    fn special(&self, id: u32, part: usize) -> AttendedToken {
        let label = self.tokenizer.token(id).unwrap_or_default();
        AttendedToken { id, label, text: String::new(), space_before: false, special: true, part }
    }
}

/// Shortens the longer of two parts until they have `room` tokens together; says how many it left out.
fn truncate(parts: &mut [Vec<AttendedToken>], room: usize) -> usize {
    let mut truncated = 0;
    while parts.iter().map(Vec::len).sum::<usize>() > room {
        // Of equally long ones the last.
        let Some(longer) = parts.iter_mut().max_by_key(|part| part.len()) else { break };
        longer.pop();
        truncated += 1;
    }
    truncated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(length: usize) -> Vec<AttendedToken> {
        let token = |id| AttendedToken {
            id,
            label: String::new(),
            text: String::new(),
            space_before: false,
            special: false,
            part: 0,
        };
        (0..length as u32).map(token).collect()
    }

    #[test]
    fn the_longer_text_is_cut() {
        for (lengths, room, expected, truncated) in
            [([3, 4], 7, [3, 4], 0), ([3, 9], 8, [3, 5], 4), ([9, 3], 8, [5, 3], 4), ([9, 9], 7, [4, 3], 11)]
        {
            let mut parts = lengths.map(part);
            assert_eq!(truncate(&mut parts, room), truncated);
            assert_eq!(parts.each_ref().map(Vec::len), expected);
        }
        let mut alone = [part(9)];
        assert_eq!((truncate(&mut alone, 2), alone[0].len()), (7, 2));
    }
}
