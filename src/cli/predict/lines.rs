//! Predictions as lines: of text, with tabs between its columns, or of JSON.

use std::path::Path;

use anyhow::Context;
use serde_json::{Map, json};
use wgrad::infer::{Prediction, Span, Tagged};
use wgrad::store::{Making, Seen, WorkShard};

use crate::cli::divided::Target;
use crate::cli::print::{self, Part};
use crate::cli::texts::Pair;

/// Of so many labels at most a line of text tells the probabilities; there may be a thousand.
const SHOWN: usize = 20;

/// Where predictions go, a line each: the standard output, where it is a terminal in colours, or a file or a part of one.
pub struct Lines(Option<Target>);

impl Lines {
    /// Opens `output`, or the part of it that `shard` makes; without a name the standard output.
    pub fn open(output: Option<&Path>, shard: Option<WorkShard>) -> anyhow::Result<Self> {
        let standard = output.is_none_or(|path| path.as_os_str() == "-") && shard.is_none();
        Ok(Lines(if standard { None } else { Some(Target::open(output, shard)?) }))
    }

    fn line(&mut self, text: &str) -> anyhow::Result<()> {
        match &mut self.0 {
            None => print::line(text),
            // Files hold what the standard output would have.
            Some(target) => Ok(target.put(1, format!("{}\n", print::visible(text)).as_bytes())?),
        }
    }

    fn painted(&mut self, parts: &[Part<'_>]) -> anyhow::Result<()> {
        match &self.0 {
            None => print::painted(parts),
            Some(_) => self.line(&print::plain(parts)),
        }
    }

    /// Ends a file; see [`Target::finish`].
    pub fn finish(self, seen: Seen, making: impl FnOnce() -> Making) -> anyhow::Result<()> {
        self.0.map_or(Ok(()), |target| target.finish(seen, making))
    }
}

/// Writes the entities of a text; `kinds` are all that there may be.
pub fn show_entities(
    lines: &mut Lines,
    text: &str,
    tagged: &Tagged,
    kinds: &[&str],
    json: bool,
) -> anyhow::Result<()> {
    if json {
        let (entities, truncated) = (&tagged.entities, tagged.truncated);
        return lines
            .line(&json!({ "text": text, "entities": entities, "truncated": truncated }).to_string());
    }
    lines.painted(&marked(text, &tagged.entities, kinds))
}

/// A text in one line, in parts, of which those that are entities are marked by their kind, whose place among all `kinds`
/// says in which colour.
fn marked<'a>(text: &'a str, entities: &'a [Span], kinds: &[&str]) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let (mut rest, mut at) = (text, 0);
    for Span { label, start, end, .. } in entities {
        // Entities come in the order of the text.
        let (before, after) = rest.split_at(bytes_of(rest, start.saturating_sub(at)));
        let (words, after) = after.split_at(bytes_of(after, end.saturating_sub(*start)));
        let colour = kinds.iter().position(|kind| kind == label).unwrap_or_default();
        parts.push(Part { text: before.into(), mark: None });
        parts.push(Part { text: words.into(), mark: Some((label, colour)) });
        (rest, at) = (after, *end);
    }
    parts.push(Part { text: rest.into(), mark: None });
    for part in &mut parts {
        part.text = part.text.replace(['\t', '\n', '\r'], " ").into();
    }
    parts
}

/// How many bytes so many characters take.
fn bytes_of(text: &str, characters: usize) -> usize {
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
}

/// The probability of each class. Classes of one name are told apart by their numbers, so that none is lost.
fn shares(labels: &[String], probabilities: &[f64]) -> Map<String, serde_json::Value> {
    let mut shares = Map::new();
    for (class, (label, share)) in labels.iter().zip(probabilities).enumerate() {
        let mut name = label.clone();
        // A name that looks like one with a number may be there already.
        while shares.contains_key(&name) || (name != *label && labels.contains(&name)) {
            name = format!("{name} ({class})");
        }
        shares.insert(name, json!(share));
    }
    shares
}

/// Writes what a model says of a text or pair.
pub fn show(
    lines: &mut Lines,
    (text, pair): &Pair,
    prediction: &Prediction,
    labels: &[String],
    json: bool,
) -> anyhow::Result<()> {
    if json {
        let mut value = serde_json::to_value(prediction).context("a prediction as JSON")?;
        let shares = shares(labels, &prediction.probabilities);
        let mut line = Map::new();
        line.insert("text".into(), json!(text));
        if let Some(pair) = pair {
            line.insert("pair".into(), json!(pair));
        }
        if !shares.is_empty() {
            value["probabilities"] = shares.into();
        }
        line.extend(value.as_object().cloned().unwrap_or_default());
        return lines.line(&serde_json::Value::Object(line).to_string());
    }
    let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
    let answer = match &prediction.label {
        _ if prediction.labels.is_some() => {
            let given: Vec<String> = prediction.labels.iter().flatten().map(|label| plain(label)).collect();
            let mut all: Vec<(&String, f64)> =
                labels.iter().zip(prediction.probabilities.iter().copied()).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            let shares = all.iter().take(SHOWN).map(|(label, share)| format!("{} {share:.4}", plain(label)));
            format!("{}\t{}", given.join("|"), shares.collect::<Vec<_>>().join("|"))
        }
        Some(label) => format!("{}\t{:.4}", plain(label), prediction.score),
        None => format!("{:.4}", prediction.score),
    };
    let pair = pair.as_deref().map(|pair| format!("\t{}", plain(pair))).unwrap_or_default();
    lines.line(&format!("{answer}\t{}{pair}", plain(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_class_is_lost() {
        let labels = ["a", "b", "a", "a (3)", "a"].map(str::to_owned);
        let shares = shares(&labels, &[0.1, 0.2, 0.3, 0.15, 0.25]);
        let names: Vec<&str> = shares.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "b", "a (2)", "a (3)", "a (4)"]);
        // Not even where a class is called what another one would be.
        let labels = ["a", "a", "a (1)"].map(str::to_owned);
        assert_eq!(super::shares(&labels, &[0.5, 0.3, 0.2]).len(), 3);
    }
}
