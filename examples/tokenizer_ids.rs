//! Token ids of texts, for other programs to compare with.
//!
//! `tokenizer_ids TOKENIZER_DIR < texts.json` reads a JSON list of texts and writes a JSON list of pairs: the ids
//! without and with the special tokens around them.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use wgrad::text::Tokenizer;

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err("usage: tokenizer_ids TOKENIZER_DIR < texts.json".into());
    };
    let tokenizer = Tokenizer::load(folder)?;
    let texts: Vec<String> = serde_json::from_reader(std::io::stdin().lock())?;
    let ids = |text: &String| Ok([tokenizer.encode(text)?, tokenizer.encode_with_specials(text)?]);
    let all = texts.iter().map(ids).collect::<Result<Vec<_>, AnyError>>()?;
    println!("{}", serde_json::to_string(&all)?);
    Ok(())
}
