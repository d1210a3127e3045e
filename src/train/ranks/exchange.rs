//! Sums over the blocks of all ranks, each element added in the order of the blocks.

use super::blocks::slice;
use super::link::Link;
use super::wire::{float_bytes, floats};
use crate::{Error, Result};

/// What the gradients of the blocks of all ranks add up to. Each rank adds one slice of the elements for all, so that none sends
/// or receives much more than twice what it holds, however many there are.
///
/// `own` are the gradients of this rank's blocks, in their order; of rank 0, whose blocks are the first, perhaps their
/// sum alone. `counts` says how many each rank has.
///
/// # Errors
/// Those of the link; [`Error::Rank`] where a rank sends another number of elements.
pub(super) fn sum_in_order(
    link: &mut dyn Link,
    elements: usize,
    counts: &[usize],
    own: Vec<Vec<f32>>,
) -> Result<Vec<f32>> {
    let (rank, ranks) = (link.rank(), link.size());
    let part = |number: usize| slice(elements, number, ranks);
    for block in &own {
        for to in (0..ranks).filter(|&to| to != rank) {
            link.send(to, float_bytes(&block[part(to)]).to_vec())?;
        }
    }
    let mine = part(rank);
    let mut sum: Option<Vec<f32>> = None;
    for (from, &count) in counts.iter().enumerate() {
        if from == rank {
            own.iter().for_each(|block| add(&mut sum, block[mine.clone()].iter().copied()));
            continue;
        }
        for _ in 0..count {
            let bytes = received(link, from, mine.len())?;
            add(&mut sum, floats(&bytes));
        }
    }
    drop(own);
    // Where nobody has a block, nothing was learned.
    let sum = sum.unwrap_or_else(|| vec![0.0; mine.len()]);
    for to in (0..ranks).filter(|&to| to != rank) {
        link.send(to, float_bytes(&sum).to_vec())?;
    }
    let mut whole = Vec::with_capacity(elements);
    for from in 0..ranks {
        if from == rank {
            whole.extend_from_slice(&sum);
        } else {
            whole.extend(floats(&received(link, from, part(from).len())?));
        }
    }
    Ok(whole)
}

/// The sum of gradients in their order; none of none.
pub(super) fn add_up(mut blocks: impl Iterator<Item = Vec<f32>>) -> Option<Vec<f32>> {
    let mut sum = blocks.next();
    blocks.for_each(|block| add(&mut sum, block.into_iter()));
    sum
}

/// `sum + addend`, or the addend where there is no sum yet.
fn add(sum: &mut Option<Vec<f32>>, addend: impl Iterator<Item = f32>) {
    match sum {
        None => *sum = Some(addend.collect()),
        Some(sum) => sum.iter_mut().zip(addend).for_each(|(sum, addend)| *sum += addend),
    }
}

fn received(link: &mut dyn Link, from: usize, elements: usize) -> Result<Vec<u8>> {
    let bytes = link.receive(from)?;
    if bytes.len() == 4 * elements {
        return Ok(bytes);
    }
    let message =
        format!("it sent {} bytes of gradients instead of {}: this is a defect", bytes.len(), 4 * elements);
    Err(Error::Rank { rank: from, message })
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::super::link::locals;
    use super::*;

    /// Of very unequal sizes, so that every order of a sum has bits of its own.
    fn gradient(block: usize, elements: usize) -> Vec<f32> {
        let value = |at: usize| {
            let bits = crate::random::mix((block * 1000 + at) as u64);
            (bits as f32 / u64::MAX as f32 - 0.5) * 10f32.powi((bits % 7) as i32)
        };
        (0..elements).map(value).collect()
    }

    #[test]
    fn the_sum_does_not_depend_on_who_has_which_block() {
        for elements in [1, 2, 3, 1000] {
            let blocks: Vec<_> = (0..5).map(|block| gradient(block, elements)).collect();
            let expected = add_up(blocks.clone().into_iter()).unwrap();
            let backwards = add_up(blocks.clone().into_iter().rev()).unwrap();
            assert!(elements < 1000 || expected != backwards);
            for counts in [vec![5], vec![2, 3], vec![2, 2, 1], vec![1, 0, 4, 0], vec![0, 5]] {
                let links = locals(counts.len(), Duration::from_secs(30));
                let mut rest = blocks.clone();
                let mut own: Vec<Vec<Vec<f32>>> =
                    counts.iter().map(|&count| rest.drain(..count).collect()).collect();
                let mut counts = counts.clone();
                // The first rank may have added up its own.
                own[0] = add_up(std::mem::take(&mut own[0]).into_iter()).into_iter().collect();
                counts[0] = own[0].len();
                thread::scope(|scope| {
                    for (mut link, own) in links.into_iter().zip(own) {
                        let (counts, expected) = (&counts, &expected);
                        scope.spawn(move || {
                            let found = sum_in_order(&mut link, elements, counts, own).unwrap();
                            assert!(
                                found.iter().map(|x| x.to_bits()).eq(expected.iter().map(|x| x.to_bits()))
                            );
                        });
                    }
                });
            }
        }
    }

    #[test]
    fn who_has_ended_or_is_silent_is_told() {
        let told = |patience: Duration, other: fn(super::super::Local)| {
            let mut links = locals(2, patience);
            let (last, mut first) = (links.pop().unwrap(), links.pop().unwrap());
            other(last);
            sum_in_order(&mut first, 4, &[1, 1], vec![vec![1.0; 4]]).unwrap_err().to_string()
        };
        assert_eq!(told(Duration::from_secs(60), drop), "rank 1: it has ended");
        let silent = told(Duration::from_millis(300), std::mem::forget);
        assert!(silent.starts_with("rank 1: nothing was heard of it"), "{silent}");
        let wrong = told(Duration::from_secs(60), |mut link| {
            link.send(0, vec![0; 4]).unwrap();
            std::mem::forget(link);
        });
        assert!(wrong.contains("4 bytes of gradients instead of 8"), "{wrong}");
    }
}
