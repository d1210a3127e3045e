//! No command that reads texts takes more memory than `--memory` says and what a small model on a software driver takes,
//! whatever lies in its files; what needs more is refused in a sentence that names the option.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::hugging_face::golden_folder;
use serde_json::{Value, json};
use wgrad::budget;
use wgrad::data::task::{Columns, Table, encode, encode_words};
use wgrad::data::{FileOptions, Texts};
use wgrad::text::{Template, Tokenizer};

/// The budget of these tests in megabytes, and what may come to it.
const BUDGET: u64 = 256;
const BESIDE: u64 = 200;

/// How the program ended, what it said on standard error, and the most memory that it took, in megabytes.
struct Ran {
    good: bool,
    told: String,
    peak: u64,
}

/// Runs the program within the budget of these tests.
fn run(arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let mut child = Command::new(env!("CARGO_BIN_EXE_wgrad"))
        .args(arguments)
        .args(["--memory", &format!("{BUDGET}MB")])
        .env("XDG_RUNTIME_DIR", std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&told).unwrap())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = loop {
        // The mark never sinks, so that only what the last milliseconds add may be missed.
        let about = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        if let Some(line) = about.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1000;
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let told = fs::read_to_string(told).unwrap();
    eprintln!("{peak} MB, {status}: {} {}", arguments.join(" "), told.lines().last().unwrap_or_default());
    assert!(status.code().is_some() && !told.contains("panicked"), "{status}: {told}");
    Ran { good: status.success(), told, peak }
}

/// Runs the program, which keeps to the budget and ends well.
#[track_caller]
fn fits(arguments: &[&str]) {
    let ran = run(arguments);
    assert!(ran.good, "{}", ran.told);
    assert!(ran.peak <= BUDGET + BESIDE, "{} MB", ran.peak);
}

/// Runs the program, which keeps to the budget by saying that it cannot.
#[track_caller]
fn refused(arguments: &[&str]) {
    let ran = run(arguments);
    assert!(!ran.good && ran.told.contains("--memory"), "{}", ran.told);
    assert!(ran.peak <= BUDGET + BESIDE, "{} MB", ran.peak);
}

fn golden(name: &str) -> String {
    golden_folder().with_file_name(name).to_str().unwrap().to_owned()
}

/// Writes a file of repeated bytes.
fn write(path: &Path, begin: &str, piece: &[u8], times: usize, end: &str) -> String {
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(begin.as_bytes()).unwrap();
    (0..times).for_each(|_| file.write_all(piece).unwrap());
    file.write_all(end.as_bytes()).unwrap();
    file.flush().unwrap();
    path.to_str().unwrap().to_owned()
}

/// A hundred megabytes in one line, as text, in a cell and in JSON.
fn long_lines(dir: &Path) -> [String; 3] {
    let piece = "words and more words, ".repeat(1000);
    let times = 100_000_000 / piece.len();
    [
        write(&dir.join("long.txt"), "", piece.as_bytes(), times, "\nshort\n"),
        write(&dir.join("long.csv"), "text,label\n\"", piece.as_bytes(), times, "\",a\nshort,b\n"),
        write(
            &dir.join("long.jsonl"),
            "{\"text\": \"",
            piece.as_bytes(),
            times,
            "\"}\n{\"text\": \"short\"}\n",
        ),
    ]
}

#[test]
fn fault_58_a_line_of_a_hundred_megabytes_is_cut_or_refused() {
    let Some(_) = common::gpu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let [text, csv, json] = &long_lines(dir.path());
    let (embedder, scorer) = (golden("sentence_transformers"), golden("cross_encoders/bert"));
    let (classifier, out) = (golden("families/distilbert_classes"), dir.path().join("out"));
    let out = out.to_str().unwrap();
    fits(&["embed", "--model", &embedder, "--input", text]);
    refused(&["embed", "--model", &embedder, "--input", json]);
    fits(&["rerank", "--model", &scorer, "query", text]);
    refused(&["rerank", "--model", &scorer, "query", csv]);
    refused(&["predict", "--model", &classifier, "--input", text]);
    refused(&["predict", "--model", &classifier, "--input", csv]);
    refused(&["evaluate", "--model", &classifier, "--task", "classify", "--eval", csv]);
    refused(&[
        "finetune",
        "--model",
        &classifier,
        "--task",
        "classify",
        "--train",
        csv,
        "--eval",
        csv,
        "--out",
        out,
    ]);
    // As whole texts these take their time.
    let few =
        write(&dir.path().join("few.txt"), "", "words and more words, ".repeat(1000).as_bytes(), 300, "");
    fits(&["tokenizer", "train", &few, "--vocab-size", "256", "--out", out]);
    fits(&["data", "prepare", &few, "--tokenizer", out, "--held-out", "0", "--out", &format!("{out}-data")]);
    refused(&["data", "prepare", json, "--tokenizer", out, "--out", &format!("{out}-more")]);
}

/// Single letters take the most memory of all texts: each is a word, a piece and a token.
#[test]
fn fault_58_texts_are_tokenized_in_turn() {
    let Some(_) = common::gpu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let line = "a b ".repeat(1 << 18) + "\n";
    let letters = write(&dir.path().join("letters.txt"), "", line.as_bytes(), 6, "");
    let marks = write(&dir.path().join("marks.txt"), "a", "\u{301}".repeat(1000).as_bytes(), 1000, "\n");
    let embedder = golden("sentence_transformers");
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    let korean = write(&dir.path().join("korean.txt"), "", "\u{d55c} ".repeat(1000).as_bytes(), 500, "\n");
    for text in [&letters, &marks, &korean] {
        fits(&["embed", "--model", &embedder, "--input", text]);
        fits(&["predict", "--model", &golden("families/distilbert_classes"), "--input", text]);
        fits(&["rerank", "--model", &golden("cross_encoders/bert"), "query", text]);
    }
    fits(&["tokenizer", "train", &letters, "--vocab-size", "256", "--out", out]);
    fits(&[
        "data",
        "prepare",
        &letters,
        "--tokenizer",
        out,
        "--held-out",
        "0",
        "--out",
        &format!("{out}-data"),
    ]);
}

/// Archives of some hundred kilobytes that unpack to a thousand times as much.
#[test]
fn fault_58_what_is_packed_a_thousand_times_is_read_as_it_comes() {
    let Some(_) = common::gpu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let block = vec![b'a'; 1_000_000];
    let path = |name: &str| dir.path().join(name);
    let mut gzip =
        flate2::write::GzEncoder::new(File::create(path("a.txt.gz")).unwrap(), flate2::Compression::best());
    let mut xz = liblzma::write::XzEncoder::new(File::create(path("a.txt.xz")).unwrap(), 1);
    let mut zstd = zstd::Encoder::new(File::create(path("a.jsonl.zst")).unwrap(), 1).unwrap();
    let mut zip = zip::ZipWriter::new(File::create(path("a.zip")).unwrap());
    zip.start_file("a.txt", zip::write::SimpleFileOptions::default()).unwrap();
    zstd.write_all(b"{\"text\": \"").unwrap();
    for _ in 0..300 {
        gzip.write_all(&block).unwrap();
        xz.write_all(&block).unwrap();
        zstd.write_all(&block).unwrap();
        zip.write_all(&block).unwrap();
    }
    drop((gzip.finish().unwrap(), xz.finish().unwrap(), zstd.finish().unwrap(), zip.finish().unwrap()));
    let embedder = golden("sentence_transformers");
    for name in ["a.txt.gz", "a.txt.xz", "a.zip"] {
        fits(&["embed", "--model", &embedder, "--input", path(name).to_str().unwrap()]);
    }
    refused(&["embed", "--model", &embedder, "--input", path("a.jsonl.zst").to_str().unwrap()]);

    // What refers back further than the budget, and the name of a member that is as long as a book.
    let mut wide = zstd::Encoder::new(File::create(path("wide.txt.zst")).unwrap(), 1).unwrap();
    wide.window_log(30).unwrap();
    (0..300).for_each(|_| wide.write_all(&block).unwrap());
    wide.finish().unwrap();
    refused(&["embed", "--model", &embedder, "--input", path("wide.txt.zst").to_str().unwrap()]);
    let gzip = flate2::write::GzEncoder::new(
        File::create(path("named.tar.gz")).unwrap(),
        flate2::Compression::fast(),
    );
    let mut tar = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(400_000_000);
    header.set_cksum();
    tar.append(&header, std::io::Read::take(std::io::repeat(b'a'), 400_000_000)).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    let ran = run(&["embed", "--model", &embedder, "--input", path("named.tar.gz").to_str().unwrap()]);
    assert!(!ran.good && ran.told.contains("header of a member") && ran.peak <= BUDGET, "{}", ran.told);
}

/// Ten million rows, where all of them are kept: they are counted as they come.
#[test]
fn fault_58_ten_million_rows_that_are_kept_are_refused() {
    let Some(_) = common::gpu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let rows =
        write(&dir.path().join("rows.csv"), "text,label\n", "a b,x\n".repeat(1000).as_bytes(), 10_000, "");
    let pairs = write(
        &dir.path().join("pairs.csv"),
        "query,document\n",
        "a b,x\n".repeat(1000).as_bytes(),
        10_000,
        "",
    );
    let (classifier, out) = (golden("families/distilbert_classes"), dir.path().join("out"));
    let out = out.to_str().unwrap();
    refused(&["evaluate", "--model", &classifier, "--task", "classify", "--eval", &rows]);
    refused(&[
        "finetune",
        "--model",
        &classifier,
        "--task",
        "classify",
        "--train",
        &rows,
        "--eval",
        &rows,
        "--out",
        out,
    ]);
    refused(&[
        "evaluate",
        "--model",
        &golden("sentence_transformers"),
        "--task",
        "retrieval",
        "--eval",
        &pairs,
    ]);
}

/// A tokenizer with other values at some places.
fn crafted(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let path = golden_folder().join("tokenizer.json");
    let mut file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut file);
    file.to_string().into_bytes()
}

/// What is wrong with a tokenizer.
fn wrong(bytes: Vec<u8>) -> String {
    Tokenizer::from_bytes(bytes).unwrap_err().to_string()
}

#[test]
fn fault_59_crafted_tokenizers_are_weighed_before_they_are_used() {
    let doubled = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let many = json!({"type": "Sequence", "normalizers": vec![doubled; 40]});
    let told = wrong(crafted(|file| file["normalizer"] = many));
    assert!(told.contains("cleaning that makes a text at most 1000 times as long"), "{told}");
    // A file of zeros would be a hundred times as much in memory.
    let told = wrong(crafted(|file| file["zeros"] = json!(vec![0; 5_000_000])));
    assert!(told.contains("JSON of at most") && told.contains("values"), "{told}");
    let told = wrong([b"{".to_vec(), vec![b' '; 65 << 20], b"}".to_vec()].concat());
    assert!(told.contains("JSON of at most"), "{told}");
    let told = wrong(b"[".repeat(100_000));
    assert!(told.contains("recursion limit"), "{told}");
    let token = json!({"SpecialToken": {"id": "[SEP]", "type_id": 0}});
    let told = wrong(crafted(|file| file["post_processor"]["single"] = json!(vec![token; 100_000])));
    assert!(told.contains("templates of at most"), "{told}");
    let told = wrong(crafted(|file| file["model"]["max_input_chars_per_word"] = json!(1_000_000_000)));
    assert!(told.contains("words of at most 1000 letters"), "{told}");
}

/// Cleaning that may be a hundred times as long as a text is tried before it is done.
#[test]
fn fault_59_a_text_is_refused_by_what_cleaning_makes_of_it() {
    budget::set(BUDGET * 1_000_000).unwrap();
    let long = json!({"type": "Replace", "pattern": {"String": "z"}, "content": "y".repeat(900)});
    let tokenizer = Tokenizer::from_bytes(crafted(|file| file["normalizer"] = long)).unwrap();
    let harmless = tokenizer.encode(&"a ".repeat(100_000)).unwrap();
    assert!(!harmless.is_empty());
    assert!(!tokenizer.encode("z").unwrap().is_empty());
    let told = tokenizer.encode(&"z ".repeat(100_000)).unwrap_err().to_string();
    assert!(told.contains("--memory"), "{told}");
}

/// Cleaning puts blanks around ideographs and takes Korean syllables apart: half as many bytes more, or three times as many.
#[test]
fn texts_of_every_script_are_tokenized_up_to_the_limit() {
    budget::set(BUDGET * 1_000_000).unwrap();
    let tokenizer = Tokenizer::from_bytes(crafted(|_| ())).unwrap();
    let template = Template::of(&tokenizer).unwrap();
    for letter in ["a ", "\u{4e2d}", "\u{d55c}", "\u{d55c} ", "\u{e9} ", "\u{390} ", "\u{1f82} "] {
        let text = letter.repeat(2 * budget::text_limit() / letter.len());
        assert!(!tokenizer.encode(budget::bounded(&text)).unwrap().is_empty());
        // What is beyond the limit is cut wherever texts become tokens.
        let encoded = encode(&tokenizer, &template, &text, Some(&text), 16).unwrap();
        assert!(encoded.ids.len() <= 16 && encoded.truncated > 0);
        let words = vec![text[..letter.len()].trim().to_owned(); budget::text_limit()];
        assert!(encode_words(&tokenizer, &template, &words, 16).unwrap().encoded.truncated > 0);
    }
}

/// A folder with another configuration is refused before anything of its size is made.
#[test]
fn fault_59_a_vocabulary_that_nobody_has_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(golden_folder().join(name), dir.path().join(name)).unwrap();
    }
    let path: PathBuf = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["vocab_size"] = json!(1_000_000_000);
    fs::write(&path, config.to_string()).unwrap();
    let ran = run(&["predict", "--model", dir.path().to_str().unwrap()]);
    assert!(!ran.good && ran.told.contains("vocab_size") && ran.peak < BUDGET, "{}", ran.told);
    // Settings that would take a gigabyte in memory.
    fs::write(&path, format!("{{\"model_type\": \"bert\", \"x\": [{}0]}}", "0,".repeat(20_000_000))).unwrap();
    let ran = run(&["predict", "--model", dir.path().to_str().unwrap()]);
    assert!(!ran.good && ran.told.contains("JSON of at most") && ran.peak < BUDGET, "{}", ran.told);
}

/// A list in a row of JSON becomes values of many times its bytes.
#[test]
fn fault_58_lists_in_rows_are_weighed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    let rows = write(&path, "{\"tokens\": [0", b",0".repeat(1000).as_slice(), 7500, "], \"tags\": []}\n");
    let classifier = golden("families/distilbert_classes");
    let ran = run(&["evaluate", "--model", &classifier, "--task", "tokens", "--eval", &rows]);
    assert!(!ran.good && ran.told.contains("--memory") && ran.peak < BUDGET, "{}", ran.told);
    // Where no list is wanted, it is passed over.
    let ran = run(&["predict", "--model", &classifier, "--input", &rows, "--text-column", "tokens"]);
    assert!(!ran.good && ran.told.contains("an array") && ran.peak < BUDGET + BESIDE, "{}", ran.told);
}

/// What is read to train with and what is read to measure on are there at the same time.
#[test]
fn tables_that_are_kept_share_one_budget() {
    budget::set(BUDGET * 1_000_000).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (large, small) = (dir.path().join("large.csv"), dir.path().join("small.csv"));
    // A row is counted with more than 300 bytes.
    write(&large, "text,label\n", b"a,b\n", 450_000, "");
    write(&small, "text,label\n", b"a,b\n", 10, "");
    let [text, label] = ["text", "label"].map(str::to_owned);
    let columns = Columns { text, pair: None, label: Some(label), numbers: false, separator: None };
    let read = |path: &Path| Table::read(path, &columns, &FileOptions::default());
    let train = read(&large).unwrap();
    let told = read(&large).unwrap_err().to_string();
    assert!(told.contains("large.csv") && told.contains("--memory"), "{told}");
    // What was refused takes nothing, and a table that was added to another is still there.
    let both = train.joined(read(&small).unwrap());
    assert!(read(&large).is_err());
    drop(both);
    read(&large).unwrap();
}

/// A Parquet file of one column of texts of so many bytes.
fn pages(texts: usize, bytes: usize, page: usize, packing: parquet::basic::Compression) -> Vec<u8> {
    use parquet::data_type::ByteArrayType;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    let schema = "message m { required binary text (UTF8); }";
    let schema = parquet::schema::parser::parse_message_type(schema).unwrap().into();
    let properties = WriterProperties::builder()
        .set_compression(packing)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_write_batch_size(1)
        .set_data_page_size_limit(page);
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, properties.build().into()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let text = vec![b'a'; bytes].into();
    for _ in 0..texts {
        column.typed::<ByteArrayType>().write_batch(std::slice::from_ref(&text), None, None).unwrap();
    }
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    file
}

/// A number of Thrift's in at least so many bytes.
fn spelled(number: u64, length: usize) -> Vec<u8> {
    let mut rest = number << 1;
    let mut bytes = Vec::new();
    while rest > 0 || bytes.len() < length {
        bytes.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    *bytes.last_mut().unwrap() &= 127;
    bytes
}

/// Pages are unpacked at once, so that none may be larger than half of the budget, whatever the file says of it.
#[test]
fn fault_58_pages_of_parquet_are_weighed_as_they_are() {
    use parquet::basic::Compression;
    let dir = tempfile::tempdir().unwrap();
    let (tokenizer, path) = (golden("twenty_scripts/word_piece"), dir.path().join("rows.parquet"));
    // A large column of small pages is no harm.
    budget::set(BUDGET * 1_000_000).unwrap();
    fs::write(&path, pages(160, 1_000_000, 100_000, Compression::SNAPPY)).unwrap();
    let texts = Texts::open(&path, "text", &FileOptions::default()).unwrap();
    assert_eq!(texts.into_iter().filter(|text| text.as_ref().unwrap().len() == 1_000_000).count(), 160);

    for packing in [Compression::SNAPPY, Compression::GZIP(Default::default())] {
        let sound = pages(1, 150_000_000, 1 << 30, packing);
        // What it says of the page, and of the column, header and all: each is told as it is, or less, or more.
        let find = |number, within: std::ops::Range<usize>| {
            let bytes = spelled(number, 5);
            within.into_iter().find(|&at| sound[at..].starts_with(&bytes))
        };
        let header = find(150_000_004, 0..30).unwrap();
        let end = sound.len() - 300..sound.len();
        let footer = (10..60).find_map(|more| find(150_000_004 + more, end.clone())).unwrap();
        for (page, column) in
            [(150_000_004, 150_000_034), (150_000_004, 1000), (1000, 1000), (2_000_000_000, 1000)]
        {
            let mut file = sound.clone();
            for (at, number) in [(header, page), (footer, column)] {
                file[at..at + 5].copy_from_slice(&spelled(number, 5));
            }
            let what = format!("{packing} that says {page} of a page and {column} of a column");
            fs::write(&path, file).unwrap();
            let out = dir.path().join("out");
            _ = fs::remove_dir_all(&out);
            let [path, out] = [&path, &out].map(|path| path.to_str().unwrap());
            let ran = run(&["data", "prepare", path, "--tokenizer", &tokenizer, "--out", out]);
            assert!(!ran.good && ran.peak <= BUDGET, "{what}: {} MB: {}", ran.peak, ran.told);
            // Snappy unpacks no more than it was told to.
            let broken = page == 1000 && packing == Compression::SNAPPY;
            let expected = if broken { "a broken one" } else { "--memory" };
            assert!(ran.told.contains(expected), "{what}: {}", ran.told);
        }
    }
}
