//! The command line: one file per command.

mod attention;
mod bench;
mod data;
mod device;
mod divided;
mod doctor;
mod embed;
mod embedder;
mod evaluate;
mod files;
mod fill_mask;
mod finetune;
mod fit;
mod folders;
mod hub;
mod info;
mod interrupt;
mod kept;
mod labelled;
mod launcher;
mod merge;
mod models;
mod plan;
mod pooling;
mod precision;
mod predict;
mod pretrain;
mod print;
mod quickstart;
mod ranks;
mod rerank;
mod shard;
mod similarity;
mod texts;
mod tokenizer;
mod training;
mod trim;
mod tuned;
mod units;
mod watch;

use std::sync::atomic::Ordering;

use clap::{Parser, Subcommand};

/// Trains and runs BERT on any GPU.
#[derive(Parser)]
#[command(name = "wgrad", version, about, max_term_width = 100)]
pub struct Cli {
    /// Take files that this program wrote as they are, though they differ from the checksums beside them.
    #[arg(long, global = true, hide_short_help = true)]
    no_verify: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Learn a vocabulary from text.
    Tokenizer(tokenizer::Args),
    /// Turn text into the shards that training reads.
    Data(data::Args),
    /// Pretrain a model to guess masked tokens.
    Pretrain(Box<pretrain::Args>),
    /// Say what several machines would gain that pretrain one model together.
    Plan(Box<plan::Args>),
    /// See it all work: pretrain a small model on generated text, in minutes.
    Quickstart(quickstart::Args),
    /// Guess the words that [MASK] stands for.
    FillMask(fill_mask::Args),
    /// Turn texts into vectors.
    Embed(Box<embed::Args>),
    /// Say how alike texts are.
    Similarity(similarity::Args),
    /// Sort texts by how well they answer a query.
    Rerank(rerank::Args),
    /// Leave out of a model what a text does not need.
    Trim(trim::Args),
    /// Say what a model, or any other file or folder, is.
    Info(info::Args),
    /// Teach a pretrained model a task: classes, numbers, or embeddings.
    Finetune(Box<finetune::Args>),
    /// Measure a finetuned model on labelled texts.
    Evaluate(Box<evaluate::Args>),
    /// Let a finetuned model label texts.
    Predict(predict::Args),
    /// Put together what several processes computed with --shard.
    Merge(merge::Args),
    /// Draw where a model looks: its attention as pictures.
    Attention(attention::Args),
    /// Check the GPU: what it offers, whether every kernel computes right, how fast it is.
    Doctor(doctor::Args),
    /// Measure how fast the GPU is at what training is made of.
    Bench(bench::Args),
}

/// Tells the error that ends the program, and says with which exit code.
pub fn error(error: &anyhow::Error) -> u8 {
    print::error(error)
}

/// Runs the chosen command.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    models::VERIFY.store(!cli.no_verify, Ordering::Relaxed);
    match cli.command {
        Command::Tokenizer(args) => tokenizer::run(args),
        Command::Data(args) => data::run(args),
        Command::Pretrain(args) => pretrain::run(*args),
        Command::Plan(args) => plan::run(&args),
        Command::Quickstart(args) => quickstart::run(&args),
        Command::FillMask(args) => fill_mask::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Similarity(args) => similarity::run(&args),
        Command::Rerank(args) => rerank::run(&args),
        Command::Trim(args) => trim::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Finetune(args) => finetune::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Attention(args) => attention::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}
