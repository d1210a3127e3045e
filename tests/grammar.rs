//! The made-up language: its documents, and the oracle against brute force.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::collections::{HashMap, HashSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wgrad::data::grammar::{Hmm, Language, MaskedExample, Oracle};

const LENGTH: usize = 62;

/// Three slots, two classes, four words; documents may not end in slot 1.
fn toy() -> Hmm {
    Hmm {
        words: 4,
        classes: vec![0.3, 0.7],
        start: vec![0.6, 0.4, 0.0],
        next: vec![vec![(0, 0.2), (1, 0.8)], vec![(2, 0.9), (0, 0.1)], vec![(0, 0.5), (1, 0.3), (2, 0.2)]],
        last: vec![true, false, true],
        emission: vec![vec![0, 1], vec![2, 2], vec![1, 3]],
        distributions: vec![
            vec![(0, 0.5), (1, 0.5)],
            vec![(1, 0.1), (2, 0.9)],
            vec![(3, 0.6), (0, 0.4)],
            vec![(2, 0.25), (3, 0.75)],
        ],
    }
}

/// Every class, path and document of the toy language with its probability before conditioning on the end.
fn documents(hmm: &Hmm, length: usize) -> Vec<(Vec<u32>, f64)> {
    let mut all = Vec::new();
    for (class, &prior) in hmm.classes.iter().enumerate() {
        let mut partial: Vec<(usize, Vec<u32>, f64)> = Vec::new();
        for (slot, &p) in hmm.start.iter().enumerate() {
            for &(word, q) in &hmm.distributions[hmm.emission[slot][class]] {
                partial.push((slot, vec![word], prior * p * q));
            }
        }
        for _ in 1..length {
            let mut longer = Vec::new();
            for (slot, words, mass) in partial {
                for &(to, p) in &hmm.next[slot] {
                    for &(word, q) in &hmm.distributions[hmm.emission[to][class]] {
                        let mut words = words.clone();
                        words.push(word);
                        longer.push((to, words, mass * p * q));
                    }
                }
            }
            partial = longer;
        }
        let ended = partial.into_iter().filter(|(slot, _, mass)| hmm.last[*slot] && *mass > 0.0);
        all.extend(ended.map(|(_, words, mass)| (words, mass)));
    }
    let mut merged: HashMap<Vec<u32>, f64> = HashMap::new();
    all.into_iter().for_each(|(words, mass)| *merged.entry(words).or_default() += mass);
    let total: f64 = merged.values().sum();
    merged.into_iter().map(|(words, mass)| (words, mass / total)).collect()
}

/// Every corruption of a document that selects the positions in `set`, with its probability given the set.
fn corruptions(document: &[u32], set: usize, vocabulary: u32) -> Vec<(Vec<Option<u32>>, f64)> {
    let mut all = vec![(Vec::new(), 1.0)];
    for (t, &word) in document.iter().enumerate() {
        let mut options = vec![(Some(word), 1.0)];
        if set >> t & 1 == 1 {
            options = vec![(None, 0.8), (Some(word), 0.1)];
            options.extend((0..vocabulary).map(|other| (Some(other), 0.1 / f64::from(vocabulary))));
        }
        let mut longer = Vec::new();
        for (input, mass) in &all {
            for (token, p) in &options {
                let mut input: Vec<Option<u32>> = input.clone();
                input.push(*token);
                longer.push((input, mass * p));
            }
        }
        all = longer;
    }
    all
}

/// By what is seen and the selected position: a mass per word.
type Table = HashMap<(Vec<Option<u32>>, usize), Vec<f64>>;

/// The joint mass of (what is seen, the selected position, its true word): seen whole, and seen through a window.
fn brute_force(hmm: &Hmm, length: usize, selected: u32, vocabulary: u32) -> (Table, Table) {
    let (mut whole, mut window) = (HashMap::new(), HashMap::new());
    for (document, mass) in documents(hmm, length) {
        for set in (0..1usize << length).filter(|set| set.count_ones() == selected) {
            for (input, p) in corruptions(&document, set, vocabulary) {
                for i in (0..length).filter(|i| set >> i & 1 == 1) {
                    let near = input[i.saturating_sub(1)..(i + 2).min(length)].to_vec();
                    for (table, seen) in [(&mut whole, input.clone()), (&mut window, near)] {
                        table.entry((seen, i)).or_insert_with(|| vec![0.0; hmm.words])
                            [document[i] as usize] += mass * p;
                    }
                }
            }
        }
    }
    (whole, window)
}

fn assert_close(got: &[f64], mass: &[f64], what: &str) {
    let total: f64 = mass.iter().sum();
    for (got, mass) in got.iter().zip(mass) {
        assert!((got - mass / total).abs() < 1e-12, "{what}: {got} is not {}", mass / total);
    }
}

#[test]
fn the_posterior_of_the_whole_document_equals_brute_force() {
    let hmm = toy();
    for (length, selected, vocabulary) in [(4, 2, 5), (4, 3, 4), (5, 1, 6), (1, 1, 4)] {
        let oracle = Oracle::new(&hmm, length, vocabulary as usize).unwrap();
        let (whole, _) = brute_force(&hmm, length, selected, vocabulary);
        assert!(whole.len() > 4);
        for ((input, i), mass) in &whole {
            // Only the number of the other positions matters, and that they can have been selected.
            let sets = (0..1usize << length).filter(|s| s >> i & 1 == 1 && s.count_ones() == selected);
            let got = sets.filter_map(|set| {
                let others = (0..length).filter(|t| t != i && set >> t & 1 == 1);
                oracle.posteriors(input, &std::iter::once(*i).chain(others).collect::<Vec<_>>()).ok()
            });
            let got: Vec<_> = got.map(|posteriors| posteriors[0].clone()).collect();
            assert!(got.windows(2).all(|pair| pair[0] == pair[1]));
            assert_close(&got[0], mass, &format!("{input:?} at {i}"));
        }
    }
}

#[test]
fn the_posterior_of_the_neighbours_equals_brute_force() {
    let hmm = toy();
    for (length, selected, vocabulary) in [(4, 2, 5), (4, 3, 4), (5, 1, 6), (2, 2, 4), (1, 1, 4)] {
        let oracle = Oracle::new(&hmm, length, vocabulary as usize).unwrap();
        let (whole, window) = brute_force(&hmm, length, selected, vocabulary);
        for (input, i) in whole.keys() {
            let mut positions = vec![*i];
            positions.extend((0..length).filter(|t| t != i).take(selected as usize - 1));
            let seen = input[i.saturating_sub(1)..(i + 2).min(length)].to_vec();
            // Another position may not be possible; this one is.
            let Ok(got) = oracle.neighbour_posteriors(input, &positions) else { continue };
            assert_close(&got[0], &window[&(seen, *i)], &format!("{input:?} at {i}"));
        }
    }
}

#[test]
fn the_unigram_distribution_equals_brute_force() {
    let hmm = toy();
    let mut unigram = [0.0; 4];
    for (document, mass) in documents(&hmm, 5) {
        document.iter().for_each(|&word| unigram[word as usize] += mass / 5.0);
    }
    let got = hmm.unigram(&hmm.endings(5).unwrap());
    assert_close(&got, &unigram, "unigram");
}

/// A corruption as the masked objective makes it, from this test's own random numbers.
fn corrupt(document: &[u32], vocabulary: u32, rng: &mut ChaCha8Rng) -> MaskedExample {
    let selected = (0.15 * document.len() as f64).ceil() as usize;
    let mut order: Vec<usize> = (0..document.len()).collect();
    for i in 0..selected {
        let j = i + rng.next_u64() as usize % (order.len() - i);
        order.swap(i, j);
    }
    let mut positions = order[..selected].to_vec();
    positions.sort_unstable();
    let mut input: Vec<_> = document.iter().map(|&word| Some(word)).collect();
    for &position in &positions {
        match rng.next_u64() % 10 {
            0 => {}
            1 => input[position] = Some(rng.next_u32() % vocabulary),
            _ => input[position] = None,
        }
    }
    let labels = positions.iter().map(|&position| document[position]).collect();
    MaskedExample { input, positions, labels }
}

fn examples(language: &Language, count: u64, vocabulary: u32) -> Vec<MaskedExample> {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    (0..count).map(|index| corrupt(&language.sample(5, index), vocabulary, &mut rng)).collect()
}

#[test]
fn context_pays_and_neighbours_do_not_suffice() {
    let language = Language::new(LENGTH).unwrap();
    let vocabulary = 1024;
    let oracle = Oracle::new(language.hmm(), LENGTH, vocabulary).unwrap();
    let examples = examples(&language, 512, vocabulary as u32);
    let started = std::time::Instant::now();
    let floor = oracle.floor(&examples).unwrap();
    let whole = started.elapsed();
    let neighbours = oracle.neighbours(&examples).unwrap();
    let unigram = oracle.unigram_entropy();
    println!("floor {floor:.4} neighbours {neighbours:.4} unigram {unigram:.4}");
    println!("{whole:?} + {:?} for {} sequences", started.elapsed() - whole, examples.len());
    assert!((4.0..5.5).contains(&unigram));
    assert!((0.5..2.5).contains(&floor));
    // Far from the floor, and half of the way there is not had from one word alone.
    assert!(neighbours > floor + 0.35 * (unigram - floor), "{neighbours}");
    assert!(neighbours < unigram - 1.0);
}

#[test]
fn posteriors_are_probabilities_and_favour_the_truth() {
    let language = Language::new(LENGTH).unwrap();
    let oracle = Oracle::new(language.hmm(), LENGTH, 1000).unwrap();
    let mut right = (0, 0);
    for example in examples(&language, 20, 1000) {
        let posteriors = oracle.posteriors(&example.input, &example.positions).unwrap();
        assert_eq!(posteriors.len(), 10);
        for (posterior, &label) in posteriors.iter().zip(&example.labels) {
            assert!((posterior.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(posterior.iter().all(|p| (0.0..=1.0 + 1e-12).contains(p)));
            let best = (0..posterior.len()).max_by(|&a, &b| posterior[a].total_cmp(&posterior[b])).unwrap();
            right.0 += usize::from(best == label as usize);
            right.1 += 1;
        }
    }
    assert!(right.0 * 3 > right.1, "{right:?}");
}

#[test]
fn the_samples_words_have_the_unigram_entropy() {
    let language = Language::new(LENGTH).unwrap();
    let oracle = Oracle::new(language.hmm(), LENGTH, 1000).unwrap();
    let mut counts = vec![0.0; language.words().len()];
    let documents = 4000;
    for index in 0..documents {
        language.sample(77, index).iter().for_each(|&word| counts[word as usize] += 1.0);
    }
    let total: f64 = counts.iter().sum();
    let entropy: f64 = counts.iter().filter(|c| **c > 0.0).map(|c| -(c / total) * (c / total).ln()).sum();
    assert!((entropy - oracle.unigram_entropy()).abs() < 0.02, "{entropy} {}", oracle.unigram_entropy());
    assert!(counts.iter().all(|&count| count > 0.0), "every word is used");
}

#[test]
fn documents_are_functions_of_seed_and_index() {
    let language = Language::new(LENGTH).unwrap();
    let again = Language::new(LENGTH).unwrap();
    assert_eq!(language.words(), again.words());
    let documents: HashSet<_> = (0..50).map(|index| language.sample(1, index)).collect();
    assert_eq!(documents.len(), 50);
    for index in [49, 3, u64::MAX] {
        assert_eq!(language.sample(1, index), again.sample(1, index));
        assert_ne!(language.sample(1, index), language.sample(2, index));
    }
}

#[test]
fn documents_read_like_english() {
    let language = Language::new(LENGTH).unwrap();
    assert!((150..=400).contains(&language.words().len()), "{}", language.words().len());
    let distinct: HashSet<_> = language.words().iter().collect();
    assert_eq!(distinct.len(), language.words().len());
    for index in 0..200 {
        let document = language.sample(3, index);
        assert_eq!(document.len(), LENGTH);
        let text = language.text(&document);
        if index < 6 {
            println!("{text}");
        }
        assert!(text.ends_with(" ."), "{text}");
        assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b" .".contains(&b)), "{text}");
        let words: Vec<_> = text.split(' ').collect();
        assert_eq!(words.len(), LENGTH);
        for pair in words.windows(2) {
            assert!(pair[0] != "a" || !"aeiou".contains(&pair[1][..1]), "{pair:?}");
            assert!(pair[0] != pair[1], "{pair:?} in {text}");
        }
        // One tense and one owner per document.
        let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
        assert!(!(has(&["is", "are", "am"]) && has(&["was", "were"])), "{text}");
        let owners: HashSet<_> =
            words.iter().filter(|w| ["my", "our", "his", "her", "their"].contains(w)).collect();
        assert!(owners.len() <= 1, "{text}");
    }
}

#[test]
fn what_cannot_be_is_an_error() {
    assert!(Language::new(0).unwrap_err().to_string().starts_with("length: expected"));
    assert!(Language::new(2).is_err());
    let language = Language::new(LENGTH).unwrap();
    assert!(Oracle::new(language.hmm(), LENGTH, 10).unwrap_err().to_string().starts_with("vocabulary"));
    let oracle = Oracle::new(language.hmm(), LENGTH, 1000).unwrap();
    assert!(oracle.floor(&[]).is_err());
    let good = examples(&language, 1, 1000).remove(0);
    assert!(oracle.floor(std::slice::from_ref(&good)).is_ok());
    let spoiled: [fn(&mut MaskedExample); 6] = [
        |e| e.input.truncate(5),
        |e| e.positions[0] = 62,
        |e| e.positions[1] = e.positions[0],
        |e| e.labels.truncate(1),
        |e| e.labels[0] = 100_000,
        |e| e.input.fill(Some(0)),
    ];
    for spoil in spoiled {
        let mut bad = good.clone();
        spoil(&mut bad);
        let error = oracle.floor(&[bad]).unwrap_err().to_string();
        assert!(error.contains("expected"), "{error}");
    }
    let mut hmm = toy();
    hmm.next[0][0].1 = 0.5;
    assert!(Oracle::new(&hmm, 4, 8).unwrap_err().to_string().starts_with("next"));
}
