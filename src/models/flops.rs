//! How much a model computes: the floating-point operations of its matrix products, forward and backward.

use super::config::{Config, ModelType, PositionEmbedding};

/// Operations of one multiplication and addition, in the forward pass and in the two products of its gradients.
const TRAINED: f64 = 3.0 * 2.0;

impl Config {
    /// Operations per token of the encoder, forward and backward, in sequences of `tokens` (T) that attend to all of
    /// themselves:
    ///
    /// `6 · layers · (4C² + 2CF + 2TC + buckets·C)`
    ///
    /// Four C×C projections, two of the feed-forward block, the logits and the weighted sum over T keys, and the
    /// product with the table of distances. What is not a matrix product (norms, softmax, GELU, the optimizer) is left
    /// out, as is usual.
    pub fn body_flops(&self, tokens: usize) -> f64 {
        let (c, f, t) = (self.hidden_size as f64, self.intermediate_size as f64, tokens as f64);
        let buckets = match self.position_embedding_type {
            PositionEmbedding::RelativeBucket => self.relative_attention_num_buckets as f64,
            PositionEmbedding::Absolute => 0.0,
        };
        TRAINED * self.num_hidden_layers as f64 * (4.0 * c * c + 2.0 * c * f + 2.0 * t * c + buckets * c)
    }

    /// Operations per guessed token of the masked-language-model head, forward and backward: `6·V·C`, and `6·C²` more
    /// in the family whose head has a transform.
    pub fn head_flops(&self) -> f64 {
        let (v, c) = (self.vocab_size as f64, self.hidden_size as f64);
        let transform = if self.model_type == ModelType::Bert { c * c } else { 0.0 };
        TRAINED * (v * c + transform)
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
