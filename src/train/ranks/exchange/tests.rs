//! Sums over the blocks of ranks, which are threads here.

use std::thread;
use std::time::Duration;

use super::super::link::{Local, locals};
use super::*;

/// Of very unequal sizes, so that every order of a sum has bits of its own.
fn gradient(block: usize, elements: usize) -> Vec<f32> {
    let value = |at: usize| {
        let bits = crate::random::mix((block * 1000 + at) as u64);
        (bits as f32 / u64::MAX as f32 - 0.5) * 10f32.powi((bits % 7) as i32)
    };
    (0..elements).map(value).collect()
}

const WIRES: [WireFormat; 2] = [WireFormat::F32, WireFormat::F16];

/// What values come to that travel.
fn rounded(wire: WireFormat, values: &[f32]) -> Vec<f32> {
    let mut all = Vec::new();
    wire.rounded(values, |_, values| all.extend_from_slice(values));
    all
}

/// The sum of blocks in their order, each of which travels in pieces, as does the sum.
fn add_up<'b>(
    wire: WireFormat,
    pieces: &[Range<usize>],
    blocks: impl Iterator<Item = &'b Vec<f32>>,
) -> Vec<f32> {
    let mut sum: Option<Vec<f32>> = None;
    for block in blocks {
        let sum = sum.get_or_insert_with(|| vec![-0.0; block.len()]);
        for piece in pieces {
            let block = rounded(wire, &block[piece.clone()]);
            sum[piece.clone()].iter_mut().zip(block).for_each(|(sum, block)| *sum += block);
        }
    }
    let mut sum = sum.unwrap();
    for piece in pieces {
        let values = rounded(wire, &sum[piece.clone()]);
        sum[piece.clone()].copy_from_slice(&values);
    }
    sum
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Pieces in an order that is not theirs, the last shorter.
fn pieces(elements: usize, most: usize) -> Vec<Range<usize>> {
    let mut pieces: Vec<_> = (0..elements).step_by(most).map(|at| at..elements.min(at + most)).collect();
    pieces.sort_by_key(|piece| crate::random::mix(piece.start as u64));
    pieces
}

#[test]
fn the_sum_does_not_depend_on_who_has_which_block() {
    for (elements, most) in [(1, 1), (2, 1), (3, 2), (1000, 1000), (1000, 90), (3000, 1024)] {
        let blocks: Vec<_> = (0..5).map(|block| gradient(block, elements)).collect();
        let pieces = pieces(elements, most);
        for wire in WIRES {
            let expected = add_up(wire, &pieces, blocks.iter());
            assert!(elements < 1000 || expected != add_up(wire, &pieces, blocks.iter().rev()));
            for counts in [vec![5], vec![2, 3], vec![2, 2, 1], vec![1, 0, 4, 0], vec![0, 5], vec![3, 2]] {
                let links = locals(counts.len(), Duration::from_secs(30));
                let mut rest = blocks.clone();
                let own: Vec<Vec<Vec<f32>>> =
                    counts.iter().map(|&count| rest.drain(..count).collect()).collect();
                thread::scope(|scope| {
                    for (mut link, own) in links.into_iter().zip(own) {
                        let (counts, expected, pieces) = (&counts, &expected, &pieces);
                        scope.spawn(move || {
                            let mut times = StepTimes::default();
                            let link: (&mut dyn Link, _) = (&mut link, wire);
                            let mut exchange = Exchange::new(link, elements, pieces, counts, &mut times);
                            for block in &own {
                                pieces.iter().for_each(|piece| exchange.put(&block[piece.clone()]));
                            }
                            let found = exchange.end(true).unwrap().unwrap();
                            assert_eq!(bits(&found), bits(expected), "{wire} {counts:?} {pieces:?}");
                        });
                    }
                });
            }
        }
    }
}

/// An infinity of one block is one of the sum on all ranks, whoever has the block, and so is a NaN.
#[test]
fn what_is_not_finite_is_seen_by_all() {
    let (elements, counts) = (700, [1, 2, 1]);
    let all = 0..elements;
    for (block, wrong) in [(0, f32::INFINITY), (2, f32::NAN), (3, f32::NEG_INFINITY)] {
        for wire in WIRES {
            let mut blocks: Vec<_> = (0..4).map(|block| gradient(block, elements)).collect();
            blocks[block][300] = wrong;
            let links = locals(3, Duration::from_secs(30));
            thread::scope(|scope| {
                for (mut link, own) in links.into_iter().zip([&blocks[..1], &blocks[1..3], &blocks[3..]]) {
                    let all = std::slice::from_ref(&all);
                    scope.spawn(move || {
                        let mut times = StepTimes::default();
                        let mut exchange =
                            Exchange::new((&mut link, wire), elements, all, &counts, &mut times);
                        own.iter().for_each(|block| exchange.put(block));
                        let found = exchange.end(true).unwrap().unwrap();
                        assert_eq!(found[300].is_nan(), wrong.is_nan(), "{wire} {found:?}");
                        assert!(!found[300].is_finite() && found[600].is_finite(), "{wire} {found:?}");
                    });
                }
            });
        }
    }
}

/// Wherever a rank stops, all learn of it, none waits, and the next sum is that of all.
#[test]
fn a_rank_that_fails_leaves_nothing_behind() {
    let (elements, counts) = (100, [1, 2, 1]);
    let pieces = pieces(elements, 17);
    let blocks: Vec<_> = (0..4).map(|block| gradient(block, elements)).collect();
    let expected = WIRES.map(|wire| bits(&add_up(wire, &pieces, blocks.iter())));
    let first = [0, 1, 3];
    for fails in 0..3 {
        for after in 0..=counts[fails] * pieces.len() {
            for (wire, expected) in WIRES.into_iter().zip(&expected) {
                let links = locals(3, Duration::from_secs(30));
                thread::scope(|scope| {
                    for (rank, mut link) in links.into_iter().enumerate() {
                        let (pieces, blocks) = (&pieces, &blocks);
                        scope.spawn(move || {
                            let mut exchange = |left: usize, computed: bool| {
                                let own = &blocks[first[rank]..first[rank] + counts[rank]];
                                let mut times = StepTimes::default();
                                let link: (&mut dyn Link, _) = (&mut link, wire);
                                let mut exchange = Exchange::new(link, elements, pieces, &counts, &mut times);
                                let all = own
                                    .iter()
                                    .flat_map(|block| pieces.iter().map(move |at| &block[at.clone()]));
                                all.take(left).for_each(|piece| exchange.put(piece));
                                exchange.end(computed).unwrap()
                            };
                            let found =
                                if rank == fails { exchange(after, false) } else { exchange(99, true) };
                            assert!(found.is_none());
                            assert_eq!(bits(&exchange(99, true).unwrap()), *expected);
                        });
                    }
                });
            }
        }
    }
}

/// What goes wrong where two ranks have four elements each.
fn sum_of_four(link: &mut Local) -> String {
    let mut times = StepTimes::default();
    let sum = sum_in_order((link, WireFormat::F32), 4, &[1, 1], vec![vec![1.0; 4]], &mut times);
    sum.unwrap_err().to_string()
}

#[test]
fn who_has_ended_or_is_silent_is_told() {
    let told = |patience: Duration, other: fn(Local)| {
        let mut links = locals(2, patience);
        let (last, mut first) = (links.pop().unwrap(), links.pop().unwrap());
        other(last);
        sum_of_four(&mut first)
    };
    assert_eq!(told(Duration::from_secs(60), drop), "rank 1: it has ended");
    let silent = told(Duration::from_millis(300), std::mem::forget);
    assert!(silent.starts_with("rank 1: nothing was heard of it"), "{silent}");
    let sends = |message: Vec<u8>| {
        let mut links = locals(2, Duration::from_secs(60));
        let (mut last, mut first) = (links.pop().unwrap(), links.pop().unwrap());
        last.send(0, message).unwrap();
        last.send(0, Part::Done.message(WireFormat::F32, &[])).unwrap();
        sum_of_four(&mut first)
    };
    let wrong = sends(Part::Gradients.message(WireFormat::F32, &[0.0]));
    assert!(wrong.contains("4 bytes of gradients instead of 8"), "{wrong}");
    let less = sends(Part::Sums.message(WireFormat::F32, &[0.0; 2]));
    assert!(less.contains("less of its gradients than it has"), "{less}");
    let few = sends(Part::Gradients.message(WireFormat::F32, &[0.0; 2]));
    assert!(few.contains("too few sums"), "{few}");
    assert!(sends(vec![9]).contains("what is no gradient") && sends(vec![]).contains("what is no gradient"));
}
