//! Embeds a handful of sentences and finds those closest to a question.
//!
//!     scripts/fetch-minilm
//!     cargo run --release --example search -- data/minilm

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use wgrad::files::SentenceFolder;
use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::infer::{EmbedOptions, Embedder, cosine};
use wgrad::{Error, Result};

const SENTENCES: [&str; 8] = [
    "A cat sleeps on the warm roof of a car.",
    "The central bank raised interest rates again.",
    "Boil the pasta until it is just tender.",
    "Shares fell as investors feared inflation.",
    "Our kitten is afraid of the vacuum cleaner.",
    "The striker scored twice in the second half.",
    "Add garlic and basil to the tomato sauce.",
    "The goalkeeper saved a penalty in the last minute.",
];
const QUESTIONS: [&str; 3] = ["pets", "What is happening in the economy?", "a recipe from Italy"];

fn main() -> Result<()> {
    let path = std::env::args().nth(1);
    let path = path.ok_or_else(|| Error::config("model", "the folder of a model as argument", "nothing"))?;
    let folder = SentenceFolder::load(path)?;
    pollster::block_on(async {
        let gpu = Gpu::open(&GpuOptions::default()).await?;
        let mut embedder = Embedder::open(&gpu, &folder, EmbedOptions::from(&folder))?;
        let sentences = embedder.embed(&SENTENCES, &mut |_| {}).await?;
        let questions = embedder.embed(&QUESTIONS, &mut |_| {}).await?;
        for (question, vector) in QUESTIONS.iter().zip(questions.rows()) {
            println!("{question}");
            let mut found: Vec<_> = sentences.rows().map(|row| cosine(vector, row)).zip(SENTENCES).collect();
            found.sort_by(|a, b| b.0.total_cmp(&a.0));
            for (similarity, sentence) in &found[..3] {
                println!("  {similarity:.3}  {sentence}");
            }
        }
        Ok(())
    })
}
