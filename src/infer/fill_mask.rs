//! The words a model puts in place of `[MASK]`.

use serde::Serialize;

use super::Predictor;
use super::load::{agree, load};
use super::logits::softmax;
use crate::files::ModelFolder;
use crate::gpu::Gpu;
use crate::models::Model;
use crate::tensor::DType;
use crate::text::Tokenizer;
use crate::{Error, Result};

/// A model and its tokenizer, ready to guess.
///
/// [`FillMask::open`] takes a folder's model; here it is one with random weights.
///
/// ```
/// use wgrad::gpu::{Gpu, GpuOptions};
/// use wgrad::infer::FillMask;
/// # use wgrad::models::{Config, Model};
/// # use wgrad::text::{Tokenizer, TokenizerOptions};
///
/// # fn main() -> wgrad::Result<()> {
/// # if std::env::var_os("CI").is_none() && pollster::block_on(wgrad::gpu::Gpu::open(&Default::default())).is_err() { return Ok(()); }
/// # let options = TokenizerOptions { vocab_size: 256, ..TokenizerOptions::default() };
/// # let tokenizer = Tokenizer::train(["a dog barks", "a cat sleeps"].map(|text| Ok(text.to_owned())), &options)?;
/// # let specials = *tokenizer.specials();
/// # let config = Config { vocab_size: tokenizer.vocab_size(), pad_token_id: specials.pad, cls_token_id: specials.cls,
/// #     sep_token_id: specials.sep, mask_token_id: specials.mask, ..Config::preset("micro")? };
/// pollster::block_on(async {
///     let gpu = Gpu::open(&GpuOptions::default()).await?;
///     let model = Model::new(&gpu, config, false)?;
///     model.initialize(0)?;
///     let mut fill_mask = FillMask::new(&gpu, model, tokenizer)?;
///     let filled = fill_mask.fill("a [MASK] barks", 3).await?;
///     assert_eq!(filled.masks[0].candidates.len(), 3);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct FillMask {
    predictor: Predictor,
    tokenizer: Tokenizer,
}

/// A text with its masks guessed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Filled {
    /// The text as the tokenizer cleans it, each mask replaced by its likeliest token. The masks are guessed
    /// independently of each other.
    pub text: String,
    /// The guesses, mask after mask.
    pub masks: Vec<Mask>,
    /// How many tokens the model saw, `[CLS]` and `[SEP]` counted.
    pub tokens: usize,
    /// How many tokens were cut off at both ends, because the text was longer than the model's context.
    pub truncated: usize,
    /// How many masks were among those.
    pub truncated_masks: usize,
}

/// The guesses for one mask.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mask {
    /// Where it stands among the tokens the model saw; `[CLS]` is at 0.
    pub position: usize,
    /// The likeliest tokens, likeliest first; of equally likely ones the lower id.
    pub candidates: Vec<Candidate>,
}

/// A guess.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The token's id.
    pub id: u32,
    /// Its spelling in the vocabulary, marks of word beginnings and ends included.
    pub token: String,
    /// Its text.
    pub text: String,
    /// Its share in the softmax over the vocabulary.
    pub probability: f64,
}

impl FillMask {
    /// Joins a model and a tokenizer.
    ///
    /// # Errors
    /// [`Error::Config`] for a model without a head that guesses, when the two disagree on the vocabulary or its
    /// special tokens, or the context has no room for a single token.
    pub fn new(gpu: &Gpu, model: Model, tokenizer: Tokenizer) -> Result<Self> {
        let config = &model.config;
        if !config.is_masked_lm() {
            let expected = "a model with a masked-language-model head, such as BertForMaskedLM";
            return Err(Error::config("architectures", expected, format!("{:?}", config.architectures)));
        }
        agree(config, &tokenizer)?;
        if config.max_position_embeddings < 3 {
            let expected = "room for a token between the first one and the separator";
            return Err(Error::config("max_position_embeddings", expected, config.max_position_embeddings));
        }
        Ok(FillMask { predictor: Predictor::new(gpu, model), tokenizer })
    }

    /// Loads a model folder onto a device.
    ///
    /// # Errors
    /// Those of reading the files (NaN and infinite weights are refused unless `folder.weights` allows them), of
    /// [`FillMask::new`] and of the device.
    pub fn open(gpu: &Gpu, folder: &ModelFolder) -> Result<Self> {
        let tokenizer = folder.tokenizer()?;
        let model = load(gpu, folder.config.clone(), &folder.weights, DType::F32)?;
        Self::new(gpu, model, tokenizer)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        self.predictor.model()
    }

    /// What stands for a masked token in a text: `[MASK]` in most models.
    pub fn mask(&self) -> &str {
        self.tokenizer.special_tokens().mask.as_deref().unwrap_or_default()
    }

    /// Guesses each `[MASK]` in `text`: the `top_k` likeliest tokens with their probabilities.
    ///
    /// A text longer than the model's context is cut at both ends, around its masks; when they stand too far
    /// apart, the last ones are lost. [`Filled::truncated`] counts that.
    ///
    /// # Errors
    /// [`Error::Config`] for a text without `[MASK]`, for `top_k` of 0 and for a model whose logits are not
    /// finite; those of the device.
    pub async fn fill(&mut self, text: &str, top_k: usize) -> Result<Filled> {
        if top_k == 0 {
            return Err(Error::config("top-k", "at least 1", top_k));
        }
        let specials = *self.tokenizer.specials();
        let all = self.tokenizer.encode(text)?;
        let is_mask = |id: &&u32| **id == specials.mask;
        let room = self.model().config.max_position_embeddings - 2;
        let start = window(&all, specials.mask, room).ok_or_else(|| {
            let found = if text.trim().is_empty() { "an empty text" } else { "none" };
            let mask = self.mask();
            let expected = format!("{mask} where a word is to be guessed, as in `The dog {mask} home.`");
            Error::config("text", expected, found)
        })?;
        let kept = &all[start..all.len().min(start + room)];

        let mut ids = vec![specials.cls];
        ids.extend(kept);
        ids.push(specials.sep);
        let positions: Vec<u32> = (0..).zip(&ids).filter(|(_, id)| is_mask(id)).map(|(at, _)| at).collect();
        let logits = self.predictor.logits(&ids, &positions).await?;
        let mut masks = Vec::new();
        for (&position, logits) in positions.iter().zip(&logits) {
            let candidates = likeliest(logits, self.tokenizer.vocab_size(), top_k)
                .ok_or_else(|| Error::config("the model's weights", "finite logits", "NaN or infinity"))?;
            let candidates = candidates
                .into_iter()
                .map(|(id, probability)| {
                    Ok(Candidate {
                        id,
                        token: self.tokenizer.token(id).unwrap_or_default(),
                        text: self.tokenizer.decode(&[id], false)?.trim().to_string(),
                        probability,
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            if let Some(first) = candidates.first() {
                ids[position as usize] = first.id;
            }
            masks.push(Mask { position: position as usize, candidates });
        }
        Ok(Filled {
            text: self.tokenizer.decode(&ids[1..ids.len() - 1], false)?,
            tokens: ids.len(),
            truncated: all.len() - kept.len(),
            truncated_masks: all.iter().filter(is_mask).count() - masks.len(),
            masks,
        })
    }
}

/// Where the `room` tokens begin that are kept of `ids`: the masks in their middle, or as many as fit from the
/// first one on. None without a mask.
fn window(ids: &[u32], mask: u32, room: usize) -> Option<usize> {
    let first = ids.iter().position(|&id| id == mask)?;
    let last = ids.iter().rposition(|&id| id == mask)?;
    let around = room.saturating_sub(last + 1 - first) / 2;
    Some(first.saturating_sub(around).min(ids.len().saturating_sub(room)))
}

/// The `count` greatest of the first `known` logits: their indices and their shares in the softmax. None unless all are finite.
fn likeliest(logits: &[f32], known: usize, count: usize) -> Option<Vec<(u32, f64)>> {
    if !logits.iter().all(|logit| logit.is_finite()) {
        return None;
    }
    let probabilities = softmax(logits);
    let mut order: Vec<u32> = (0..logits.len().min(known) as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
    order.truncate(count);
    Some(order.into_iter().map(|id| (id, probabilities[id as usize])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_the_masks() {
        let text = |length: usize, masks: &[usize]| -> Vec<u32> {
            (0..length).map(|at| if masks.contains(&at) { 9 } else { 0 }).collect()
        };
        assert_eq!(window(&text(5, &[]), 9, 10), None);
        assert_eq!(window(&text(5, &[4]), 9, 10), Some(0));
        assert_eq!(window(&text(30, &[0]), 9, 10), Some(0));
        assert_eq!(window(&text(30, &[15]), 9, 10), Some(11));
        assert_eq!(window(&text(30, &[29]), 9, 10), Some(20));
        assert_eq!(window(&text(30, &[12, 21]), 9, 10), Some(12));
        assert_eq!(window(&text(30, &[3, 25]), 9, 10), Some(3));
        assert_eq!(window(&text(30, &[3, 4]), 9, 1), Some(3));
    }

    #[test]
    fn probabilities_are_a_softmax() {
        let guesses = likeliest(&[0.0, 2.0, f32::MIN, 2.0, 1.0, 9.0], 5, 3).unwrap();
        // A row of a padded table has its share, and is no guess.
        let total = 1.0 + 2.0 * 2f64.exp() + 1f64.exp() + 9f64.exp();
        for ((id, probability), (expected, logit)) in guesses.iter().zip([(1, 2f64), (3, 2.0), (4, 1.0)]) {
            assert_eq!(*id, expected);
            assert!((probability - logit.exp() / total).abs() < 1e-12);
        }
        assert_eq!(likeliest(&[3e38, 0.0], 2, 9).unwrap(), [(0, 1.0), (1, 0.0)]);
        assert_eq!(likeliest(&[0.0, f32::NAN], 2, 1), None);
    }
}
