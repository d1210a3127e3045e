//! The shuffle and the masks: exact, reproducible, spread as they should be.

use proptest::prelude::*;
use wgrad::data::{Masked, MaskingOptions, Objective, Order, masking::mask, rng};
use wgrad::random::mix;
use wgrad::text::{SpecialIds, TokenTable};

const SPECIALS: SpecialIds = SpecialIds { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 };
const VOCAB: usize = 100;

/// Ids of 50 and above continue a word.
fn table() -> TokenTable {
    TokenTable::from_starts(VOCAB, SPECIALS, |id| id < 50)
}

fn sequence(body: &[u32]) -> Vec<u32> {
    [&[SPECIALS.cls], body, &[SPECIALS.sep]].concat()
}

fn check(tokens: &[u32], masked: &Masked) {
    assert_eq!(masked.input_ids.len(), tokens.len());
    assert_eq!(masked.positions.len(), masked.labels.len());
    assert!(masked.positions.is_sorted_by(|left, right| left < right));
    for (index, (&token, &shown)) in tokens.iter().zip(&masked.input_ids).enumerate() {
        match masked.positions.binary_search(&(index as u32)) {
            Ok(place) => {
                assert_eq!(masked.labels[place], token);
                assert!(!SPECIALS.contains(token), "a special is never masked");
                assert!(shown == SPECIALS.mask || !SPECIALS.contains(shown));
                assert!((shown as usize) < VOCAB);
            }
            Err(_) => assert_eq!(token, shown),
        }
    }
}

proptest! {
    #[test]
    fn order_is_a_permutation(n in 0_u64..3000, seed: u64, epoch: u64) {
        let order = Order::new(n, seed, epoch);
        let mut seen: Vec<_> = (0..n).map(|index| order.at(index)).collect();
        seen.sort_unstable();
        prop_assert!(seen.into_iter().eq(0..n));
    }

    #[test]
    fn order_stays_in_range_at_any_size(n in 1_u64..1 << 62, seed: u64, index: u64) {
        prop_assert!(Order::new(n, seed, 0).at(index) < n);
    }

    #[test]
    fn token_masks_are_exact(
        body in proptest::collection::vec(0_u32..VOCAB as u32, 0..130),
        seed: u64, epoch in 0_u64..100, index: u64, rate in 0.0..=1.0_f64,
    ) {
        let tokens = sequence(&body);
        let options = MaskingOptions { rate, ..Default::default() };
        let masked = mask(&tokens, seed, epoch, index, &options, &table());
        check(&tokens, &masked);
        let n = tokens.iter().filter(|&&token| !SPECIALS.contains(token)).count();
        let exact = rate * n as f64;
        prop_assert!((exact - 1e-6..exact + 1.0).contains(&(masked.positions.len() as f64)));
        prop_assert_eq!(&masked, &mask(&tokens, seed, epoch, index, &options, &table()));
    }

    #[test]
    fn span_masks_are_whole_words(
        body in proptest::collection::vec(0_u32..VOCAB as u32, 0..130),
        seed: u64, index: u64,
    ) {
        let tokens = sequence(&body);
        let options = MaskingOptions { objective: Objective::Span, ..Default::default() };
        let masked = mask(&tokens, seed, 0, index, &options, &table());
        check(&tokens, &masked);
        let chosen = |position: usize| masked.positions.contains(&(position as u32));
        for position in 1..tokens.len() {
            let inside = tokens[position] >= 50 && !SPECIALS.contains(tokens[position - 1]);
            if inside {
                prop_assert_eq!(chosen(position - 1), chosen(position), "a word is masked whole");
            }
        }
        // Enough is covered, and it would not be without the last word.
        let n = tokens.iter().filter(|&&token| !SPECIALS.contains(token)).count();
        let (needed, covered) = (options.masked(n), masked.positions.len());
        prop_assert!(covered >= needed);
        let longest = tokens.chunk_by(|_, &token| token >= 50).map(<[u32]>::len).max().unwrap_or(0);
        prop_assert!(covered < needed + longest.max(1));
    }
}

#[test]
fn counts_are_those_of_exact_arithmetic() {
    let options = MaskingOptions::default();
    for n in 0..10_000 {
        assert_eq!(options.masked(n), (15 * n).div_ceil(100), "{n}");
    }
}

#[test]
fn orders_differ_and_are_shuffled() {
    let n = 10_000;
    let (first, second) = (Order::new(n, 1, 0), Order::new(n, 1, 1));
    let equal = (0..n).filter(|&index| first.at(index) == second.at(index)).count();
    assert!(equal < 10, "{equal}");
    let neighbours = (1..n).filter(|&index| first.at(index - 1).abs_diff(first.at(index)) == 1).count();
    assert!(neighbours < 15, "{neighbours}");
    let front: u64 = (0..n / 2).map(|index| first.at(index)).sum();
    let mean = front as f64 / (n / 2) as f64;
    assert!((mean - n as f64 / 2.0).abs() < 150.0, "{mean}");
    assert_eq!(Order::new(0, 1, 1).at(5), 0);
    assert_eq!(Order::new(1, 1, 1).at(5), 0);
}

/// Of the masked tokens 80% become [MASK], 10% another; each id is as likely, each position too.
#[test]
fn shares_are_as_asked() {
    let tokens = sequence(&[7; 100]);
    let table = table();
    let (mut masks, mut kept, mut total) = (0, 0, 0);
    let mut random = [0_u32; VOCAB];
    let mut places = [0_u32; 102];
    for index in 0..20_000 {
        let masked = mask(&tokens, 3, 1, index, &MaskingOptions::default(), &table);
        assert_eq!(masked.positions.len(), 15);
        for &position in &masked.positions {
            total += 1;
            places[position as usize] += 1;
            match masked.input_ids[position as usize] {
                4 => masks += 1,
                7 => kept += 1,
                other => random[other as usize] += 1,
            }
        }
    }
    let share = |count: u32| f64::from(count) / f64::from(total);
    assert!((share(masks) - 0.8).abs() < 0.003, "{}", share(masks));
    // A random token is the same token once in 95.
    assert!((share(kept) - (0.1 + 0.1 / 95.0)).abs() < 0.003, "{}", share(kept));
    assert!(random[..5].iter().all(|&count| count == 0));
    let expected = f64::from(total) * 0.1 / 95.0;
    for (id, &count) in random.iter().enumerate().skip(5).filter(|(id, _)| *id != 7) {
        assert!((f64::from(count) - expected).abs() < 6.0 * expected.sqrt(), "{id}: {count} of {expected}");
    }
    assert_eq!((places[0], places[101]), (0, 0));
    assert!(places[1..101].iter().all(|&count| (2700..3300).contains(&count)), "{places:?}");
}

#[test]
fn runs_of_spans_are_replaced_as_one() {
    let body: Vec<u32> = (0..120).map(|index| 5 + index % 40).collect();
    let tokens = sequence(&body);
    let options = MaskingOptions { objective: Objective::Span, ..Default::default() };
    let (mut runs, mut masked_runs, mut words) = (0.0, 0.0, 0.0);
    for index in 0..2000 {
        let masked = mask(&tokens, 9, 0, index, &options, &table());
        for run in masked.positions.chunk_by(|left, right| left + 1 == *right) {
            let shown: Vec<_> = run.iter().map(|&position| masked.input_ids[position as usize]).collect();
            let masks = shown.iter().filter(|&&id| id == SPECIALS.mask).count();
            assert!(masks == 0 || masks == shown.len(), "{shown:?}");
            runs += 1.0;
            masked_runs += f64::from(u8::from(masks > 0));
            words += run.len() as f64;
        }
    }
    assert!((masked_runs / runs - 0.8_f64).abs() < 0.02, "{}", masked_runs / runs);
    // The mean of a geometric (0.2) length cut at 10 is 3.8 words; the budget cuts some runs short.
    assert!((2.5..6.0).contains(&(words / runs)), "{}", words / runs);
}

/// The figures that a script in another language must arrive at.
#[test]
fn the_documented_formulas_hold() {
    let key = rng::key(42, 1, 7);
    assert_eq!(key, mix(mix(mix(42) ^ 1) ^ 7));
    let tokens = sequence(&(10..40).collect::<Vec<_>>());
    let masked = mask(&tokens, 42, 1, 7, &MaskingOptions::default(), &table());
    let draw = |purpose: u64, position: u64| mix(key ^ (purpose << 56) ^ position);
    let mut ranked: Vec<u64> = (1..31).collect();
    ranked.sort_by_key(|&position| draw(1, position));
    let mut chosen = ranked[..5].to_vec();
    chosen.sort_unstable();
    assert!(masked.positions.iter().map(|&position| u64::from(position)).eq(chosen.iter().copied()));
    for position in chosen {
        let unit = (draw(2, position) >> 11) as f64 / 2_f64.powi(53);
        let expected = match unit {
            unit if unit < 0.8 => 4,
            unit if unit < 0.8 + 0.1 => 5 + (((draw(3, position) >> 32) * 95) >> 32) as u32,
            _ => tokens[position as usize],
        };
        assert_eq!(masked.input_ids[position as usize], expected);
    }
}

#[test]
fn bad_shares_are_refused() {
    assert!(MaskingOptions::default().check().is_ok());
    for (rate, share, random) in [(1.1, 0.8, 0.1), (-0.1, 0.8, 0.1), (f64::NAN, 0.8, 0.1), (0.1, 0.8, 0.3)] {
        let options = MaskingOptions { rate, mask: share, random, objective: Objective::Token };
        assert!(options.check().is_err(), "{options:?}");
    }
}

/// `tests/golden/data_reference.py` is another writing of the same formulas.
#[test]
fn numpy_arrives_at_the_same_shuffle_and_masks() {
    #[derive(serde::Deserialize)]
    struct Golden {
        vocab_size: usize,
        masks: Vec<Case>,
        orders: Vec<Shuffle>,
    }
    #[derive(serde::Deserialize)]
    struct Case {
        seed: u64,
        epoch: u64,
        sequence: u64,
        tokens: Vec<u32>,
        input_ids: Vec<u32>,
        positions: Vec<u32>,
        labels: Vec<u32>,
    }
    #[derive(serde::Deserialize)]
    struct Shuffle {
        n: u64,
        seed: u64,
        epoch: u64,
        at: Vec<u64>,
    }
    let golden: Golden = serde_json::from_str(include_str!("../golden/masks.json")).unwrap();
    let table = TokenTable::from_starts(golden.vocab_size, SPECIALS, |_| true);
    for Case { seed, epoch, sequence, tokens, input_ids, positions, labels } in golden.masks {
        let masked = mask(&tokens, seed, epoch, sequence, &MaskingOptions::default(), &table);
        assert_eq!(masked, Masked { input_ids, positions, labels });
    }
    for Shuffle { n, seed, epoch, at } in golden.orders {
        let order = Order::new(n, seed, epoch);
        assert_eq!((0..at.len() as u64).map(|index| order.at(index)).collect::<Vec<_>>(), at, "{n}");
    }
}
