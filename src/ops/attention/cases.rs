//! Comparisons with the reference.

use super::reference::dropped_reference;
use super::{Form, Heads, Positions, attention_as};
use crate::ops::Case;
use crate::ops::check::{Inputs, Metric};
use crate::ops::dropout::{self, Dropout};
use crate::tensor::DType;

/// Bounds of a batch: full sequences, a padded one, one of two documents, and one of three and padding.
fn example_bounds(heads: Heads) -> Vec<[u32; 2]> {
    let tokens = heads.tokens as u32;
    let mut bounds = Vec::new();
    for sequence in 0..heads.sequences {
        for t in 0..tokens {
            let (first, second, rest) = (tokens / 3, tokens / 2, tokens - tokens / 4);
            bounds.push(match sequence % 4 {
                0 => [0, tokens],
                1 if t < rest => [0, rest],
                2 if t < first => [0, first],
                2 => [first, tokens],
                3 if t < first => [0, first],
                3 if t < second => [first, second],
                3 if t < rest => [second, rest],
                _ => [0, 0],
            });
        }
    }
    bounds
}

/// B, T, H, D, buckets and the share that is dropped.
type Sizes = ([usize; 5], f32);

/// Sizes that either form is tried with.
const SIZES: &[Sizes] = &[
    ([1, 1, 1, 4, 32], 0.0),
    ([2, 7, 2, 8, 8], 0.0),
    ([3, 33, 2, 16, 32], 0.0),
    ([4, 129, 1, 8, 32], 0.0),
    ([3, 20, 3, 4, 0], 0.0),
    ([2, 7, 2, 8, 8], 0.1),
    ([3, 33, 2, 16, 0], 0.5),
];

/// Sizes at the edges of the fused form's blocks: D beside 32 and 64 and the widest, more buckets than rows of a block.
const FUSED_SIZES: &[Sizes] =
    &[([4, 70, 1, 36, 4], 0.0), ([2, 65, 1, 64, 32], 0.2), ([1, 31, 1, 128, 72], 0.0)];

/// Sizes where what a distance adds is the same for all queries.
const BIASED_SIZES: &[Sizes] =
    &[([1, 1, 1, 4, 8], 0.0), ([2, 7, 2, 8, 8], 0.0), ([3, 33, 2, 16, 32], 0.1), ([2, 70, 3, 36, 184], 0.0)];

/// Comparisons with the reference.
pub fn cases() -> Vec<Case> {
    let both = [Form::Unfused, Form::Fused].into_iter().flat_map(|form| SIZES.iter().map(move |s| (form, s)));
    let all = both.chain(FUSED_SIZES.iter().map(|sizes| (Form::Fused, sizes)));
    let all = all.map(|(form, sizes)| case(form, *sizes, false));
    let biased = [Form::Unfused, Form::Fused].into_iter();
    let biased = biased.flat_map(|form| BIASED_SIZES.iter().map(move |sizes| case(form, *sizes, true)));
    let padded =
        [Form::Unfused, Form::Fused].map(|form| padded_case(form, ([2, 33, 3, 28, 0], 0.0), false, 2));
    all.chain(biased).chain(padded).collect()
}

fn case(form: Form, sizes: Sizes, biased: bool) -> Case {
    padded_case(form, sizes, biased, 0)
}

/// The padding need not be zeros for the logits to be divided by the root of what else there is.
fn padded_case(
    form: Form,
    ([sequences, tokens, count, size, buckets], rate): Sizes,
    biased: bool,
    padding: usize,
) -> Case {
    let heads = Heads { sequences, tokens, heads: count, padding };
    let rows = sequences * tokens;
    let mut inputs = Inputs::new(4).normal("qkv", &[rows, 3 * count * size], 1.0);
    if biased {
        inputs = inputs.normal("biases", &[count, buckets], 1.0);
    } else if buckets > 0 {
        inputs = inputs.normal("distances", &[buckets, size], 1.0);
    }
    let bounds = example_bounds(heads);
    let for_gpu: Vec<u32> = bounds.iter().flatten().copied().collect();
    let name = format!(
        "{form:?}, B {sequences}, T {tokens}, H {count}, D {size} less {padding}, {buckets} buckets{}, {rate} dropped",
        if biased { " of biases" } else { "" }
    );
    let (key, site) = ([17, 4], 3);
    let case = Case::new(name, inputs, Metric::Elementwise(1e-5));
    // The gradient of the logits of a single key is 0, as a product less itself.
    let case = if tokens == 1 { case.cancelling(1.0) } else { case };
    case.gpu(move |graph, x| {
        let bounds = graph.constant(&for_gpu, [rows, 2], DType::U32)?;
        let key = graph.constant(&key, [2], DType::U32)?;
        let dropout = (rate > 0.0).then_some(Dropout { rate, key, site });
        let positions = match x.get(1) {
            Some(biases) if biased => Positions::Biases(biases),
            distances => distances.into(),
        };
        attention_as(form, graph, &x[0], positions, &bounds, heads, dropout.as_ref())
    })
    .reference(move |x| {
        let factor = |place| dropout::factor(key, site, rate, place as u32);
        let given: &[f64] = x.get(1).map_or(&[], |p| p);
        let given = if biased { (&[][..], given) } else { (given, &[][..]) };
        dropped_reference(&x[0], given, &bounds, heads, factor)
    })
}
