//! How well a search by vectors finds the documents that answer its queries.

use rayon::prelude::*;
use serde::Serialize;

use super::embed::{Embedder, Embeddings};
use crate::data::retrieval::{Judgement, Retrieval};
use crate::{Error, Result};

/// Where the ranks end that count for some measures.
const CUT: usize = 10;

/// How well a search finds, as means over the queries.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalScores {
    /// For each asked k, the share of a query's relevant documents that are among the first k.
    pub recall: Vec<(usize, f64)>,
    /// `1 / rank` of the first relevant document; 0 where it is not among the first 10.
    pub mrr_at_10: f64,
    /// The same wherever it is.
    pub mrr: f64,
    /// Normalised discounted cumulative gain of the first 10 (Järvelin and Kekäläinen 2002):
    /// `Σ gain / log2(rank + 1)`, divided by what the best order would have.
    pub ndcg_at_10: f64,
    /// Texts that were longer than the model sees.
    pub truncated: usize,
}

/// Embeds the queries and the documents of a set, each with its prompt, ranks all documents for each query by the cosine
/// of their vectors, and measures. `progress` is told how many texts are done, and of how many.
///
/// # Errors
/// [`Error::Config`] for vectors that are not divided by their length; as [`Embedder::embed`].
pub async fn evaluate_retrieval(
    embedder: &mut Embedder,
    set: &Retrieval,
    [query_prompt, document_prompt]: [&str; 2],
    recall_at: &[usize],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<RetrievalScores> {
    if !embedder.options().normalize {
        return Err(Error::config("normalize", "true, as cosines are compared", false));
    }
    let (documents, all) = (set.documents.len(), set.documents.len() + set.queries.len());
    embedder.set_prompt(document_prompt)?;
    let found = embedder.embed(&set.documents, &mut |done| progress(done, all)).await?;
    embedder.set_prompt(query_prompt)?;
    let queries = embedder.embed(&set.queries, &mut |done| progress(documents + done, all)).await?;
    let scores = retrieval_scores(&queries, &found, (&set.relevant, &set.own), recall_at);
    Ok(RetrievalScores { truncated: found.truncated + queries.truncated, ..scores })
}

/// Measures the order of `documents` for each of `queries`, all vectors of length 1, by what is `relevant` for each. Of
/// documents with equal cosines the earlier one stands first.
pub fn retrieval_scores(
    queries: &Embeddings,
    documents: &Embeddings,
    (relevant, own): (&[Vec<Judgement>], &[Option<usize>]),
    recall_at: &[usize],
) -> RetrievalScores {
    let rows: Vec<&[f32]> = queries.rows().collect();
    let of_query = |(at, query): (usize, &&[f32])| {
        let mut cosines: Vec<f64> = documents.rows().map(|document| dot(query, document)).collect();
        // What is the query itself stands behind all others, and is no answer.
        let own = own.get(at).copied().flatten();
        if let Some(cosine) = own.and_then(|own| cosines.get_mut(own)) {
            *cosine = f64::NEG_INFINITY;
        }
        let found = |judged: &Judgement| judged.document.filter(|document| Some(*document) != own);
        let ranked =
            relevant[at].iter().map(|judged| (found(judged).map(|at| rank(&cosines, at)), judged.gain));
        of_ranks(&ranked.collect::<Vec<_>>(), recall_at)
    };
    let each: Vec<RetrievalScores> = rows.par_iter().enumerate().map(of_query).collect();
    let mean = |value: &dyn Fn(&RetrievalScores) -> f64| {
        each.iter().map(value).sum::<f64>() / each.len().max(1) as f64
    };
    RetrievalScores {
        recall: (0..recall_at.len()).map(|at| (recall_at[at], mean(&|scores| scores.recall[at].1))).collect(),
        mrr_at_10: mean(&|scores| scores.mrr_at_10),
        mrr: mean(&|scores| scores.mrr),
        ndcg_at_10: mean(&|scores| scores.ndcg_at_10),
        truncated: 0,
    }
}

/// The cosine of vectors of length 1.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The rank of document `at`, counted from 1: how many stand before it tells it, so that nothing is sorted.
fn rank(cosines: &[f64], at: usize) -> usize {
    let own = cosines[at];
    let before = |(other, cosine): (usize, &f64)| *cosine > own || (*cosine == own && other < at);
    1 + cosines.iter().enumerate().filter(|&other| before(other)).count()
}

/// The measures of one query, of whose relevant documents the ranks are known, unless they cannot be found, and the gains.
fn of_ranks(relevant: &[(Option<usize>, f64)], recall_at: &[usize]) -> RetrievalScores {
    let ranks = || relevant.iter().filter_map(|(rank, _)| *rank);
    let within = |k: usize| ranks().filter(|rank| *rank <= k).count() as f64 / relevant.len().max(1) as f64;
    let first = ranks().min();
    let discounted = |rank: usize, gain: f64| match rank <= CUT {
        true => gain / (rank as f64 + 1.0).log2(),
        false => 0.0,
    };
    let gained: f64 = relevant.iter().filter_map(|(rank, gain)| Some(discounted((*rank)?, *gain))).sum();
    let mut gains: Vec<f64> = relevant.iter().map(|(_, gain)| *gain).collect();
    gains.sort_by(|a, b| b.total_cmp(a));
    let best: f64 = (1..).zip(gains).map(|(rank, gain)| discounted(rank, gain)).sum();
    RetrievalScores {
        recall: recall_at.iter().map(|&k| (k, within(k))).collect(),
        mrr_at_10: first.filter(|rank| *rank <= CUT).map_or(0.0, |rank| 1.0 / rank as f64),
        mrr: first.map_or(0.0, |rank| 1.0 / rank as f64),
        ndcg_at_10: if best > 0.0 { gained / best } else { 0.0 },
        truncated: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents at angles from the first query, so that their order is known.
    fn vectors(angles: &[f64]) -> Embeddings {
        let values = angles.iter().flat_map(|angle| [angle.cos() as f32, angle.sin() as f32]);
        Embeddings { width: 2, values: values.collect(), ..Embeddings::default() }
    }

    fn judged(document: usize, gain: f64) -> Judgement {
        Judgement { document: Some(document), gain }
    }

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
    }

    #[test]
    fn measures_by_hand() {
        let documents = vectors(&(0..12).map(|at| 0.1 * f64::from(at)).collect::<Vec<_>>());
        // The order for the first query is 0, 1, 2, …, for the second 11, 10, 9, ….
        let queries = vectors(&[0.0, 1.1]);
        let gone = Judgement { document: None, gain: 1.0 };
        let relevant = [vec![judged(1, 1.0), judged(4, 3.0)], vec![judged(0, 1.0), gone]];
        let found = retrieval_scores(&queries, &documents, (&relevant, &[]), &[1, 2, 5, 100]);
        // Ranks 2 and 5 of the first, 12 of the second, whose other one is nowhere.
        let recall: Vec<f64> = found.recall.iter().map(|(_, share)| *share).collect();
        assert_eq!(recall, [0.0, 0.25, 0.5, 0.75]);
        close(found.mrr_at_10, 0.5 / 2.0);
        close(found.mrr, (1.0 / 2.0 + 1.0 / 12.0) / 2.0);
        let (gained, best) = (1.0 / 3f64.log2() + 3.0 / 6f64.log2(), 3.0 / 2f64.log2() + 1.0 / 3f64.log2());
        close(found.ndcg_at_10, gained / best / 2.0);
        // What is found at once is all that there is to find.
        let found = retrieval_scores(&vectors(&[0.0]), &documents, (&[vec![judged(0, 2.0)]], &[]), &[1]);
        assert_eq!((found.recall[0].1, found.mrr, found.mrr_at_10, found.ndcg_at_10), (1.0, 1.0, 1.0, 1.0));
    }

    #[test]
    fn a_query_does_not_find_itself() {
        let (documents, queries) = (vectors(&[0.0, 0.2, 0.4]), vectors(&[0.0]));
        let relevant = [vec![judged(0, 1.0), judged(1, 1.0)]];
        let found = retrieval_scores(&queries, &documents, (&relevant, &[Some(0)]), &[1]);
        assert_eq!((found.mrr, found.recall[0].1), (1.0, 0.5));
    }

    #[test]
    fn the_earlier_of_equals_stands_first() {
        let documents = vectors(&[0.5, 0.5, 0.5, 0.1]);
        let rank_of =
            |at| retrieval_scores(&vectors(&[0.0]), &documents, (&[vec![judged(at, 1.0)]], &[]), &[]).mrr;
        assert_eq!([0, 1, 2, 3].map(rank_of), [1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0, 1.0]);
    }

    /// Against an order that is really sorted, for random vectors and judgements.
    #[test]
    fn measures_equal_those_of_sorted_documents() {
        let number = |key: u64| crate::random::unit(crate::random::mix(key));
        let angles = |seed: u64, count: u64| (0..count).map(|at| number(seed + at)).collect::<Vec<_>>();
        let (queries, documents) = (vectors(&angles(0, 40)), vectors(&angles(1000, 70)));
        let relevant: Vec<Vec<Judgement>> = (0..40)
            .map(|query| {
                let each = (0..=query % 5).map(|at| judged((query * 13 + at * 7) % 70, (1 + at % 3) as f64));
                each.collect()
            })
            .collect();
        let found = retrieval_scores(&queries, &documents, (&relevant, &[]), &[3, 10]);
        let (mut recall, mut mrr, mut ndcg) = (0.0, 0.0, 0.0);
        for (query, relevant) in queries.rows().zip(&relevant) {
            let mut order: Vec<usize> = (0..70).collect();
            let rows: Vec<&[f32]> = documents.rows().collect();
            order.sort_by(|&a, &b| dot(query, rows[b]).total_cmp(&dot(query, rows[a])));
            let gain = |at: &usize| relevant.iter().find(|j| j.document == Some(*at)).map_or(0.0, |j| j.gain);
            let dcg = |gains: &[f64]| {
                gains
                    .iter()
                    .take(10)
                    .enumerate()
                    .map(|(at, gain)| gain / (at as f64 + 2.0).log2())
                    .sum::<f64>()
            };
            let gains: Vec<f64> = order.iter().map(gain).collect();
            let mut best = gains.clone();
            best.sort_by(|a, b| b.total_cmp(a));
            ndcg += dcg(&gains) / dcg(&best);
            mrr += 1.0 / (1.0 + gains.iter().position(|gain| *gain > 0.0).unwrap() as f64);
            recall += gains[..3].iter().filter(|gain| **gain > 0.0).count() as f64 / relevant.len() as f64;
        }
        close(found.recall[0].1, recall / 40.0);
        close(found.mrr, mrr / 40.0);
        close(found.ndcg_at_10, ndcg / 40.0);
    }
}
