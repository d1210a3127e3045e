//! How each seed of a finetuning run begins, and the batches that its trainer gets.

use super::FinetuneOptions;
use super::recipe::Recipe;
use super::setup::Setup;
use crate::Result;
use crate::data::task::{Kind, Task};
use crate::gpu::Gpu;
use crate::nn::initial_values;
use crate::train::TrainerOptions;
use crate::train::fit::Fit;
use crate::train::objective::{ChosenObjective, Pairs, TextBatch, TextObjective};
use crate::train::ranks::{DataParallel, Learns, Team, TrainerPlan};

/// What the names of the last layer of a head begin with, in all families.
const LAST_LAYER: &str = "classifier.";

impl Setup<'_> {
    /// What the recipe computes at once and twice.
    pub(super) fn fit(&self) -> Fit {
        let Recipe { micro_batch, recompute, .. } = self.options.recipe;
        Fit { micro_batch: micro_batch as u64, recompute: recompute.min(self.config.num_hidden_layers) }
    }

    /// What the trainer of a seed is made from.
    fn plan(&self, seed: u64, fit: Fit) -> TrainerPlan {
        let FinetuneOptions { recipe, task, storage, kernels, .. } = self.options;
        let objective = match task.kind() {
            Kind::Classes => ChosenObjective::Classes(self.weights.clone()),
            Kind::Labels => ChosenObjective::LabelSets,
            Kind::Words => ChosenObjective::TokenClasses(self.weights.clone()),
            Kind::Number => ChosenObjective::Numbers,
            Kind::Vector => ChosenObjective::Pairs(Pairs {
                pooling: self.pooling,
                factor: recipe.contrast as f32,
                at_once: fit.micro_batch as usize,
                negatives: self.train.negatives.len(),
            }),
        };
        let options = TrainerOptions {
            storage: *storage,
            dropout: recipe.dropout as f32,
            optimizer: recipe.optimizer.options(),
            seed,
        };
        let learns = Learns::Texts { objective, options, freeze: recipe.freeze, recompute: fit.recompute };
        TrainerPlan { config: self.config.clone(), kernels: kernels.clone(), learns }
    }

    /// A trainer for this rank alone, whose parameters are all zero: what it takes on the device is what the run's takes.
    pub(super) fn untrained(&self, gpu: &Gpu, fit: Fit) -> Result<DataParallel<TextObjective>> {
        self.prepared(DataParallel::texts(gpu, &self.plan(0, fit), 1, &Team::alone(), |_| Ok(()))?, fit)
    }

    /// Records the largest batch now: what does not fit shows before the first step, and all others use its memory in turn.
    fn prepared(
        &self,
        mut trainer: DataParallel<TextObjective>,
        fit: Fit,
    ) -> Result<DataParallel<TextObjective>> {
        trainer.trainer_mut().prepare_for(&self.largest(fit))?;
        Ok(trainer)
    }

    /// A trainer of the model with the weights of the folder, and first values where it has none.
    pub(super) fn trainer(&self, gpu: &Gpu, seed: u64) -> Result<DataParallel<TextObjective>> {
        let FinetuneOptions { model: folder, recipe, team, .. } = self.options;
        let fit = self.fit();
        let trainer = DataParallel::texts(gpu, &self.plan(seed, fit), recipe.blocks, team, |trainer| {
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
        self.prepared(trainer.with_wire(recipe.wire), fit)
    }

    /// The batch of the texts numbered in `chosen`, in parts that are computed at once.
    pub(super) fn micro_batches(&self, chosen: &[usize]) -> Vec<TextBatch> {
        let part = self.part(self.fit());
        chosen.chunks(part).map(|part| self.batch(part)).collect()
    }

    /// Texts of what is one batch to the trainer. The pairs of a step are told apart from each other: their objective
    /// divides them.
    pub(super) fn part(&self, fit: Fit) -> usize {
        let FinetuneOptions { task, recipe, .. } = self.options;
        let part = if *task == Task::Contrastive { recipe.batch } else { fit.micro_batch as usize };
        part.clamp(1, recipe.batch.max(1))
    }

    /// The largest batch that a trainer may get: the longest texts.
    pub(super) fn largest(&self, fit: Fit) -> TextBatch {
        let lengths = self.train.lengths();
        let mut longest: Vec<usize> = (0..lengths.len()).collect();
        longest.sort_by_key(|&text| std::cmp::Reverse(lengths[text]));
        longest.truncate(self.part(fit));
        self.batch(&longest)
    }

    fn batch(&self, chosen: &[usize]) -> TextBatch {
        let FinetuneOptions { task, recipe, .. } = self.options;
        self.train.batch(*task, chosen, recipe.max_length)
    }
}
