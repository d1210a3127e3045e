//! Batches: their shape, their order, and the odd ones (faults 24 to 26).

use std::sync::Arc;

use wgrad::data::{Batch, Batcher, BatcherOptions, Dataset, HeldOut, Masked, MaskingOptions, Split};

use super::{prepared, sentences};

fn batcher(options: BatcherOptions) -> (tempfile::TempDir, Batcher) {
    let folder = tempfile::tempdir().unwrap();
    let text = sentences(60).join("\n");
    let summary = prepared(folder.path(), "out", &text, |options| options.held_out = HeldOut::Sequences(10));
    let dataset = Dataset::open(&[summary.unwrap().out]).unwrap();
    (folder, Batcher::new(Arc::new(dataset), options).unwrap())
}

/// Rows `from` onward of a batch, as a batch of its own.
fn rows(batch: &Batch, from: usize, to: usize) -> Batch {
    let length = batch.seq_len;
    let range = from * length..to * length;
    let kept = |row: &&u32| range.contains(&(**row as usize));
    let first = batch.masked_rows.iter().position(|row| kept(&row)).unwrap_or(0);
    let masked_rows: Vec<u32> =
        batch.masked_rows.iter().filter(kept).map(|row| row - range.start as u32).collect();
    Batch {
        sequences: to - from,
        seq_len: length,
        input_ids: batch.input_ids[range.clone()].to_vec(),
        bounds: batch.bounds[range.clone()].to_vec(),
        labels: batch.labels[first..first + masked_rows.len()].to_vec(),
        masked_rows,
        tokens: batch.bounds[range].iter().filter(|bound| bound[1] > 0).count(),
        truncated: 0,
    }
}

#[test]
fn a_batch_is_its_sequences() {
    let (_folder, batcher) = batcher(BatcherOptions::default());
    let batch = batcher.train(3..10).unwrap();
    assert_eq!((batch.sequences, batch.seq_len), (7, 16));
    assert_eq!((batch.input_ids.len(), batch.bounds.len()), (7 * 16, 7 * 16));
    assert_eq!(batch.masked_rows.len(), batch.labels.len());
    assert!(batch.masked_rows.is_sorted_by(|left, right| left < right));
    let mut restored = batch.input_ids.clone();
    for (&row, &label) in batch.masked_rows.iter().zip(&batch.labels) {
        restored[row as usize] = label;
    }
    let dataset = batcher.dataset();
    let sequences: Vec<_> =
        (0..dataset.len(Split::Train)).map(|index| dataset.sequence(Split::Train, index).unwrap()).collect();
    let mut tokens = 0;
    for index in 0..7 {
        let row = &restored[index * 16..(index + 1) * 16];
        let bounds = &batch.bounds[index * 16..(index + 1) * 16];
        let length = bounds[0][1] as usize;
        assert!(sequences.contains(&row[..length].to_vec()));
        assert!(row[length..].iter().all(|&id| id == 0));
        assert!(bounds[..length].iter().all(|bound| *bound == [0, length as u32]));
        assert!(bounds[length..].iter().all(|bound| *bound == [0, 0]));
        tokens += length;
    }
    assert_eq!(batch.tokens, tokens);
}

#[test]
fn where_batches_begin_does_not_matter() {
    let (_folder, batcher) = batcher(BatcherOptions::default());
    let n = batcher.dataset().len(Split::Train);
    let whole = batcher.train(n - 5..n + 7).unwrap();
    for cut in 0..12 {
        let (left, right) =
            (batcher.train(n - 5..n - 5 + cut).unwrap(), batcher.train(n - 5 + cut..n + 7).unwrap());
        assert_eq!(left, rows(&whole, 0, cut as usize));
        assert_eq!(right, rows(&whole, cut as usize, 12));
    }
}

#[test]
fn an_epoch_shows_every_sequence_once_and_masks_afresh() {
    let (_folder, batcher) = batcher(BatcherOptions::default());
    let n = batcher.dataset().len(Split::Train);
    let restored = |epoch: u64| {
        let mut batch = batcher.train(epoch * n..(epoch + 1) * n).unwrap();
        let shown = batch.input_ids.clone();
        for (&row, &label) in batch.masked_rows.iter().zip(&batch.labels) {
            batch.input_ids[row as usize] = label;
        }
        let mut rows: Vec<_> = batch.input_ids.chunks(16).map(<[u32]>::to_vec).collect();
        let mut shown: Vec<_> = shown.chunks(16).map(<[u32]>::to_vec).collect();
        let order = rows.clone();
        rows.sort();
        shown.sort();
        (rows, shown, order)
    };
    let ((first, first_shown, first_order), (second, second_shown, second_order)) =
        (restored(0), restored(1));
    assert_eq!(first, second);
    assert_ne!(first_shown, second_shown);
    assert_ne!(first_order, second_order);
}

#[test]
fn held_out_masks_do_not_depend_on_the_run() {
    let (_folder, first) = batcher(BatcherOptions::default());
    let other = BatcherOptions { seed: 99, ..Default::default() };
    let second = Batcher::new(first.dataset().clone(), other).unwrap();
    let n = first.dataset().len(Split::HeldOut);
    assert_eq!(first.held_out(0..n).unwrap(), second.held_out(0..n).unwrap());
    assert_ne!(first.train(0..8).unwrap(), second.train(0..8).unwrap());
    let last = first.held_out(n - 1..n + 5).unwrap();
    assert_eq!(last.sequences, 1);
    assert_eq!(first.held_out(n..n + 5).unwrap().sequences, 0);
}

#[test]
fn padding_can_be_attended_to() {
    let options = BatcherOptions { mask_padding: false, ..Default::default() };
    let (_folder, batcher) = batcher(options);
    let batch = batcher.train(0..20).unwrap();
    assert!(batch.bounds.iter().all(|bound| *bound == [0, 16]));
    assert!(batch.tokens < 20 * 16);
}

/// Fault 24.
#[test]
fn a_corpus_smaller_than_a_batch_says_so() {
    let (_folder, batcher) = batcher(BatcherOptions::default());
    let n = batcher.dataset().len(Split::Train);
    batcher.require(n).unwrap();
    let error = batcher.require(n + 1).unwrap_err().to_string();
    assert!(error.contains(&format!("at most the {n} sequences")), "{error}");
    let masking = MaskingOptions { rate: 2.0, ..Default::default() };
    assert!(
        Batcher::new(batcher.dataset().clone(), BatcherOptions { masking, ..Default::default() }).is_err()
    );
}

/// Faults 25 and 26.
#[test]
fn batches_of_nothing_are_well_formed() {
    let masking = MaskingOptions { rate: 0.0, ..Default::default() };
    let (_folder, batcher) = batcher(BatcherOptions { masking, ..Default::default() });
    let batch = batcher.train(0..4).unwrap();
    assert!(batch.masked_rows.is_empty() && batch.labels.is_empty());
    assert_eq!(batch.sequences, 4);

    let padding = Batch::new(&[Masked::default(), Masked::default()], 8, 0, true);
    assert_eq!((padding.sequences, padding.tokens), (2, 0));
    assert_eq!(padding.input_ids, [0; 16]);
    assert_eq!(padding.bounds, [[0, 0]; 16]);
    let none = Batch::new(&[], 8, 0, true);
    assert_eq!((none.sequences, none.input_ids.len()), (0, 0));
}

/// Fault 19.
#[test]
fn sequences_over_the_length_are_cut_and_counted() {
    let long =
        Masked { input_ids: (10..20).collect(), positions: vec![1, 7, 8, 9], labels: vec![50, 51, 52, 53] };
    let batch = Batch::new(&[long], 8, 0, true);
    assert_eq!(batch.input_ids, (10..18).collect::<Vec<_>>());
    assert_eq!((batch.masked_rows, batch.labels), (vec![1, 7], vec![50, 51]));
    assert_eq!((batch.tokens, batch.truncated), (8, 2));
}
