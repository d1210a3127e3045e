//! Packed sequences: every token once, nothing too long, bounds that are the documents'.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use wgrad::data::{
    Batch, Batcher, BatcherOptions, Dataset, Documents, HeldOut, Masked, MaskingOptions, PrepareOptions,
    Segment, Split, Summary, masking::mask, prepare,
};
use wgrad::text::Tokenizer;

use super::{prepared, sentences};

fn open(summary: &Summary) -> Dataset {
    Dataset::open(std::slice::from_ref(&summary.out)).unwrap()
}

/// Every segment of a split with its tokens, by number.
fn segments(dataset: &Dataset, split: Split) -> BTreeMap<u64, Vec<u32>> {
    let mut found = BTreeMap::new();
    for index in 0..dataset.len(split) {
        let tokens = dataset.sequence(split, index).unwrap();
        assert!(tokens.len() <= dataset.seq_len());
        let mut end = 0;
        for part in dataset.segments(split, index).unwrap() {
            assert_eq!(part.start, end, "no gap");
            end = part.end;
            let twice = found.insert(part.number, tokens[part.start..part.end].to_vec());
            assert!(twice.is_none(), "two segments with number {}", part.number);
        }
        assert_eq!(end, tokens.len());
    }
    found
}

fn pack(options: &mut PrepareOptions) {
    options.pack = true;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_token_of_every_document_appears_once_and_in_order(
        words in proptest::collection::vec(1_usize..40, 1..120),
        seq_len in 10_usize..40,
        shard_tokens in 50_u64..2000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let text: Vec<_> = sentences(40).join(" ").split(' ').map(str::to_owned).collect();
        let line = |(at, &count): (usize, &usize)| {
            (0..count).map(|word| text[(at * 7 + word) % text.len()].as_str()).collect::<Vec<_>>().join(" ")
        };
        let lines: Vec<String> = words.iter().enumerate().map(line).collect();
        let change = |options: &mut PrepareOptions| {
            (options.pack, options.seq_len, options.shard_tokens) = (true, seq_len, shard_tokens);
            options.held_out = HeldOut::Sequences(0);
        };
        let summary = prepared(folder.path(), "out", &lines.join("\n"), change).unwrap();
        let dataset = open(&summary);
        prop_assert!(dataset.packed());
        let specials = *dataset.tokenizer().specials();
        let mut expected = Vec::new();
        for line in &lines {
            for piece in dataset.tokenizer().encode(line).unwrap().chunks(seq_len - 2) {
                expected.push([&[specials.cls], piece, &[specials.sep]].concat());
            }
        }
        let found = segments(&dataset, Split::Train);
        prop_assert!(found.keys().copied().eq(0..expected.len() as u64));
        prop_assert!(found.into_values().eq(expected));
        prop_assert_eq!(summary.dropped_tokens, 0);
        let part = summary.train;
        prop_assert_eq!(part.padding_avoided, (part.segments - part.sequences) * seq_len as u64);
        prop_assert_eq!(part.tokens, (0..part.sequences)
            .map(|index| dataset.sequence(Split::Train, index).unwrap().len() as u64).sum::<u64>());
    }
}

#[test]
fn short_documents_fill_their_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let change = |options: &mut PrepareOptions| (options.pack, options.seq_len) = (true, 128);
    let summary = prepared(folder.path(), "out", &sentences(3000).join("\n"), change).unwrap();
    // Lengths of 20 to 60 tokens do not add up to 128 much better than this.
    assert!(summary.train.fill > 0.955, "{}", summary.train.fill);
    assert!(summary.train.segments > 2 * summary.train.sequences);
}

/// Bounds, masks and labels of a batch are those of its segments, each masked as if it were alone.
#[test]
fn batches_keep_documents_apart() {
    let folder = tempfile::tempdir().unwrap();
    let summary = prepared(folder.path(), "out", &sentences(200).join("\n"), |options| {
        (options.pack, options.seq_len) = (true, 64);
    });
    let dataset = Arc::new(open(&summary.unwrap()));
    let batcher = Batcher::new(dataset.clone(), BatcherOptions::default()).unwrap();
    let n = dataset.len(Split::HeldOut);
    let batch = batcher.held_out(0..n).unwrap();
    let (mut rows, mut labels, mut several) = (Vec::new(), Vec::new(), false);
    for index in 0..n {
        let tokens = dataset.sequence(Split::HeldOut, index).unwrap();
        let first = index as usize * 64;
        let parts = dataset.segments(Split::HeldOut, index).unwrap();
        several |= parts.len() > 1;
        for &Segment { start, end, number } in &parts {
            let seed = wgrad::data::batcher::HELD_OUT_SEED;
            let alone =
                mask(&tokens[start..end], seed, 0, number, &MaskingOptions::default(), dataset.table());
            assert_eq!(batch.input_ids[first + start..first + end], alone.input_ids);
            let bounds = &batch.bounds[first + start..first + end];
            assert!(bounds.iter().all(|bound| *bound == [start as u32, end as u32]));
            rows.extend(alone.positions.iter().map(|position| (first + start) as u32 + position));
            labels.extend(alone.labels);
        }
        let padding = first + tokens.len()..first + 64;
        assert!(batch.bounds[padding].iter().all(|bound| *bound == [0, 0]));
    }
    assert!(several);
    assert_eq!((batch.masked_rows, batch.labels), (rows, labels));
}

/// The padded form of short documents has the same segments, numbers and masks.
#[test]
fn packing_is_the_padded_form_without_its_padding() {
    let folder = tempfile::tempdir().unwrap();
    let text = sentences(300).join("\n");
    let change = |options: &mut PrepareOptions| {
        (options.seq_len, options.held_out) = (64, HeldOut::Fraction(0.1));
    };
    let padded = prepared(folder.path(), "padded", &text, change).unwrap();
    let packed = prepared(folder.path(), "packed", &text, |options| {
        change(options);
        pack(options);
    })
    .unwrap();
    assert_eq!((padded.dropped_tokens, padded.train.tokens), (0, packed.train.tokens));
    assert_eq!(padded.unigram_entropy, packed.unigram_entropy);
    let (padded, packed) = (open(&padded), open(&packed));
    for split in [Split::Train, Split::HeldOut] {
        assert_eq!(segments(&padded, split), segments(&packed, split));
        assert!(packed.len(split) < padded.len(split));
    }
    assert!(!padded.packed() && padded.masked(&MaskingOptions::default()).unwrap().is_none());
}

/// What a batch masks fits the room that is kept for it.
#[test]
fn room_is_kept_for_what_segments_hide() {
    let folder = tempfile::tempdir().unwrap();
    let summary = prepared(folder.path(), "out", &sentences(2000).join("\n"), |options| {
        (options.pack, options.seq_len) = (true, 128);
    });
    let dataset = Arc::new(open(&summary.unwrap()));
    let masked = dataset.masked(&MaskingOptions::default()).unwrap().unwrap();
    let batcher = Batcher::new(dataset.clone(), BatcherOptions::default()).unwrap();
    let batches = dataset.len(Split::Train) / 8;
    let counts: Vec<_> =
        (0..batches).map(|at| batcher.train(8 * at..8 * at + 8).unwrap().labels.len()).collect();
    let mean = counts.iter().sum::<usize>() as f64 / batches as f64 / 8.0;
    assert!((mean - masked.mean).abs() < 0.02 * mean, "{mean} {masked:?}");
    assert!(mean > 19.0, "more than a sequence of one document: {mean}");
    assert!(counts.iter().all(|&count| count <= masked.room(8)), "{counts:?} {masked:?}");
    assert!(masked.room(8) < counts.iter().max().unwrap() * 5 / 4);
}

#[test]
fn packed_and_padded_folders_are_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let text = sentences(200);
    let a = prepared(folder.path(), "a", &text[..100].join("\n"), pack).unwrap();
    let b = prepared(folder.path(), "b", &text[100..].join("\n"), |_| {}).unwrap();
    for folders in [[&a, &b], [&b, &a], [&a, &a]] {
        let both = Dataset::open(&folders.map(|summary| summary.out.clone())).unwrap();
        let numbers = segments(&both, Split::Train);
        let expected: u64 = folders.iter().map(|summary| summary.train.segments).sum();
        assert!(numbers.into_keys().eq(0..expected));
    }
}

#[test]
fn packing_is_deterministic_and_damage_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let text = sentences(300).join("\n");
    let files = |out: &Path| -> BTreeMap<_, _> {
        let entries = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect()
    };
    let a = prepared(folder.path(), "a", &text, pack).unwrap();
    let b = prepared(folder.path(), "b", &text, pack).unwrap();
    assert_eq!(files(&a.out), files(&b.out));
    assert!(files(&a.out).keys().any(|name| name == "train-00000.seg"));

    let good = open(&a).fingerprint();
    let path = a.out.join("train-00000.seg");
    let bytes = std::fs::read(&path).unwrap();
    let mut flipped = bytes.clone();
    flipped[20] ^= 1;
    for broken in [flipped.as_slice(), &bytes[..bytes.len() - 16], b""] {
        std::fs::write(&path, broken).unwrap();
        assert!(Dataset::open(std::slice::from_ref(&a.out)).is_err());
    }
    // With a checksum that fits, segments that are none are found when they are read.
    let manifest = a.out.join("dataset.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    let mut forged = bytes.clone();
    forged[..8].copy_from_slice(&1_u64.to_le_bytes());
    json["train"]["shards"][0]["segments"]["crc32"] = crc32fast::hash(&forged).into();
    std::fs::write(&path, &forged).unwrap();
    std::fs::write(&manifest, json.to_string()).unwrap();
    std::fs::remove_file(a.out.join("checksums.json")).unwrap();
    let dataset = open(&a);
    assert_ne!(dataset.fingerprint(), good);
    let error = dataset.segments(Split::Train, 0).unwrap_err().to_string();
    assert!(error.contains("segments of 3 tokens or more"), "{error}");
}

#[test]
fn padding_of_packed_data_is_not_attended_to() {
    let folder = tempfile::tempdir().unwrap();
    let summary = prepared(folder.path(), "out", &sentences(50).join("\n"), pack).unwrap();
    let options = BatcherOptions { mask_padding: false, ..Default::default() };
    let error = Batcher::new(Arc::new(open(&summary)), options).unwrap_err().to_string();
    assert!(error.contains("mask_padding") && error.contains("see each other"), "{error}");
    let both = prepared(folder.path(), "both", "the dog", |options| {
        (options.pack, options.join) = (true, true);
    });
    assert!(both.unwrap_err().to_string().contains("one of `join`"));
}

/// The chosen count of sequences is held out, and one long document is parted.
#[test]
fn held_out_counts_are_of_packed_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let text = sentences(400).join("\n");
    let summary = prepared(folder.path(), "a", &text, |options| {
        (options.pack, options.seq_len, options.held_out) = (true, 64, HeldOut::Sequences(20));
    });
    let found = summary.unwrap().held_out.sequences;
    assert!((20..=23).contains(&found), "{found}");
    let file = folder.path().join("long.txt");
    std::fs::write(&file, &text).unwrap();
    let options = PrepareOptions {
        inputs: vec![file],
        tokenizer: folder.path().join("tok"),
        out: folder.path().join("long"),
        pack: true,
        read: wgrad::data::ReadOptions { documents: Documents::File, ..Default::default() },
        ..Default::default()
    };
    let summary = prepare(&options, |_| {}).unwrap();
    assert!(summary.held_out.sequences >= 1 && summary.train.sequences > 10);
    assert!(Tokenizer::load(&summary.out).is_ok());
}

/// Sequences of [`Masked`] that are not packed stay as they were.
#[test]
fn a_batch_of_whole_sequences_has_one_segment_each() {
    let sequence = Masked { input_ids: vec![2, 9, 9, 3], positions: vec![2], labels: vec![8] };
    let batch = Batch::new(&[sequence.clone(), sequence], 6, 0, true);
    assert_eq!(batch.masked_rows, [2, 8]);
    assert_eq!(batch.bounds[6..], [[0, 4], [0, 4], [0, 4], [0, 4], [0, 0], [0, 0]]);
}
