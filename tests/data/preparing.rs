//! Shards: what they hold, what is held out, and what happens when they are damaged (fault 24 and 39).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use wgrad::data::{Dataset, Documents, HeldOut, PrepareOptions, Split, prepare};
use wgrad::text::Tokenizer;

use super::{prepared, sentences, tokenizer};

fn open(folder: &Path) -> wgrad::Result<Dataset> {
    Dataset::open(&[folder.to_path_buf()])
}

fn all(dataset: &Dataset, split: Split) -> Vec<Vec<u32>> {
    (0..dataset.len(split)).map(|index| dataset.sequence(split, index).unwrap()).collect()
}

#[test]
fn one_document_per_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let lines = sentences(300);
    let summary = prepared(folder.path(), "out", &lines.join("\n"), |_| {}).unwrap();
    let dataset = open(&summary.out).unwrap();
    let tokenizer = Tokenizer::load(&summary.out).unwrap();
    let specials = *tokenizer.specials();
    assert_eq!(summary.train.documents + summary.held_out.documents, 300);
    assert_eq!(dataset.len(Split::Train), summary.train.sequences);
    assert_eq!(dataset.tokens(Split::Train), summary.train.tokens);
    assert!(summary.held_out.sequences >= 1);

    let mut dropped = 0;
    let mut expected = Vec::new();
    for line in &lines {
        for (number, piece) in tokenizer.encode(line).unwrap().chunks(14).enumerate() {
            if number > 0 && piece.len() < 8 {
                dropped += piece.len() as u64;
            } else {
                expected.push([&[specials.cls], piece, &[specials.sep]].concat());
            }
        }
    }
    assert_eq!(summary.dropped_tokens, dropped);
    let mut found = all(&dataset, Split::Train);
    found.extend(all(&dataset, Split::HeldOut));
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn joined_documents_leave_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    let lines = sentences(300);
    let change = |options: &mut PrepareOptions| {
        (options.join, options.held_out, options.shard_tokens) = (true, HeldOut::Sequences(0), 200);
    };
    let summary = prepared(folder.path(), "out", &lines.join("\n"), change).unwrap();
    let dataset = open(&summary.out).unwrap();
    assert!(summary.out.join("train-00003.bin").exists(), "several shards");
    assert!(dataset.is_empty(Split::HeldOut) && dataset.unigram_entropy().is_none());
    let tokenizer = dataset.tokenizer();
    let tokens: Vec<_> = lines.iter().flat_map(|line| tokenizer.encode(line).unwrap()).collect();
    let sequences = all(&dataset, Split::Train);
    let kept: Vec<_> =
        sequences.iter().flat_map(|sequence| sequence[1..sequence.len() - 1].to_vec()).collect();
    assert_eq!(kept, tokens[..kept.len()]);
    assert_eq!((tokens.len() - kept.len()) as u64, summary.dropped_tokens);
    assert!(sequences[..sequences.len() - 1].iter().all(|sequence| sequence.len() == 16));
}

#[test]
fn the_held_out_documents_are_a_share_and_not_in_train() {
    let folder = tempfile::tempdir().unwrap();
    let text = sentences(1000).join("\n");
    let ten =
        prepared(folder.path(), "a", &text, |options| options.held_out = HeldOut::Fraction(0.1)).unwrap();
    assert!((60..140).contains(&ten.held_out.documents), "{}", ten.held_out.documents);
    let count =
        prepared(folder.path(), "b", &text, |options| options.held_out = HeldOut::Sequences(50)).unwrap();
    assert!((50..55).contains(&count.held_out.sequences), "{}", count.held_out.sequences);
    let joined = prepared(folder.path(), "c", &text, |options| {
        (options.join, options.held_out) = (true, HeldOut::Sequences(50));
    });
    assert!((50..=52).contains(&joined.unwrap().held_out.sequences));
    let dataset = open(&count.out).unwrap();
    let train: BTreeSet<_> = all(&dataset, Split::Train).into_iter().collect();
    assert!(all(&dataset, Split::HeldOut).iter().all(|sequence| !train.contains(sequence)));
    // Another seed holds others out.
    let other = |options: &mut PrepareOptions| (options.held_out, options.seed) = (HeldOut::Sequences(50), 1);
    let other = open(&prepared(folder.path(), "d", &text, other).unwrap().out).unwrap();
    assert_ne!(all(&other, Split::HeldOut), all(&dataset, Split::HeldOut));
}

#[test]
fn something_is_held_out_where_the_corpus_allows() {
    let folder = tempfile::tempdir().unwrap();
    let two = prepared(folder.path(), "two", "the dog sees a house\na house sees the dog", |_| {}).unwrap();
    assert_eq!((two.train.sequences, two.held_out.sequences), (1, 1));
    let one = prepared(folder.path(), "one", "the dog", |_| {}).unwrap();
    assert_eq!((one.train.sequences, one.held_out.sequences), (1, 0));
    let file = |options: &mut PrepareOptions| options.read.documents = Documents::File;
    let long = prepared(folder.path(), "long", &sentences(20).join("\n"), file).unwrap();
    assert_eq!(long.held_out.sequences, 1);
    assert!(long.train.sequences > 5);
}

/// Fault 24: nothing to train on says so, with the counts.
#[test]
fn an_empty_corpus_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blank = prepared(folder.path(), "out", " \n\n", |_| {}).unwrap_err().to_string();
    assert!(blank.contains("found 0 documents with 0 tokens"), "{blank}");
    let all = prepared(folder.path(), "out", "a dog\na house", |options| {
        options.held_out = HeldOut::Sequences(5);
    });
    assert!(all.unwrap_err().to_string().contains("2 sequences are held out"));
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !names.iter().any(|name| name.to_string_lossy().starts_with("out") && name != "out.txt"),
        "{names:?}"
    );
}

#[test]
fn preparing_is_deterministic() {
    let folder = tempfile::tempdir().unwrap();
    let text = sentences(500).join("\n");
    for (name, join) in [("a", false), ("b", true)] {
        let again = format!("{name}2");
        for name in [name, again.as_str()] {
            prepared(folder.path(), name, &text, |options| options.join = join).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path().join(name)).unwrap().collect();
        assert!(names.len() >= 7);
        for entry in names.drain(..) {
            let entry = entry.unwrap();
            let twin = folder.path().join(&again).join(entry.file_name());
            assert_eq!(fs::read(entry.path()).unwrap(), fs::read(twin).unwrap(), "{:?}", entry.file_name());
        }
    }
}

#[test]
fn unigram_entropy_is_that_of_the_shards() {
    let folder = tempfile::tempdir().unwrap();
    let change = |options: &mut PrepareOptions| options.held_out = HeldOut::Fraction(0.2);
    let summary = prepared(folder.path(), "out", &sentences(500).join("\n"), change).unwrap();
    let dataset = open(&summary.out).unwrap();
    let mut train = vec![1.0; dataset.vocab_size()];
    let body = |split| all(&dataset, split).into_iter().flatten().filter(|&id| id > 4).collect::<Vec<_>>();
    body(Split::Train).into_iter().for_each(|id| train[id as usize] += 1.0);
    let total: f64 = train.iter().sum();
    let held_out = body(Split::HeldOut);
    let loss =
        held_out.iter().map(|&id| -(train[id as usize] / total).ln()).sum::<f64>() / held_out.len() as f64;
    assert!((dataset.unigram_entropy().unwrap() - loss).abs() < 1e-9);
    assert_eq!(dataset.unigram_entropy(), summary.unigram_entropy);
}

#[test]
fn folders_are_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let text = sentences(200);
    let a = prepared(folder.path(), "a", &text[..100].join("\n"), |_| {}).unwrap();
    let b = prepared(folder.path(), "b", &text[100..].join("\n"), |_| {}).unwrap();
    let both = Dataset::open(&[a.out.clone(), b.out.clone()]).unwrap();
    let (first, second) = (open(&a.out).unwrap(), open(&b.out).unwrap());
    for split in [Split::Train, Split::HeldOut] {
        assert_eq!(all(&both, split), [all(&first, split), all(&second, split)].concat());
    }
    assert!(both.sequence(Split::Train, both.len(Split::Train)).is_err());
    assert!(both.unigram_entropy().is_some());
    let swapped = Dataset::open(&[b.out.clone(), a.out.clone()]).unwrap();
    let prints = BTreeSet::from([&both, &first, &second, &swapped].map(Dataset::fingerprint));
    assert_eq!(prints.len(), 4);

    let longer = prepared(folder.path(), "c", &text.join("\n"), |options| options.seq_len = 32).unwrap();
    let error = Dataset::open(&[a.out.clone(), longer.out]).unwrap_err().to_string();
    assert!(error.contains("16 tokens as in") && error.contains("found 32 tokens"), "{error}");
    let other = Tokenizer::train([Ok("um outro texto".to_owned())], &Default::default()).unwrap();
    other.save(folder.path().join("tok2")).unwrap();
    let place = folder.path().join("tok2");
    let other = prepared(folder.path(), "d", &text.join("\n"), |options| options.tokenizer = place).unwrap();
    let error = Dataset::open(&[a.out, other.out]).unwrap_err().to_string();
    assert!(error.contains("the tokenizer of"), "{error}");
    assert!(Dataset::open(&[]).is_err());
    assert!(open(folder.path()).unwrap_err().to_string().contains("dataset.json"));
}

#[test]
fn every_damaged_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let out = prepared(folder.path(), "out", &sentences(200).join("\n"), |_| {}).unwrap().out;
    let files: Vec<PathBuf> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 8, "two shards of two files, counts, tokenizer, manifest, checksums: {files:?}");
    for path in files {
        let good = fs::read(&path).unwrap();
        let refused = |bytes: &[u8], what: &str| {
            fs::write(&path, bytes).unwrap();
            let error = open(&out).expect_err(&format!("{what} in {}", path.display()));
            assert!(error.to_string().contains("out"), "{error}");
        };
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 0x10;
        refused(&flipped, "a flipped bit");
        refused(&good[..good.len() - 1], "a byte missing");
        refused(&good[..good.len() / 2], "a half missing");
        refused(b"", "nothing");
        refused(&[good.as_slice(), b"xxxxxxxx"].concat(), "more");
        fs::remove_file(&path).unwrap();
        // A folder without a list of checksums is one of an earlier version.
        assert_eq!(open(&out).is_err(), !path.ends_with("checksums.json"));
        fs::write(&path, &good).unwrap();
        assert!(open(&out).is_ok());
    }
}

/// Token ids past the vocabulary never get out, even with matching checksums.
#[test]
fn forged_ids_and_offsets_are_refused_when_read() {
    let folder = tempfile::tempdir().unwrap();
    let out = prepared(folder.path(), "out", &sentences(50).join("\n"), |_| {}).unwrap().out;
    fs::remove_file(out.join("checksums.json")).unwrap();
    let forge = |file: &str, field: &str, at: usize, bytes: &[u8]| {
        let manifest_path = out.join("dataset.json");
        let (good, manifest) = (fs::read(out.join(file)).unwrap(), fs::read(&manifest_path).unwrap());
        let mut forged = good.clone();
        forged[at..at + bytes.len()].copy_from_slice(bytes);
        let mut json: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        json["train"]["shards"][0][field] = crc32fast::hash(&forged).into();
        fs::write(out.join(file), &forged).unwrap();
        fs::write(&manifest_path, json.to_string()).unwrap();
        let error = open(&out).unwrap().sequence(Split::Train, 0).unwrap_err();
        fs::write(out.join(file), good).unwrap();
        fs::write(manifest_path, manifest).unwrap();
        error.to_string()
    };
    let error = forge("train-00000.bin", "crc32", 2, &60_000_u16.to_le_bytes());
    assert!(error.contains("token ids below") && error.contains("60000"), "{error}");
    for end in [0, 1, 17, u64::MAX] {
        let error = forge("train-00000.idx", "index_crc32", 8, &u64::to_le_bytes(end));
        assert!(error.contains("3 to 16 tokens in sequence 0"), "{error}");
    }
}

#[test]
fn a_killed_run_never_looks_whole() {
    let folder = tempfile::tempdir().unwrap();
    // What a killed run leaves.
    let partial = folder.path().join(".out.0123456789abcdef.wgrad-partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("train-00007.bin"), "rest").unwrap();
    fs::write(partial.join("lock"), "").unwrap();
    // What may well be somebody's own.
    let own = [".out.partial", "out.partial", ".out.0123456789abcdeg.wgrad-partial"];
    own.iter().for_each(|name| fs::create_dir(folder.path().join(name)).unwrap());
    assert!(open(&folder.path().join("out")).is_err());
    let summary = prepared(folder.path(), "out", "the dog\na house", |_| {}).unwrap();
    assert!(!partial.exists() && !summary.out.join("train-00007.bin").exists());
    assert!(!summary.out.join("lock").exists());
    assert!(own.iter().all(|name| folder.path().join(name).exists()));
    open(&summary.out).unwrap();
    let again = prepared(folder.path(), "out", "the dog\na house", |_| {}).unwrap_err().to_string();
    assert!(again.contains("does not exist yet"), "{again}");
    open(&summary.out).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    prepared(folder.path(), "empty", "the dog\na house", |_| {}).unwrap();

    // Another run that is still writing is not disturbed.
    let busy = folder.path().join(".busy.0123456789abcdef.wgrad-partial");
    fs::create_dir(&busy).unwrap();
    let lock = fs::File::create(busy.join("lock")).unwrap();
    lock.lock().unwrap();
    let error = prepared(folder.path(), "busy", "the dog", |_| {}).unwrap_err().to_string();
    assert!(error.contains("no other run"), "{error}");
    assert!(busy.join("lock").exists());
}

#[test]
fn bad_options_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for seq_len in [0, 2, 9, 100_000] {
        assert!(prepared(folder.path(), "out", "a", |options| options.seq_len = seq_len).is_err());
    }
    for share in [-0.1, 1.0, f64::NAN] {
        assert!(
            prepared(folder.path(), "out", "a", |options| options.held_out = HeldOut::Fraction(share))
                .is_err()
        );
    }
    let nowhere = prepared(folder.path(), "out", "a", |options| options.tokenizer = "nowhere".into());
    assert!(nowhere.unwrap_err().to_string().contains("nowhere"));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn files_are_read_in_chunks_with_progress() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("big.txt");
    fs::write(&file, sentences(2000).join("\n").repeat(80)).unwrap();
    let options = PrepareOptions {
        inputs: vec![file.clone()],
        tokenizer: tokenizer(folder.path()),
        out: folder.path().join("out"),
        ..Default::default()
    };
    let mut seen = Vec::new();
    let summary = prepare(&options, |progress| seen.push(*progress)).unwrap();
    assert!(seen.len() > 1 && seen.is_sorted_by_key(|progress| (progress.bytes, progress.documents)));
    let last = seen.last().unwrap();
    assert_eq!(last.total_bytes, Some(fs::metadata(file).unwrap().len()));
    assert_eq!(last.documents, summary.read.documents);
}
