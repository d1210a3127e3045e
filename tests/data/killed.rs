//! Preparations that are killed, and the next run of the same command.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use wgrad::data::prepare::{Earlier, can_go_on};
use wgrad::data::{HeldOut, PrepareOptions, Summary, prepare};
use wgrad::text::{Tokenizer, TokenizerOptions};

use super::{sentences, tokenizer};

/// Saves after every chunk, of which there are about twenty, and makes several shards.
fn options(folder: &Path, out: &str) -> PrepareOptions {
    let text = folder.join("text.txt");
    if !text.exists() {
        fs::write(&text, sentences(1500).join("\n")).unwrap();
        tokenizer(folder);
    }
    PrepareOptions {
        inputs: vec![text],
        tokenizer: folder.join("tok"),
        out: folder.join(out),
        seq_len: 16,
        shard_tokens: 4000,
        chunk_bytes: 5000,
        save_every: Duration::ZERO,
        ..Default::default()
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
}

/// The folder of `out` while it is made, as far as a kill would leave it.
fn partial(folder: &Path, out: &str) -> PathBuf {
    let begin = format!(".{out}.");
    let mut entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&begin)).unwrap()
}

/// What a run that is killed after each chunk leaves, and what it comes to when it is not.
fn kills(folder: &Path, options: &PrepareOptions) -> (Vec<BTreeMap<String, Vec<u8>>>, Summary) {
    let name = options.out.file_name().unwrap().to_str().unwrap();
    let mut left = Vec::new();
    let summary = prepare(options, |_| left.push(files(&partial(folder, name)))).unwrap();
    (left, summary)
}

/// Puts there what a run left that was killed.
fn put(folder: &Path, out: &str, left: &BTreeMap<String, Vec<u8>>) {
    let place = folder.join(format!(".{out}.0123456789abcdef.wgrad-partial"));
    fs::create_dir(&place).unwrap();
    left.iter().for_each(|(name, bytes)| fs::write(place.join(name), bytes).unwrap());
}

/// Runs again, and removes what was made.
fn again(options: &PrepareOptions) -> (BTreeMap<String, Vec<u8>>, Earlier) {
    let mut told = Vec::new();
    let summary = prepare(options, |progress| told.push(progress.earlier)).unwrap();
    // Nobody is told of what turns out otherwise.
    told.retain(|earlier| *earlier != Earlier::default());
    told.dedup();
    assert_eq!(told, Vec::from_iter((summary.earlier != Earlier::default()).then_some(summary.earlier)));
    let made = files(&options.out);
    fs::remove_dir_all(&options.out).unwrap();
    (made, summary.earlier)
}

#[test]
fn a_killed_preparation_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let ways: [fn(&mut PrepareOptions); 4] = [
        |_| {},
        |options| options.join = true,
        |options| options.pack = true,
        |options| (options.pack, options.held_out) = (true, HeldOut::Sequences(40)),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut options = options(folder.path(), &format!("right{number}"));
        way(&mut options);
        let (left, whole) = kills(folder.path(), &options);
        let right = files(&options.out);
        assert!(left.len() > 10 && right.keys().filter(|name| name.ends_with(".bin")).count() > 3);
        options.out = folder.path().join("out");
        for (kill, left) in left.iter().enumerate().step_by(5) {
            let mut left = left.clone();
            // Written after what is kept was saved: the end of a shard, and a shard that is not known yet.
            let saved: serde_json::Value = serde_json::from_slice(&left["going-on.json"][9..]).unwrap();
            for (part, stem) in [("train", "train"), ("held_out", "held-out")] {
                let shards = &saved["work"][part]["shards"];
                if !shards["open"].is_null() {
                    let name =
                        format!("{stem}-{:05}.bin", shards["part"]["shards"].as_array().unwrap().len());
                    left.get_mut(&name).unwrap().extend(b"more");
                }
            }
            left.insert("train-00099.bin".into(), b"unknown".to_vec());
            put(folder.path(), "out", &left);
            let summary = prepare(&options, |_| {}).unwrap();
            assert!(files(&options.out) == right, "way {number}, kill {kill}");
            let documents = summary.earlier.resumed_documents;
            assert!(documents > 0 && summary.earlier.begun_anew.is_none());
            // All but the documents taken over is told as by a run that was never killed.
            let told = Summary { earlier: whole.earlier, out: whole.out.clone(), ..summary };
            assert_eq!(told, whole);
            fs::remove_dir_all(&options.out).unwrap();
        }
        // Nothing is left lying about.
        assert!(
            !fs::read_dir(folder.path())
                .unwrap()
                .any(|entry| { entry.unwrap().file_name().to_str().unwrap().starts_with(".out") })
        );
    }
}

#[test]
fn what_has_changed_begins_anew_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let right = options(folder.path(), "right");
    let (left, _) = kills(folder.path(), &right);
    let middle = &left[left.len() / 2];
    let whole = files(&right.out);
    let options = PrepareOptions { out: folder.path().join("out"), ..right.clone() };

    // Settings that the data follows from, and some that it does not.
    put(folder.path(), "out", middle);
    let (made, earlier) = again(&PrepareOptions { seed: 1, ..options.clone() });
    assert_eq!(earlier.begun_anew, Some("the settings or the tokenizer have changed"));
    assert_ne!(made, whole);
    put(folder.path(), "out", middle);
    let (made, earlier) = again(&PrepareOptions { chunk_bytes: 1 << 20, ..options.clone() });
    assert!(earlier.resumed_documents > 0 && earlier.begun_anew.is_none());
    assert!(made == whole);

    // A finished shard, the one that was open, and what is kept, each with a byte changed or missing.
    for (name, damage) in [("train-00000.bin", 3), ("train-00000.idx", 9), ("going-on.json", 99)] {
        for shorter in [false, true] {
            let mut left = middle.clone();
            let bytes = left.get_mut(name).unwrap();
            if shorter {
                bytes.truncate(damage)
            } else {
                bytes[damage] ^= 1
            }
            put(folder.path(), "out", &left);
            let (made, earlier) = again(&options);
            assert_eq!(earlier.begun_anew, Some("what it left is damaged"), "{name}");
            assert!(made == whole, "{name}");
        }
    }

    // How long documents are split is a setting too, though it shows in none of these.
    put(folder.path(), "out", middle);
    let mut split = options.clone();
    split.read.document_limit = 4000;
    assert_eq!(again(&split).1.begun_anew, Some("the settings or the tokenizer have changed"));

    // Another text where the killed run was, an earlier end, and one that only comes later.
    let lines = sentences(1500);
    let changed = |at: usize| {
        let mut lines = lines.clone();
        lines[at] += " indeed";
        lines
    };
    for (lines, anew) in [(changed(0), true), (lines[..9].to_vec(), true), (changed(1499), false)] {
        fs::write(folder.path().join("text.txt"), lines.join("\n")).unwrap();
        let (fresh, _) = again(&options);
        put(folder.path(), "out", middle);
        let (made, earlier) = again(&options);
        assert_eq!(earlier.begun_anew, anew.then_some("the texts have changed"));
        assert_eq!(earlier.resumed_documents == 0, anew);
        assert!(made == fresh);
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), "out");
    let made = [1, 2, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let texts = sentences(1500).into_iter().map(Ok);
            let small = TokenizerOptions { vocab_size: 400, ..Default::default() };
            let tokenizer = Tokenizer::train(texts, &small).unwrap().json().to_vec();
            let packed = PrepareOptions { pack: true, ..options.clone() };
            (tokenizer, again(&options).0, again(&packed).0)
        })
    });
    assert!(made[0] == made[1] && made[1] == made[2]);
}

#[test]
fn an_error_keeps_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let right = options(folder.path(), "right");
    let (left, _) = kills(folder.path(), &right);
    let whole = files(&right.out);
    let options = PrepareOptions { out: folder.path().join("out"), ..right.clone() };
    let goes_on = |options: &PrepareOptions| {
        assert!(can_go_on(&options.out));
        let (made, earlier) = again(options);
        assert!(earlier.resumed_documents > 0 && earlier.begun_anew.is_none());
        assert!(made == whole);
        assert!(!can_go_on(&options.out));
    };

    // A file that turns out to be cut short, first in a new run and then in one that goes on.
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&fs::read(folder.path().join("text.txt")).unwrap()).unwrap();
    let packed = packed.finish().unwrap();
    let text = folder.path().join("text.txt.gz");
    let gzip = PrepareOptions { inputs: vec![text.clone()], ..options.clone() };
    for part in [packed.len() / 2, packed.len() * 3 / 4] {
        fs::write(&text, &packed[..part]).unwrap();
        let error = prepare(&gzip, |_| {}).unwrap_err().to_string();
        assert!(error.contains("a truncated one"), "{error}");
        assert!(can_go_on(&options.out) && !options.out.exists());
    }
    fs::write(&text, &packed).unwrap();
    goes_on(&gzip);

    // What cannot be read need not be damaged.
    let middle = &left[left.len() / 2];
    put(folder.path(), "out", middle);
    let shard = partial(folder.path(), "out").join("train-00000.bin");
    fs::remove_file(&shard).unwrap();
    fs::create_dir(&shard).unwrap();
    let error = prepare(&options, |_| {}).unwrap_err().to_string();
    assert!(error.contains("train-00000.bin: cannot"), "{error}");
    fs::remove_dir(&shard).unwrap();
    fs::write(&shard, &middle["train-00000.bin"]).unwrap();
    goes_on(&options);
    // But what is not there is.
    put(folder.path(), "out", middle);
    fs::remove_file(partial(folder.path(), "out").join("train-00000.bin")).unwrap();
    assert_eq!(again(&options).1.begun_anew, Some("what it left is damaged"));

    // A place that was taken meanwhile: all is done but the name.
    let taken = options.out.join("mine");
    let error = prepare(&options, |_| {
        fs::create_dir_all(&options.out).unwrap();
        fs::write(&taken, "mine").unwrap();
    });
    assert!(error.unwrap_err().to_string().contains("what was written is in"));
    fs::remove_dir_all(&options.out).unwrap();
    goes_on(&options);
}
