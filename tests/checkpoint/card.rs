//! The model card.

use wgrad::files::{ModelCard, Score};
use wgrad::models::Config;

#[test]
fn a_card_says_what_it_is_given() {
    let card = ModelCard {
        name: "micro\nreviews".into(),
        base_model: Some("some/model".into()),
        license: Some("mit".into()),
        languages: vec!["en".into(), "no".into()],
        tags: vec!["a: \"b\"".into()],
        summary: "Trained on film reviews.".into(),
        data: vec!["33,530 reviews".into()],
        recipe: vec![("Learning rate".into(), "2e-3 | linear".into())],
        scores: vec![Score { task: "held-out".into(), metric: "loss, nats".into(), value: 4.93 }],
    };
    let expected = "---
library_name: wgrad
pipeline_tag: fill-mask
license: \"mit\"
base_model: \"some/model\"
language:
- \"en\"
- \"no\"
tags:
- wgrad
- bert
- \"a: \\\"b\\\"\"
---

# micro reviews

Trained on film reviews.

## Model

| | |
|---|---|
| Kind | pre-LN BERT encoder with a masked-language-model head |
| Parameters | 1,447,424 |
| Layers | 2 |
| Width | 128 |
| Heads | 2 |
| Inner width | 512 |
| Vocabulary | 4096 |
| Positions | relative, 32 buckets |
| Context in training | 64 tokens |
| Head | untied |

## Data

- 33,530 reviews

## Training

| Setting | Value |
|---|---|
| Learning rate | 2e-3 \\| linear |

## Scores

| Task | Metric | Value |
|---|---|---|
| held-out | loss, nats | 4.93 |
";
    assert_eq!(card.render(&Config::preset("micro").unwrap()), expected);
}

#[test]
fn empty_sections_are_left_out() {
    let card = ModelCard { name: "m".into(), ..ModelCard::default() };
    let text = card.render(&Config::preset("notebook").unwrap());
    assert!(text.contains("| Parameters | 135,330,816 |"));
    for word in ["license", "language:", "## Data", "## Training", "## Scores"] {
        assert!(!text.contains(word), "{word}");
    }
}
