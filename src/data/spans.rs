//! Spans of whole words to mask; see [`Objective::Span`](super::masking::Objective::Span).

use super::rng::{self, Purpose};
use crate::random;
use crate::text::TokenTable;

/// The chance that a span ends after a word, and its greatest length in words.
const GEOMETRIC: f64 = 0.2;
const LONGEST: usize = 10;

/// At least `count` of the `maskable` positions, in whole words, ascending; none if `count` is 0.
pub(super) fn select(
    tokens: &[u32],
    maskable: &[usize],
    count: usize,
    key: u64,
    table: &TokenTable,
) -> Vec<usize> {
    let words = words(tokens, maskable, table);
    let mut masked = vec![false; words.len()];
    // The words left, in order.
    let mut left: Vec<usize> = (0..words.len()).collect();
    let (mut covered, mut lengths, mut spans) = (0, 0, 0);
    while covered < count && !left.is_empty() {
        let longest = LONGEST.min(left.len());
        let length = loop {
            let length = geometric(random::unit(rng::draw(key, Purpose::SpanLength, lengths)));
            lengths += 1;
            if length <= longest {
                break length;
            }
        };
        let anchor = random::below(rng::draw(key, Purpose::SpanStart, spans), left.len() as u32);
        spans += 1;
        let first = left[anchor as usize];
        for word in first..(first + length).min(words.len()) {
            if covered >= count {
                break;
            }
            if !masked[word] {
                masked[word] = true;
                covered += words[word].len();
            }
        }
        left.retain(|&word| !masked[word]);
    }
    let chosen = words.iter().zip(&masked).filter(|(_, masked)| **masked);
    chosen.flat_map(|(word, _)| word.iter().copied()).collect()
}

/// How many trials until the first success: 1 with the chance 0.2, 2 with 0.8·0.2, …
fn geometric(unit: f64) -> usize {
    // ln(1 - u) / ln(1 - p); 1 - u is never 0.
    ((1.0 - unit).ln() / (1.0 - GEOMETRIC).ln()).floor() as usize + 1
}

/// The maskable positions grouped into words; a special between two tokens parts them.
fn words<'a>(tokens: &[u32], maskable: &'a [usize], table: &TokenTable) -> Vec<&'a [usize]> {
    maskable
        .chunk_by(|&before, &position| {
            before + 1 == position && !table.is_word_start(Some(tokens[before]), tokens[position])
        })
        .collect()
}
