//! The `README.md` of a model folder: a Hugging Face model card.

use std::fmt::Write as _;

use crate::format::{one_line, thousands};
use crate::models::{Config, NormPosition, Pooling, PositionEmbedding, ProblemType};

/// One line of the table of scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The task or data set.
    pub task: String,
    /// What was measured, with its unit where it has one.
    pub metric: String,
    /// The value.
    pub value: f64,
}

/// What a model card says. Sections without content are left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelCard {
    /// The model's name, the card's title.
    pub name: String,
    /// The model whose weights training started from, by its folder or its name on the hub.
    pub base_model: Option<String>,
    /// The licence of the weights, as Hugging Face spells it, for example `mit`.
    pub license: Option<String>,
    /// Language codes of the training text.
    pub languages: Vec<String>,
    /// Tags beside `wgrad` and `bert`.
    pub tags: Vec<String>,
    /// One sentence: what the model is for.
    pub summary: String,
    /// The training data, one line each: what it is, where it comes from, how much.
    pub data: Vec<String>,
    /// Settings of the training run, as name and value.
    pub recipe: Vec<(String, String)>,
    /// Measured results.
    pub scores: Vec<Score>,
}

impl ModelCard {
    /// The text: YAML front matter, then Markdown.
    pub fn render(&self, config: &Config) -> String {
        let mut text = self.front_matter(config);
        // Writing to a string does not fail.
        let _ = write!(text, "\n# {}\n", one_line(&self.name));
        if !self.summary.is_empty() {
            let _ = write!(text, "\n{}\n", one_line(&self.summary));
        }
        text.push_str("\n## Model\n\n| | |\n|---|---|\n");
        let positions = match config.position_embedding_type {
            PositionEmbedding::RelativeBucket => {
                format!("relative, {} buckets", config.relative_attention_num_buckets)
            }
            PositionEmbedding::Absolute => "absolute".to_string(),
            PositionEmbedding::Rotary => "rotary".to_string(),
        };
        let norms = match config.norm_position {
            NormPosition::Pre => "pre-LN",
            NormPosition::Post => "post-LN",
        };
        let head = match (config.is_masked_lm(), config.tie_word_embeddings) {
            (false, _) if config.is_classifier() => {
                let layers = if config.pooler { "dense, tanh, linear" } else { "linear" };
                let read = match config.classifier_pooling {
                    Pooling::Cls => "the first token",
                    // A head reads nothing else.
                    _ => "the mean over the tokens",
                };
                format!("{layers}, on {read}")
            }
            (false, _) if config.is_token_classifier() => {
                format!("{}linear, on every token", if config.pooler { "dense, " } else { "" })
            }
            (false, _) => "none".to_string(),
            (true, true) => "tied to the embedding".to_string(),
            (true, false) => "untied".to_string(),
        };
        let with = match (config.is_masked_lm(), config.labels.len()) {
            (true, _) => " with a masked-language-model head".to_string(),
            (false, labels)
                if config.is_classifier()
                    && config.problem_type == Some(ProblemType::MultiLabelClassification) =>
            {
                format!(" that gives each of {labels} labels or not")
            }
            (false, 1) if config.is_classifier() => " that gives a number".to_string(),
            (false, classes) if config.is_classifier() => format!(" that tells {classes} classes apart"),
            (false, labels) if config.is_token_classifier() => {
                format!(" that gives every word one of {labels} labels")
            }
            _ => String::new(),
        };
        let rows = [
            ("Kind", format!("{norms} BERT encoder{with}")),
            ("Parameters", thousands(config.parameter_count())),
            ("Layers", config.num_hidden_layers.to_string()),
            ("Width", config.hidden_size.to_string()),
            ("Heads", config.num_attention_heads.to_string()),
            ("Inner width", config.intermediate_size.to_string()),
            ("Vocabulary", config.vocab_size.to_string()),
            ("Positions", positions),
            ("Context in training", format!("{} tokens", config.max_position_embeddings)),
            ("Head", head),
        ];
        for (name, value) in rows {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        if !self.data.is_empty() {
            text.push_str("\n## Data\n\n");
            self.data.iter().for_each(|source| {
                let _ = writeln!(text, "- {}", one_line(source));
            });
        }
        if !self.recipe.is_empty() {
            text.push_str("\n## Training\n\n| Setting | Value |\n|---|---|\n");
            for (name, value) in &self.recipe {
                let _ = writeln!(text, "| {} | {} |", cell(name), cell(value));
            }
        }
        if !self.scores.is_empty() {
            text.push_str("\n## Scores\n\n| Task | Metric | Value |\n|---|---|---|\n");
            for score in &self.scores {
                let _ =
                    writeln!(text, "| {} | {} | {} |", cell(&score.task), cell(&score.metric), score.value);
            }
        }
        text
    }

    fn front_matter(&self, config: &Config) -> String {
        // What `transformers` needs code for is not its own.
        let library = config.family().python().map_or("transformers", |_| "wgrad");
        let purpose = match (config.is_masked_lm(), config.is_classifier()) {
            (true, _) => "fill-mask",
            (_, true) => "text-classification",
            _ if config.is_token_classifier() => "token-classification",
            _ => "sentence-similarity",
        };
        let mut text = format!("---\nlibrary_name: {library}\npipeline_tag: {purpose}\n");
        if let Some(license) = &self.license {
            let _ = writeln!(text, "license: {}", yaml(license));
        }
        if let Some(base) = &self.base_model {
            let _ = writeln!(text, "base_model: {}", yaml(base));
        }
        if !self.languages.is_empty() {
            text.push_str("language:\n");
            self.languages.iter().for_each(|language| {
                let _ = writeln!(text, "- {}", yaml(language));
            });
        }
        text.push_str("tags:\n- wgrad\n- bert\n");
        self.tags.iter().for_each(|tag| {
            let _ = writeln!(text, "- {}", yaml(tag));
        });
        text.push_str("---\n");
        text
    }
}

/// A YAML string: JSON's quoting is part of YAML.
fn yaml(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// Text in a table's cell.
fn cell(value: &str) -> String {
    one_line(value).replace('|', "\\|")
}
