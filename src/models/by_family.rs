//! What a configuration says through its family.

use super::config::{Config, Head, ProblemType};
use super::encoder::Encoder;
use super::family::Family;
use super::heads::Heads;
use super::pooling::Pooling;
use crate::error::quoted;
use crate::nn::{Declarations, ParameterSpec};
use crate::{Error, Result};

impl Config {
    /// A named shape. The first four have relative positions, an untied head and four-fold inner width; the others are
    /// ModernBERTs.
    ///
    /// | name | V | C | layers | H | F | context | parameters |
    /// |---|---|---|---|---|---|---|---|
    /// | `notebook` | 32768 | 768 | 12 | 12 | 3072 | 128 | 135,330,816 |
    /// | `small` | 8192 | 256 | 12 | 4 | 1024 | 128 | 13,669,376 |
    /// | `tiny` | 8192 | 256 | 4 | 4 | 1024 | 128 | 7,353,344 |
    /// | `micro` | 4096 | 128 | 2 | 2 | 512 | 64 | 1,447,424 |
    /// | `modern-base` | 50368 | 768 | 22 | 12 | 1152 | 1024 | 149,655,232 |
    /// | `modern-tiny` | 8192 | 256 | 4 | 4 | 384 | 128 | 4,401,664 |
    ///
    /// `small` has ELECTRA-small's encoder and its 14M parameters; tied, a vocabulary of 16384 has the same total.
    /// `micro` starts its head from a normal distribution, as its published reference loss does. Special tokens are
    /// 0 to 3 (padding, first, separator, mask) until a tokenizer says otherwise.
    ///
    /// ```
    /// use wgrad::models::Config;
    ///
    /// let micro = Config::preset("micro")?;
    /// assert_eq!((micro.hidden_size, micro.parameter_count()), (128, 1_447_424));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] when no preset has the name.
    pub fn preset(name: &str) -> Result<Config> {
        super::families().iter().find_map(|family| family.preset(name)).ok_or_else(|| {
            let known = Self::presets().map(|preset| format!("`{preset}`")).collect::<Vec<_>>().join(", ");
            Error::config("preset", format!("one of {known}"), quoted(name))
        })
    }

    /// The names that [`Config::preset`] knows.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        super::families().into_iter().flat_map(|family| family.presets()).copied()
    }

    /// The family of the encoder.
    pub fn family(&self) -> &'static dyn Family {
        super::family(self.model_type)
    }

    /// The same encoder with another head.
    fn with_head(&self, head: Head) -> Config {
        let architectures = self.family().architectures().iter().filter(|(_, stands)| *stands == head);
        let architectures = architectures.map(|(class, _)| class.to_string()).take(1).collect();
        Config { architectures, ..self.clone() }
    }

    /// The same encoder with nothing on it.
    pub fn encoder(&self) -> Config {
        Config { pooler: false, classifier_pooling: Pooling::Cls, ..self.with_head(Head::None) }
    }

    /// What stands on the encoder; none where `architectures` names no class of the family.
    pub fn head(&self) -> Option<Head> {
        let [class] = self.architectures.as_slice() else { return None };
        let classes = self.family().architectures();
        classes.iter().find(|(known, _)| known == class).map(|(_, head)| *head)
    }

    /// Whether there is a masked-language-model head.
    pub fn is_masked_lm(&self) -> bool {
        self.head() == Some(Head::Masked)
    }

    /// Whether there is a head that gives classes or a number of a text.
    pub fn is_classifier(&self) -> bool {
        self.head() == Some(Head::Classifier)
    }

    /// Whether there is a head that gives a class of each token.
    pub fn is_token_classifier(&self) -> bool {
        self.head() == Some(Head::TokenClassifier)
    }

    /// The same encoder with a head: one of `labels`, or a number where `problem` says so. It reads what `pooling`
    /// makes of a text's tokens; with a `pooler` it is dense, tanh, linear, else one linear layer. Some families have
    /// heads of one kind only, whatever is wished for: see [`Family::classifier`].
    pub fn classifier(
        &self,
        labels: Vec<String>,
        problem: ProblemType,
        pooling: Pooling,
        pooler: bool,
    ) -> Config {
        let (classifier_pooling, pooler) = self.family().classifier(pooling, pooler);
        let problem_type = Some(problem);
        Config { pooler, classifier_pooling, labels, problem_type, ..self.with_head(Head::Classifier) }
    }

    /// The same encoder with a head that gives each token one of `labels`.
    pub fn token_classifier(&self, labels: Vec<String>) -> Config {
        let pooler = self.family().transforms_tokens();
        let (classifier_pooling, problem_type) = (Pooling::Cls, None);
        Config { pooler, classifier_pooling, labels, problem_type, ..self.with_head(Head::TokenClassifier) }
    }

    /// The first row of the table of absolute positions that stands for one.
    pub(super) fn first_position(&self) -> usize {
        if self.family().counts_from_padding() { self.pad_token_id as usize + 1 } else { 0 }
    }

    /// Declares the encoder and what stands on it. The configuration must be valid.
    pub(super) fn declare(&self) -> (Declarations, Box<dyn Encoder>, Heads) {
        let mut declarations = Declarations::default();
        let encoder = self.family().encoder(self, &mut declarations.scope());
        let heads = self.family().heads(self, &mut declarations.scope(), encoder.as_ref());
        (declarations, encoder, heads)
    }

    /// Every parameter, in the order of files and optimizer state. The configuration must be valid.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        self.declare().0.into_specs()
    }

    /// The name of the table of word embeddings.
    pub fn word_embeddings(&self) -> String {
        let (declarations, encoder, _) = self.declare();
        declarations.of(encoder.words().table).iter().map(|spec| spec.name.clone()).collect()
    }

    /// The number of trained values.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().iter().map(|spec| spec.elements() as u64).sum()
    }

    /// Operations per token of the encoder: see [`Family::body_flops`].
    pub fn body_flops(&self, tokens: usize) -> f64 {
        self.family().body_flops(self, tokens)
    }

    /// Operations per masked token of the masked-language-model head: see
    /// [`Family::head_flops`].
    pub fn head_flops(&self) -> f64 {
        self.family().head_flops(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notebooks_published_figures_come_out() {
        let config = Config::preset("notebook").unwrap();
        let mega = |flops: f64| (flops / 1e5).round() / 10.0;
        assert_eq!(mega(config.body_flops(128)), 525.5);
        assert_eq!(mega(config.head_flops()), 151.0);
        assert_eq!(mega(0.15 * config.head_flops()), 22.6);
    }

    #[test]
    fn a_step_of_tiny_by_hand() {
        let config = Config::preset("tiny").unwrap();
        let step = 2048.0 * config.body_flops(128) + 293.0 * config.head_flops();
        assert_eq!((step / 1e9).round(), 46.0);
    }
}
