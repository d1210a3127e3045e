//! Finetunes a model to tell good reviews from bad ones, all through the library, then asks it about three more.
//!
//!     cargo run --release --example sentiment -- MODEL TRAIN.csv EVAL.csv OUT
//!
//! MODEL is the folder of a BERT (`scripts/fetch-minilm` prints one); the tables have columns `text` and `label`.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use wgrad::data::FileOptions;
use wgrad::data::task::{Table, Task};
use wgrad::files::ModelFolder;
use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::infer::Classifier;
use wgrad::tensor::DType;
use wgrad::train::Event;
use wgrad::train::finetune::{FinetuneOptions, Recipe, RecipeName, columns, finetune};
use wgrad::{Error, Result};

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model, train, eval, out] = paths.as_slice() else {
        return Err(Error::config("arguments", "MODEL TRAIN.csv EVAL.csv OUT", paths.len()));
    };
    pollster::block_on(run(model, train, eval, out))
}

async fn run(model: &Path, train: &Path, eval: &Path, out: &Path) -> Result<()> {
    let columns = columns(Task::Classify, "text", None, Some("label"));
    let (model, train) = (ModelFolder::load(model)?, Table::read(train, &columns, &FileOptions::default())?);
    let options = FinetuneOptions {
        evals: vec![("held out".to_owned(), Table::read(eval, &columns, &FileOptions::default())?)],
        recipe: Recipe { epochs: 2, max_length: 64, ..Recipe::new(RecipeName::Cramming, Task::Classify) },
        ..FinetuneOptions::new(Task::Classify, model, train, out)
    };
    let mut show = |event: Event<'_>| match event {
        Event::Step(row) => println!("epoch {}, step {}: loss {:.3}", row.epoch, row.step, row.loss),
        Event::Epoch { measured, .. } => println!("{:?}", measured[0].1.scores),
        _ => {}
    };
    let open = async || Gpu::open(&GpuOptions::default()).await;
    finetune(&options, open, &mut show, &AtomicBool::new(false)).await?;

    let gpu = open().await?;
    let mut classifier = Classifier::open(&gpu, &ModelFolder::load(out)?, DType::F32)?;
    let texts = ["a lovely, funny film", "two hours I will never get back", "it is a film"];
    let texts = texts.map(|text| (text.to_owned(), None));
    for ((text, _), answer) in texts.iter().zip(classifier.predict(&texts, &mut |_| ()).await?) {
        println!("{:>8} {:3.0}%  {text}", answer.label.unwrap_or_default(), 100.0 * answer.score);
    }
    Ok(())
}
