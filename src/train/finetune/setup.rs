//! What the seeds of a finetuning run share: texts as token ids, the model's shape, and how each seed begins.

use serde_json::{Map, Value, json};

use super::FinetuneOptions;
use super::answers::Answers;
use super::prepare::{Prepared, Truncation};
use super::recipe::{Recipe, RecipeName};
use super::score::{Scores, score, score_pairs, tells_entities};
use crate::data::task::{Example, Kind, Labels, Table, Task};
use crate::files::SentenceFolder;
use crate::gpu::Gpu;
use crate::infer::{Readout, Session};
use crate::models::{Config, Pooling, ProblemType};
use crate::nn::initial_values;
use crate::store::Disk;
use crate::text::{Template, Tokenizer, open_pairs};
use crate::train::TrainerOptions;
use crate::train::objective::{ChosenObjective, Pairs, Targets, TextBatch, TextObjective};
use crate::train::ranks::{DataParallel, Learns, TrainerPlan};
use crate::{Error, Result};

/// What the names of the last layer of a head begin with, in all families.
const LAST_LAYER: &str = "classifier.";

/// A run with its texts prepared.
pub(super) struct Setup<'a> {
    pub options: &'a FinetuneOptions,
    /// How tokens become what is compared or read by the head.
    pub pooling: Pooling,
    /// The finetuned model's shape.
    pub config: Config,
    pub tokenizer: Tokenizer,
    /// What each class counts; empty where all count alike.
    pub weights: Vec<f32>,
    pub train: Prepared,
    pub evals: Vec<(String, Prepared)>,
}

impl<'a> Setup<'a> {
    /// Prepares a run; nothing is written and no device is touched.
    pub(super) fn new(options: &'a FinetuneOptions) -> Result<Self> {
        let FinetuneOptions { task, model, recipe, .. } = options;
        recipe.check()?;
        if options.seeds.is_empty() {
            return Err(Error::config("seeds", "at least one", 0));
        }
        let pooling = pooling(options)?;
        let family = model.config.family();
        if task.kind() == Kind::Words && options.pooling.is_some() {
            let expected = "none where words are labelled: the head reads every token";
            return Err(Error::config("pooling", expected, pooling.name()));
        }
        let weighed = matches!(task.kind(), Kind::Classes | Kind::Words);
        if !recipe.class_weights.is_equal() && !weighed {
            let expected = "none but where a text or a word has one class";
            return Err(Error::config("class-weights", expected, format!("some for the task {task}")));
        }
        if task.kind() != Kind::Vector && family.classifier(pooling, false).0 != pooling {
            let expected = format!("cls: the head of a `{}` reads the first token", family.model_type());
            return Err(Error::config("pooling", expected, pooling.name()));
        }
        if *task == Task::Contrastive && recipe.blocks > 1 {
            let expected =
                "1 in contrastive training, whose pairs are told apart from all others of their step";
            return Err(Error::config("blocks", expected, recipe.blocks));
        }
        // Before texts are prepared.
        options.team.divide(recipe.blocks)?;
        let longest = model.config.longest_text();
        if recipe.max_length > longest {
            let expected = format!("at most {longest}, the positions the model has");
            return Err(Error::config("max-length", expected, recipe.max_length));
        }
        let paired = options.train.examples.iter().any(|example| example.pair.is_some());
        if *task == Task::Contrastive && !paired && recipe.dropout == 0.0 {
            let expected =
                "more than 0 where texts have no partners: dropout is all that tells a text from itself";
            return Err(Error::config("dropout", expected, recipe.dropout));
        }
        let loaded = model.tokenizer()?;
        let tokenizer = match family.joins_pairs_openly() {
            true => {
                Tokenizer::with_roles(open_pairs(loaded.json()), &model.tokenizer, loaded.special_tokens())?
            }
            false => loaded,
        };
        let labels = match task.kind() {
            Kind::Classes if task.is_glue() => Labels::glue(*task),
            Kind::Classes => Labels::of(&options.train)?,
            Kind::Labels => of_head(options, Labels::of_lists(&options.train, 1)?),
            Kind::Words => of_head(options, Labels::of_lists(&options.train, 2)?),
            Kind::Number | Kind::Vector => Labels::glue(*task),
        };
        let truncation = Truncation {
            template: Template::of(&tokenizer)?,
            longest: recipe.max_length,
            drop_long: recipe.drop_long,
        };
        let train = Prepared::new(*task, &tokenizer, &options.train, &labels, &truncation)?;
        if matches!(&train.targets, Targets::Tokens(list) if list.iter().all(Vec::is_empty)) {
            let expected = "words of which the tokenizer leaves something";
            return Err(Error::file(&options.train.path, expected, "none"));
        }
        let weights = recipe.class_weights.of(labels.names(), &train.targets)?;
        // What is measured is never left out.
        let truncation = Truncation { drop_long: false, ..truncation };
        let prepare = |(name, table): &(String, _)| {
            Ok((name.clone(), Prepared::new(*task, &tokenizer, table, &labels, &truncation)?))
        };
        let evals = options.evals.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        if let Some((name, _)) =
            evals.iter().find(|(_, set)| *task == Task::Contrastive && set.partners.is_empty())
        {
            let expected = "pairs to measure contrastive training on (--pair-column)";
            return Err(Error::config(name.clone(), expected, "single texts"));
        }
        let config = config(options, labels.names(), pooling);
        config.validate()?;
        Ok(Setup { options, pooling, config, tokenizer, weights, train, evals })
    }

    /// What each class counts, in words, where they count differently.
    pub(super) fn class_weights(&self) -> Option<String> {
        let weights = self.config.labels.iter().zip(&self.weights);
        let weights: Vec<String> = weights.map(|(label, weight)| format!("{label}: {weight:.4}")).collect();
        (!weights.is_empty()).then(|| weights.join(", "))
    }

    /// What a person should know before it begins.
    pub(super) fn warnings(&self) -> Vec<String> {
        let longest = self.options.recipe.max_length;
        let mut all = Vec::new();
        if self.train.left_out > 0 {
            all.push(format!("{} texts of over {longest} tokens are left out", self.train.left_out));
        }
        let truncated = self.train.truncated + self.evals.iter().map(|(_, set)| set.truncated).sum::<usize>();
        if truncated > 0 {
            all.push(format!("{truncated} texts are truncated to {longest} tokens (--max-length)"));
        }
        let tables = std::iter::once(&self.options.train).chain(self.options.evals.iter().map(|(_, t)| t));
        for table in tables {
            let path = table.path.display();
            let repairs = table.repairs;
            let repaired = repairs.invalid_utf8 + repairs.nul;
            if repaired > 0 {
                all.push(format!("{path}: {repaired} broken characters were replaced"));
            }
            all.extend(table.lost.summary(&table.path));
        }
        if self.options.task.kind() == Kind::Words && !tells_entities(&self.config.labels) {
            all.push(
                "the tags are no B-… and I-…, so that entities cannot be counted, only words (--tag-names says what numbers are \
                 called)"
                    .to_owned(),
            );
        }
        all
    }

    /// What the trainer of a seed is made from.
    fn plan(&self, seed: u64) -> TrainerPlan {
        let FinetuneOptions { recipe, task, storage, kernels, .. } = self.options;
        let objective = match task.kind() {
            Kind::Classes => ChosenObjective::Classes(self.weights.clone()),
            Kind::Labels => ChosenObjective::LabelSets,
            Kind::Words => ChosenObjective::TokenClasses(self.weights.clone()),
            Kind::Number => ChosenObjective::Numbers,
            Kind::Vector => ChosenObjective::Pairs(Pairs {
                pooling: self.pooling,
                factor: recipe.contrast as f32,
                at_once: recipe.micro_batch,
                negatives: self.train.negatives.len(),
            }),
        };
        let options = TrainerOptions {
            storage: *storage,
            dropout: recipe.dropout as f32,
            optimizer: recipe.optimizer.options(),
            seed,
        };
        let recompute = recipe.recompute.min(self.config.num_hidden_layers);
        let learns = Learns::Texts { objective, options, freeze: recipe.freeze, recompute };
        TrainerPlan { config: self.config.clone(), kernels: kernels.clone(), learns }
    }

    /// A trainer of the model with the weights of the folder, and first values where it has none.
    pub(super) fn trainer(&self, gpu: &Gpu, seed: u64) -> Result<DataParallel<TextObjective>> {
        let FinetuneOptions { model: folder, recipe, team, .. } = self.options;
        let engine = DataParallel::texts(gpu, &self.plan(seed), recipe.blocks, team, |trainer| {
            // What told texts apart says nothing of words.
            let other_head = folder.config.head() != self.config.head();
            for spec in self.config.parameters() {
                let shape = folder.weights.shape(&spec.name);
                // A head for other classes begins anew.
                let begins = other_head && spec.name.starts_with(LAST_LAYER);
                let values = match shape {
                    Some(shape) if shape == spec.shape && !begins => folder.weights.f32(&spec.name)?,
                    _ => initial_values(&spec, seed),
                };
                trainer.model().parameters.write(&spec.name, &values)?;
            }
            Ok(())
        })?;
        Ok(engine.with_wire(recipe.wire))
    }

    /// What a checkpoint must have been made with. What is read from files is there as a checksum.
    pub(super) fn fingerprint(&self) -> Result<Map<String, Value>> {
        let FinetuneOptions { task, recipe, seeds, storage, train, evals, model, .. } = self.options;
        let checksum = |table: &Table| {
            let mut hasher = crc32fast::Hasher::new();
            for Example { text, pair, label, .. } in &table.examples {
                for part in [Some(text), pair.as_ref(), label.as_ref()] {
                    hasher.update(&[u8::from(part.is_some())]);
                    hasher.update(part.map_or(&[][..], |part| part.as_bytes()));
                    hasher.update(&[0xff]);
                }
            }
            for negative in table.negatives.iter().flatten() {
                hasher.update(negative.as_bytes());
                hasher.update(&[0xfe]);
            }
            format!("{:08x}", hasher.finalize())
        };
        let sets = evals.iter().map(|(name, table)| (name.clone(), Value::from(checksum(table))));
        let mut weights = crc32fast::Hasher::new();
        for (name, _) in model.weights.shapes() {
            weights.update(name.as_bytes());
            weights.update(bytemuck::cast_slice(&model.weights.f32(name)?));
        }
        let mut fingerprint = Map::new();
        for (name, value) in [
            ("task", json!(task)),
            // What it computes twice changes no bit.
            ("recipe", json!(Recipe { recompute: 0, ..recipe.clone() })),
            ("seeds", json!(seeds)),
            ("pooling", json!(self.pooling)),
            ("storage", json!(storage)),
            ("model", json!(format!("{:08x}", weights.finalize()))),
            ("config", json!(format!("{:08x}", crc32fast::hash(self.config.to_json().as_bytes())))),
            ("tokenizer", json!(format!("{:08x}", crc32fast::hash(self.tokenizer.json())))),
            ("train", json!(checksum(train))),
            ("eval", Value::Object(sets.collect())),
        ] {
            fingerprint.insert(name.to_owned(), value);
        }
        Ok(fingerprint)
    }

    /// The batch of the texts numbered in `chosen`, in parts that are computed at once.
    pub(super) fn micro_batches(&self, chosen: &[usize]) -> Vec<TextBatch> {
        let FinetuneOptions { task, recipe, .. } = self.options;
        // The pairs of a batch are told apart from each other: their objective divides it.
        let part = if *task == Task::Contrastive { chosen.len() } else { recipe.micro_batch };
        let parts = chosen.chunks(part.max(1));
        parts.map(|part| self.train.batch(*task, part, recipe.max_length)).collect()
    }
}

/// What is read of each text of a task.
fn readout(task: Task, pooling: Pooling) -> Readout {
    match task.kind() {
        Kind::Vector => Readout::Vector { pooling: pooling.into(), normalize: true },
        Kind::Classes | Kind::Labels | Kind::Number => Readout::Head,
        Kind::Words => Readout::TokenClasses,
    }
}

/// What the model of `session` says of a set of `task`, and how good that is.
pub(super) async fn score_set(
    (task, pooling): (Task, Pooling),
    session: &mut Session,
    set: &Prepared,
    progress: &mut dyn FnMut(usize),
) -> Result<(Scores, Answers)> {
    let readout = readout(task, pooling);
    let texts = session.compute(readout, &set.texts, progress).await?;
    if task.kind() != Kind::Vector {
        let labels = &session.model().config.labels;
        let measured = score(task, &texts, &set.targets, labels);
        return Ok((measured, Answers::of(texts, &set.targets, labels.len())));
    }
    let partners = session.compute(readout, &set.partners, progress).await?;
    let measured = score_pairs(&texts, &partners, &set.targets);
    Ok((measured, Answers::of_pairs(&texts, &partners, &set.targets)))
}

/// The labels of a model that has a head for words, or for several labels of a text, where it has all that were found: it
/// goes on with its own. Otherwise those that were found.
fn of_head(options: &FinetuneOptions, found: Labels) -> Labels {
    let FinetuneOptions { task, model, .. } = options;
    let config = &model.config;
    let same = match task.kind() {
        Kind::Words => config.is_token_classifier(),
        _ => config.is_classifier() && config.problem_type == Some(ProblemType::MultiLabelClassification),
    };
    let has = |label: &String| config.labels.contains(label);
    if same && found.names().iter().all(has) { Labels::of_model(&config.labels, *task) } else { found }
}

/// The pooling that was chosen, or else what suits the model.
fn pooling(options: &FinetuneOptions) -> Result<Pooling> {
    let FinetuneOptions { task, model, recipe, .. } = options;
    Ok(match options.pooling {
        Some(pooling) => pooling,
        None if task.kind() == Kind::Vector => {
            folders_pooling(&SentenceFolder::load_with(&Disk, &model.path, false)?.with_its_pooling()?)?
        }
        // The head reads every token.
        None if task.kind() == Kind::Words => Pooling::Cls,
        None if model.config.is_classifier() => model.config.classifier_pooling,
        None if recipe.name == RecipeName::Notebook => Pooling::Cls,
        None => model.config.family().classifier(Pooling::Mean, false).0,
    })
}

/// The pooling of a folder, where vectors are made by nothing else.
fn folders_pooling(folder: &SentenceFolder) -> Result<Pooling> {
    match folder.pooling.single() {
        Some(pooling) if folder.steps.is_empty() => Ok(pooling),
        Some(_) => {
            let expected = "a folder without layers behind its pooling, or --pooling to leave them out";
            Err(Error::config("model", expected, "a Dense module"))
        }
        None => {
            let expected = "one to train with, by --pooling";
            Err(Error::config("pooling", expected, folder.pooling.to_string()))
        }
    }
}

/// The shape of the finetuned model.
fn config(options: &FinetuneOptions, labels: &[String], pooling: Pooling) -> Config {
    let FinetuneOptions { task, model, recipe, .. } = options;
    // The dense layer makes a vector for the text out of the first token's; the mean is one.
    let pooler = recipe.pooler && pooling == Pooling::Cls;
    let shape = match task.kind() {
        Kind::Vector => Config { labels: Vec::new(), problem_type: None, ..model.config.encoder() },
        Kind::Classes => {
            let problem = ProblemType::SingleLabelClassification;
            model.config.classifier(labels.to_vec(), problem, pooling, pooler)
        }
        Kind::Labels => {
            let problem = ProblemType::MultiLabelClassification;
            model.config.classifier(labels.to_vec(), problem, pooling, pooler)
        }
        Kind::Words => model.config.token_classifier(labels.to_vec()),
        Kind::Number => {
            let label = vec!["score".to_owned()];
            model.config.classifier(label, ProblemType::Regression, pooling, pooler)
        }
    };
    Config {
        finetuning_task: Some(task.name().to_owned()),
        // No text attends to its padding here, whatever pretraining did.
        mask_padding: true,
        hidden_dropout_prob: recipe.dropout,
        attention_probs_dropout_prob: recipe.dropout,
        ..shape
    }
}
