//! What a model that labels words says of texts: entities, each with the characters that it stands on.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use super::load::{load, longest_in};
use super::logits::{argmax, softmax};
use super::readout::Readout;
use super::session::{Sequence, Session};
use crate::budget;
use crate::files::ModelFolder;
use crate::gpu::Gpu;
use crate::models::{Config, Model};
use crate::store::{Disk, Store};
use crate::tensor::DType;
use crate::text::{Template, Tokenizer};
use crate::{Error, Result};

/// Words of a text that belong together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// What they are: `PER` where the model says `B-PER` and `I-PER`.
    pub label: String,
    /// The mean over the words of the probability of the label of each.
    pub score: f64,
    /// The words as they stand in the text.
    pub text: String,
    /// Where they begin, in characters (Unicode's scalar values, as Python counts them) from 0.
    pub start: usize,
    /// Where they end: the place of the first character after them.
    pub end: usize,
}

/// What a model says of the words of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tagged {
    /// What was found, in the order of the text. Words outside of entities, labelled `O`, are none.
    pub entities: Vec<Span>,
    /// How many tokens were truncated, in which nothing is found.
    pub truncated: usize,
}

/// A model that labels words, and its tokenizer, ready to label texts.
///
/// A word is what the tokenizer splits a text into before it looks for pieces, or where its vocabulary does not mark the
/// pieces within a word, what stands between blanks. The label of a word is that of its first piece, as in training, and
/// adjacent words of one kind are an entity unless a `B-` stands between them. That is what the pipeline
/// `token-classification` of `transformers` does with `aggregation_strategy="first"`.
#[derive(Debug)]
pub struct TokenClassifier {
    session: Session,
    tokenizer: Tokenizer,
    template: Template,
    longest: usize,
}

/// The first token of a word, and the bytes that it stands on.
type Word = (usize, Range<usize>);

/// A text as the model sees it.
struct Seen {
    ids: Vec<u32>,
    types: Vec<u32>,
}

impl Sequence for Seen {
    fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn types(&self) -> &[u32] {
        &self.types
    }
}

impl TokenClassifier {
    /// Loads a folder onto a device. Activations are stored as `storage`: f32, or f16 on devices that have it.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without a head on every token; those of reading the files and of the device.
    pub fn open(gpu: &Gpu, folder: &ModelFolder, storage: DType) -> Result<Self> {
        Self::open_in(&Disk, gpu, folder, None, storage)
    }

    /// [`TokenClassifier::open`] of a folder in `store`. Where its `model`, head and all, is on the device already, with f16
    /// copies if `storage` is f16, it is not loaded once more.
    ///
    /// # Errors
    /// As [`TokenClassifier::open`].
    pub fn open_in(
        store: &dyn Store,
        gpu: &Gpu,
        folder: &ModelFolder,
        model: Option<Arc<Model>>,
        storage: DType,
    ) -> Result<Self> {
        if !folder.config.is_token_classifier() {
            let expected = "a model that labels words, such as BertForTokenClassification";
            let found = format!("{:?} in {}", folder.config.architectures, folder.path.display());
            return Err(Error::config("architectures", expected, found));
        }
        let tokenizer = folder.tokenizer()?;
        let load = || load(gpu, folder.config.clone(), &folder.weights, storage).map(Arc::new);
        Ok(TokenClassifier {
            template: Template::of(&tokenizer)?,
            longest: longest_in(store, &folder.path, &folder.config)?,
            session: Session::new(gpu, model.map_or_else(load, Ok)?, storage),
            tokenizer,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.session.model().config
    }

    /// How many tokens of a text are seen at most.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// What the model finds in each text, in their order. `progress` is told how many are done.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`] and [`Session::compute`].
    pub async fn predict(
        &mut self,
        texts: &[impl AsRef<str> + Sync],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Tagged>> {
        let TokenClassifier { session, tokenizer, template, longest } = self;
        let mut seen = Vec::with_capacity(texts.len());
        let mut windows = texts.chunks(session.window()).map(|window| {
            let one = |text: &_| see(tokenizer, template, AsRef::<str>::as_ref(text), *longest);
            let window = window.par_iter().map(one).collect::<Result<Vec<_>>>()?;
            let (texts, found): (Vec<Seen>, Vec<(usize, Vec<Word>)>) = window.into_iter().unzip();
            seen.extend(found);
            Ok(texts)
        });
        let outputs = session.compute_windows(Readout::TokenClasses, &mut windows, progress).await?;
        let labels = &self.config().labels;
        let found = texts.iter().zip(outputs).zip(seen);
        Ok(found
            .map(|((text, logits), (truncated, words))| Tagged {
                entities: entities(text.as_ref(), &words, &logits, labels),
                truncated,
            })
            .collect())
    }
}

/// The tokens of a text, how many were truncated, and its words.
fn see(
    tokenizer: &Tokenizer,
    template: &Template,
    text: &str,
    longest: usize,
) -> Result<(Seen, (usize, Vec<Word>))> {
    let mut pieces = tokenizer.encode_with_words(budget::bounded(text))?;
    let room = longest.saturating_sub(template.specials(false));
    let truncated = pieces.len().saturating_sub(room).max(usize::from(budget::is_cut(text)));
    pieces.truncate(room);
    let pieces = pieces.into_iter().map(|piece| (piece.id, Some(piece))).collect();
    let (tokens, types) = template.join(pieces, None, |id, _| (id, None));
    let mut words: Vec<Word> = Vec::new();
    for (place, (_, piece)) in tokens.iter().enumerate() {
        let Some(piece) = piece else { continue };
        match words.last_mut().filter(|_| !piece.begins) {
            Some((_, bytes)) => bytes.end = bytes.end.max(piece.bytes.end),
            None => words.push((place, piece.bytes.clone())),
        }
    }
    let ids = tokens.into_iter().map(|(id, _)| id).collect();
    Ok((Seen { ids, types }, (truncated, words)))
}

/// Whether a label says that an entity begins, and the kind that adjacent words must share: `B-PER` begins a `PER`, `I-PER`
/// goes on with one, and so does every label with itself.
fn begins(label: &str) -> (bool, &str) {
    match label.split_once('-') {
        Some(("B", kind)) => (true, kind),
        Some(("I", kind)) => (false, kind),
        _ => (false, label),
    }
}

/// Adjacent words of one kind.
struct Group<'a> {
    kind: &'a str,
    /// What it is called: what follows the first hyphen of its first word's label.
    label: &'a str,
    scores: Vec<f64>,
    bytes: Range<usize>,
}

/// The entities among `words`, by the `logits` of all tokens of their text.
fn entities(text: &str, words: &[Word], logits: &[f32], labels: &[String]) -> Vec<Span> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (first, bytes) in words {
        let logits = &logits[first * labels.len()..][..labels.len()];
        let best = argmax(logits);
        let (begins, kind) = begins(&labels[best]);
        let score = softmax(logits)[best];
        match groups.last_mut().filter(|last| last.kind == kind && !begins) {
            Some(group) => {
                group.scores.push(score);
                group.bytes.end = group.bytes.end.max(bytes.end);
            }
            None => {
                let label = labels[best].split_once('-').map_or(labels[best].as_str(), |(_, kind)| kind);
                groups.push(Group { kind, label, scores: vec![score], bytes: bytes.clone() });
            }
        }
    }
    groups.retain(|group| group.label != "O");
    // Characters are counted once over the text, whose entities are in its order.
    let (mut byte, mut characters) = (0, 0);
    let mut character = |at: usize| {
        if at < byte {
            (byte, characters) = (0, 0);
        }
        characters += text[byte..at].chars().count();
        byte = at;
        characters
    };
    let span = |Group { label, scores, bytes, .. }: Group<'_>| {
        // A token may stand for a part of a character, and the blank before a word may be a part of its token.
        let (start, end) = (text.floor_char_boundary(bytes.start), text.ceil_char_boundary(bytes.end));
        let whole = &text[start..end.max(start)];
        let words = whole.trim();
        let start = start + whole.len() - whole.trim_start().len();
        let score = scores.iter().sum::<f64>() / scores.len() as f64;
        let [start, end] = [start, start + words.len()].map(&mut character);
        Span { label: label.to_owned(), score, text: words.to_owned(), start, end }
    };
    groups.into_iter().map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_words_of_one_kind_are_an_entity() {
        let labels = ["O", "B-PER", "I-PER", "B-a-b", "E-PER"].map(str::to_owned);
        let text = "Zoë  Müller \u{1f600}x saw\tB.";
        // Each word, and its label; the second token of a word says nothing.
        let words = [(0..4, 2), (4..13, 2), (13..19, 1), (20..23, 0), (24..25, 3), (25..26, 4)];
        let mut logits = vec![0f32; 7 * labels.len()];
        let words: Vec<_> = words
            .into_iter()
            .enumerate()
            .map(|(word, (bytes, label))| {
                logits[(word + 1) * labels.len() + label] = 2.0;
                (word + 1, bytes)
            })
            .collect();
        let found = entities(text, &words, &logits, &labels);
        let found: Vec<_> = found
            .iter()
            .map(|span| (span.label.as_str(), span.text.as_str(), span.start, span.end))
            .collect();
        let expected = [
            ("PER", "Zoë  Müller", 0, 11),
            ("PER", "\u{1f600}x", 12, 14),
            ("a-b", "B", 19, 20),
            ("PER", ".", 20, 21),
        ];
        assert_eq!(found, expected);
    }
}
