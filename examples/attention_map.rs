//! Where a model looks: reads its attention on a text, says what each head likes best, and draws a picture.
//!
//!     cargo run --release --example attention_map -- MODEL_FOLDER "The dog that we saw barks." picture.png
#![allow(clippy::print_stdout)]

use anyhow::Context;
use wgrad::files::ModelFolder;
use wgrad::gpu::{Gpu, GpuOptions};
use wgrad::infer::attention::AttentionReader;
use wgrad::viz::attention::{Attention, Options, Token};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: attention_map MODEL_FOLDER TEXT PICTURE.png";
    let (folder, text) = (arguments.next().context(usage)?, arguments.next().context(usage)?);
    let picture = arguments.next().context(usage)?;

    // The tensor: probabilities [L, H, T, T] on the CPU.
    let read = pollster::block_on(async {
        let gpu = Gpu::open(&GpuOptions::default()).await?;
        AttentionReader::open(&gpu, &ModelFolder::load(&folder)?)?.read(&text, None).await
    })?;
    let maps = &read.probabilities;
    for (index, map) in maps.values.chunks(maps.tokens * maps.tokens).enumerate() {
        // How much goes to the token before, as a mean over all tokens that have one.
        let before: f32 = (1..maps.tokens).map(|i| map[i * maps.tokens + i - 1]).sum();
        let before = before / (maps.tokens - 1) as f32;
        println!(
            "layer {:2}, head {:2}: {:5.1}% to the token before",
            index / maps.heads,
            index % maps.heads,
            100.0 * before
        );
    }

    // The picture: it takes plain arrays, from wherever they come.
    let tokens = read.tokens.into_iter().map(|token| Token {
        label: token.label,
        text: token.text,
        space_before: token.space_before,
        special: token.special,
        part: token.part,
    });
    let drawing = Attention {
        model: folder,
        layers: maps.layers,
        heads: maps.heads,
        tokens: tokens.collect(),
        probabilities: maps.values.clone(),
        by_distance: maps.by_distance.clone(),
        truncated: read.truncated,
    };
    std::fs::write(&picture, drawing.picture(&Options::default())?.png(2.0)?)?;
    println!("{picture}: all heads as maps");
    Ok(())
}
