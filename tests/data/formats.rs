//! One text in every form in which people have it gives one set of shards, and no kind of file is taken for another.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;
use wgrad::data::files::sources;
use wgrad::data::source::Format;
use wgrad::data::task::{Columns, Table, WordColumns};
use wgrad::data::{FileOptions, PrepareOptions, ReadOptions, Texts, prepare};

use super::reading::{PACKERS, gzip, read_paths, xz};
use super::{sentences, tokenizer};

/// A Parquet file of texts, none of them for null, and their numbers.
fn parquet(texts: &[Option<&str>], packing: Compression, dictionary: bool) -> Vec<u8> {
    columns(
        "message schema { OPTIONAL BYTE_ARRAY text (UTF8); REQUIRED INT64 id; }",
        texts,
        (packing, dictionary),
        1,
    )
}

/// A Parquet file with the schema `message`: an optional text, which is null from level `null` down, and a number.
fn columns(
    message: &str,
    texts: &[Option<&str>],
    (packing, dictionary): (Compression, bool),
    level: i16,
) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(message).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(packing)
        .set_dictionary_enabled(dictionary)
        .set_data_page_row_count_limit(64)
        .build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    // Several groups of rows, as large files have.
    for (group, part) in texts.chunks(texts.len().div_ceil(3).max(1)).enumerate() {
        let mut rows = writer.next_row_group().unwrap();
        let values: Vec<ByteArray> = part.iter().flatten().map(|&text| text.into()).collect();
        let levels: Vec<i16> =
            part.iter().map(|text| if text.is_some() { level } else { level - 1 }).collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        let ids: Vec<i64> = (0..part.len()).map(|row| (group * 1000 + row) as i64).collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&ids, None, None).unwrap();
        column.close().unwrap();
        rows.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

/// A zip archive, deflated.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let deflate = |bytes: &[u8]| {
        let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    zip_packed(files, 8, deflate)
}

/// A zip archive whose members `pack` packs, which is method `method`.
fn zip_packed(files: &[(&str, &[u8])], method: u16, pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let packed = pack(bytes);
        let mut header = Vec::new();
        header.extend([20_u16, 0, method, 0, 0x21].iter().flat_map(|field| field.to_le_bytes()));
        let sizes = [crc32fast::hash(bytes), packed.len() as u32, bytes.len() as u32];
        header.extend(sizes.iter().flat_map(|field| field.to_le_bytes()));
        header.extend((name.len() as u16).to_le_bytes());
        header.extend([0, 0]);
        let start = archive.len() as u32;
        archive.extend(b"PK\x03\x04");
        archive.extend(&header);
        archive.extend(name.as_bytes());
        archive.extend(packed);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&header);
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, size, count) = (archive.len() as u32, directory.len() as u32, files.len() as u16);
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count, count].iter().flat_map(|field| field.to_le_bytes()));
    archive.extend([size, start].iter().flat_map(|field| field.to_le_bytes()));
    archive.extend([0, 0]);
    archive
}

/// What says that it refers 2 GiB back, as `zstd --long=31` does: a frame whose blocks are not packed.
fn long_zstd(bytes: &[u8]) -> Vec<u8> {
    // No checksum and no size; a window of 2^(10 + 21) bytes.
    let mut frame = b"\x28\xb5\x2f\xfd\x00\xa8".to_vec();
    let blocks = bytes.chunks(100_000);
    for (at, block) in blocks.clone().enumerate() {
        let last = u32::from(at + 1 == blocks.len());
        frame.extend_from_slice(&(last | (block.len() as u32) << 3).to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn utf16(text: &str, little_endian: bool) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(|unit| if little_endian { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

/// Writes files and gives their folder.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// The texts of one file, or the message of the error.
fn read(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Vec<String>, String> {
    let folder = folder(&[(name, bytes)]);
    read_paths(&[folder.path().join(name)], options).map(|(texts, _)| texts)
}

fn column(name: &str) -> ReadOptions {
    ReadOptions { text_column: name.to_owned(), ..ReadOptions::default() }
}

#[test]
fn one_text_gives_the_same_shards_whatever_the_form() {
    let texts: Vec<String> =
        sentences(400).into_iter().map(|text| format!("{text} \u{e9}\u{4e2d}\u{1f600}")).collect();
    let plain = texts.join("\n") + "\n";
    let rows = |texts: &[String]| texts.iter().map(|text| json!({"n": 1, "text": text})).collect::<Vec<_>>();
    let csv = format!(
        "id,text\r\n{}\r\n",
        texts.iter().map(|text| format!("1,\"{text}\"")).collect::<Vec<_>>().join("\r\n")
    );
    let tsv = format!(
        "id\ttext\n{}\n",
        texts.iter().map(|text| format!("1\t{text}")).collect::<Vec<_>>().join("\n")
    );
    let lines = rows(&texts).iter().map(|row| format!("{row}\n")).collect::<String>();
    let array = serde_json::to_string(&rows(&texts)).unwrap();
    let pretty = serde_json::to_string_pretty(&rows(&texts)).unwrap();
    let optional: Vec<Option<&str>> = texts.iter().map(|text| Some(text.as_str())).collect();
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let half = texts.len() / 2;
    let parts = [texts[..half].join("\n"), texts[half..].join("\n")];
    let members =
        [("a/one.txt", parts[0].as_bytes()), ("a/two.txt", parts[1].as_bytes()), ("a/x.pdf", b"%PDF-")];
    let mut forms: Vec<(String, Vec<u8>)> = vec![
        ("a.txt".into(), plain.clone().into_bytes()),
        ("a.csv".into(), csv.clone().into_bytes()),
        ("a.tsv".into(), tsv.into_bytes()),
        ("a.jsonl".into(), lines.clone().into_bytes()),
        ("lines.json".into(), lines.clone().into_bytes()),
        ("array.json".into(), array.clone().into_bytes()),
        ("pretty.json".into(), pretty.into_bytes()),
        ("array.jsonl".into(), array.into_bytes()),
        ("wiki_00".into(), plain.clone().into_bytes()),
        ("wiki_01".into(), lines.into_bytes()),
        ("little.txt".into(), utf16(&plain, true)),
        ("big.txt".into(), utf16(&plain, false)),
        ("wide.csv".into(), utf16(&csv, true)),
        ("snappy.parquet".into(), parquet(&optional, Compression::SNAPPY, true)),
        ("zstd.parquet".into(), parquet(&optional, zstd, false)),
        ("gzip.parquet".into(), parquet(&optional, Compression::GZIP(Default::default()), true)),
        ("plain.parquet".into(), parquet(&optional, Compression::UNCOMPRESSED, false)),
        ("a.zip".into(), zip(&members)),
        ("one.zip".into(), zip(&[("a.csv", csv.as_bytes())])),
        ("a.tar".into(), tar(&members)),
        ("a.tar.gz".into(), gzip(&tar(&members))),
        ("a.txz".into(), xz(&tar(&members))),
        ("long.txt.zst".into(), long_zstd(plain.as_bytes())),
        ("long.tar.zst".into(), long_zstd(&tar(&members))),
        ("long.zip".into(), zip_packed(&members, 93, long_zstd)),
        ("in.zip".into(), zip(&[("long.txt.zst", &long_zstd(plain.as_bytes()))])),
        ("in.tar".into(), tar(&[("long.txt.zst", &long_zstd(plain.as_bytes()))])),
        // A packed file whose name does not say so.
        ("packed.txt".into(), gzip(plain.as_bytes())),
    ];
    for (ending, pack) in PACKERS {
        forms.push((format!("a.txt.{ending}"), pack(plain.as_bytes())));
        forms.push((format!("wiki_02.{ending}"), pack(plain.as_bytes())));
    }
    let place = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer(place.path());
    let mut first: Option<Vec<Vec<u8>>> = None;
    for (name, bytes) in forms {
        let input = place.path().join(&name);
        fs::write(&input, bytes).unwrap();
        let out = place.path().join(format!("out-{name}"));
        let options = PrepareOptions {
            inputs: vec![input],
            tokenizer: tokenizer.clone(),
            out: out.clone(),
            seq_len: 32,
            ..PrepareOptions::default()
        };
        let summary = prepare(&options, |_| ()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(summary.read.documents, 400, "{name}");
        let mut names: Vec<PathBuf> =
            fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let shards = names.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
        let expected = first.get_or_insert_with(|| shards.clone());
        assert!(*expected == shards, "{name}: other bytes");
    }
}

#[test]
fn columns_are_found_by_name_number_and_path() {
    let csv = b"first,7,last\na,b,c\n";
    for (name, expected) in [("first", "a"), ("1", "a"), ("3", "c"), ("7", "b")] {
        assert_eq!(read("a.csv", csv, &column(name)).unwrap(), [expected], "{name}");
    }
    assert!(read("a.csv", csv, &column("4")).unwrap_err().contains("a column called `4`, found `first`"));
    let mut headless = column("2");
    headless.files.header = false;
    assert_eq!(read("a.tsv", b"1\tone\n2\ttwo\n", &headless).unwrap(), ["one", "two"]);
    assert_eq!(read("a.csv", b"x,\"o\nne\"\ny,two\n", &headless).unwrap(), ["o\nne", "two"]);
    let by_name = ReadOptions { text_column: "text".into(), ..headless.clone() };
    assert_eq!(read("a.csv", b"only\ncolumn\n", &by_name).unwrap(), ["only", "column"]);
    let error = read("a.csv", b"a,b\n", &by_name).unwrap_err();
    assert!(error.contains("a column by its number, 1 to 2 (--no-header), found `text`"), "{error}");

    let json = br#"{"x": {"en": "hi", "n": {"t": 1}}, "x.en": "whole"}"#;
    assert_eq!(read("a.jsonl", json, &column("x.en")).unwrap(), ["whole"]);
    assert_eq!(read("a.jsonl", json, &column("x.n.t")).unwrap(), ["1"]);
    assert!(read("a.jsonl", json, &column("x")).unwrap_err().contains("found an object"));

    let schema = "message schema { OPTIONAL GROUP x { OPTIONAL BYTE_ARRAY en (UTF8); } REQUIRED INT64 id; }";
    let bytes = columns(schema, &[Some("one"), None, Some("two")], (Compression::SNAPPY, true), 2);
    assert_eq!(read("a.parquet", &bytes, &column("x.en")).unwrap(), ["one", "two"]);
    assert_eq!(read("a.parquet", &bytes, &column("id")).unwrap(), ["0", "1000", "2000"]);
    assert_eq!(read("a.parquet", &bytes, &column("2")).unwrap().len(), 3);
    let error = read("a.parquet", &bytes, &column("text")).unwrap_err();
    assert!(error.contains("a column called `text`, found `x.en`, `id`"), "{error}");
    assert!(read("a.parquet", &bytes, &column("x")).unwrap_err().contains("name its field, as `a.b`"));
}

#[test]
fn no_kind_of_file_is_taken_for_another() {
    let whole = parquet(&[Some("a"), Some("b")], Compression::SNAPPY, true);
    let plain = ReadOptions::default();
    for (name, bytes, words) in [
        ("a.txt", b"%PDF-1.7 x".to_vec(), "found a PDF document"),
        ("a.csv", b"\x89PNG\r\n\x1a\nrest".to_vec(), "found a PNG picture"),
        ("a.jsonl", b"<!DOCTYPE html><p>Not found".to_vec(), "found an HTML page"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1".to_vec(), "git lfs pull"),
        ("a.txt", whole.clone(), "found Parquet (name it .parquet)"),
        ("a.parquet", b"text\na\n".to_vec(), "expected Parquet, found text"),
        ("a.parquet", b"{\"text\": \"a\"}\n".to_vec(), "found JSON"),
        ("a.parquet", whole[..whole.len() / 2].to_vec(), "a whole Parquet file"),
        ("a.parquet", whole[..whole.len() - 9].to_vec(), "a whole Parquet file"),
        ("a.parquet.gz", gzip(&whole), "unpack it into a file first"),
        ("a.txt", zip(&[("a.txt", b"x")]), "name an archive .zip"),
        ("a.txt.gz", gzip(&tar(&[("a.txt", b"x")])), "a tar archive (name it .tar"),
        ("a.txt.gz", gzip(&gzip(b"twice")), "packed twice"),
        ("core.gz", gzip(&[0; 100]), "a binary file"),
        ("a.txt", b"caf\xe9 d\xe9j\xe0 vu\n".repeat(3), "iconv"),
        ("a.csv", [b"text\n".to_vec(), b"caf\xe9 d\xe9j\xe0 vu\n".repeat(3)].concat(), "iconv"),
        (
            "a.json",
            b"[\"the cat\", \"a dog\"]".to_vec(),
            "a JSON object, one a line or in an array, found a text",
        ),
        ("a.zip", b"PK\x03\x04 no more".to_vec(), "a whole zip archive"),
        ("a.tar", tar(&[("a.txt", &[b'x'; 2000])])[..1800].to_vec(), "a.tar"),
        ("a.zip", zip(&[("a.pdf", b"x")]), "passed over"),
        ("a.txt", "the cat".encode_utf16().flat_map(u16::to_le_bytes).collect(), "UTF-16 text without"),
        ("a.txt", b"\xff\xfe\0\0t\0\0\0".to_vec(), "UTF-32"),
        ("weights", vec![0, 0, 1, 7, 0, 0, 0, 0, 3, 0, 0, 0], "found a binary file"),
    ] {
        let error = read(name, &bytes, &plain).unwrap_err();
        assert!(error.contains(words) && error.contains(name), "{name}, {words}: {error}");
    }
    // A flipped bit in a member of an archive is no text.
    let mut flipped = zip(&[("a.txt", "some words and more words\n".repeat(50).as_bytes())]);
    flipped[60] ^= 8;
    assert!(read("a.zip", &flipped, &plain).unwrap_err().contains("a whole member of the archive"));
    // What a caller says holds, but for what cannot be read so.
    let forced = |format| ReadOptions {
        files: FileOptions { format: Some(format), ..FileOptions::default() },
        ..ReadOptions::default()
    };
    assert_eq!(read("a.log", b"{\"text\": \"a\"}\n", &forced(Format::Json)).unwrap(), ["a"]);
    assert_eq!(
        read("a.jsonl", b"{\"text\": \"a\"}\n", &forced(Format::Text)).unwrap(),
        ["{\"text\": \"a\"}"]
    );
    assert_eq!(read("a.dat", b"text\tb\nx\t1\n", &forced(Format::Tsv)).unwrap(), ["x"]);
    assert!(read("a.bin", &whole, &forced(Format::Text)).unwrap_err().contains("found Parquet"));
}

#[test]
fn folders_say_what_they_passed_over() {
    let plain = parquet(&[Some("deep")], Compression::SNAPPY, false);
    let files = folder(&[
        ("AA/wiki_00", b"one\n"),
        ("AA/wiki_01", b"two\n"),
        ("BB/part.parquet", &plain),
        ("BB/wrong.parquet", b"{\"text\": \"no\"}\n"),
        ("model", &[0; 64]),
        ("LICENSE.md", b"no"),
        ("core.gz", &gzip(&[0; 64])),
        (".git", b"no"),
        ("z.zip", &zip(&[("in.txt", b"three"), ("in.bin", b"no"), ("__MACOSX/._in.txt", b"no")])),
    ]);
    let (texts, counts) = read_paths(&[files.path().to_path_buf()], &ReadOptions::default()).unwrap();
    assert_eq!(texts, ["one", "two", "deep", "three"]);
    let told: Vec<_> = counts.passed_over.iter().map(|line| line.split(" (").collect::<Vec<_>>()).collect();
    let name = |path: &str| files.path().join(path).display().to_string();
    let expected = [
        ["BB/wrong.parquet", "no Parquet but JSON)"],
        ["LICENSE.md", "of no known kind)"],
        ["core.gz", "a binary file)"],
        ["model", "a binary file)"],
        ["z.zip/in.bin", "of no known kind)"],
    ];
    assert_eq!(told, expected.map(|[path, why]| vec![name(path), why.to_owned()]));
}

#[test]
fn utf16_is_read_by_its_mark_wherever_buffers_end() {
    // A pair that straddles a buffer, half a pair, and half a unit at the end.
    for shift in 0..4 {
        let text = format!("{}{}", "x".repeat((1 << 15) - 4 + shift), "\u{1f600}\r\n\u{4e2d}");
        let texts = read("a.txt", &utf16(&text, shift % 2 == 0), &ReadOptions::default()).unwrap();
        assert_eq!(texts.join("\n"), text.replace("\r\n", "\n"), "{shift}");
    }
    let mut broken = utf16("a", true);
    broken.extend([0x3d, 0xd8, b'b', 0, b'c']);
    let files = folder(&[("a.txt", &broken)]);
    let (texts, counts) = read_paths(&[files.path().join("a.txt")], &ReadOptions::default()).unwrap();
    assert_eq!(texts, ["a\u{fffd}b\u{fffd}"]);
    assert_eq!((counts.repairs.utf16, counts.repairs.invalid_utf8), (1, 2));
}

#[test]
fn long_windows_of_zstd_are_read() {
    let mut packer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    packer.long_distance_matching(true).unwrap();
    packer.window_log(30).unwrap();
    for line in 0..2000 {
        writeln!(packer, "line {line}").unwrap();
    }
    let texts = read("a.txt.zst", &packer.finish().unwrap(), &ReadOptions::default()).unwrap();
    assert_eq!(texts.len(), 2000);
}

#[test]
fn texts_have_their_places_in_every_format() {
    let files = folder(&[
        ("a.json", b"[{\"text\": \"one\"}, {\"text\": null}, {\"text\": \"three\"}]"),
        ("a.csv", b"text,n\none,1\n,2\nthree,3\n"),
        ("a.parquet", &parquet(&[Some("one"), None, Some("three")], Compression::SNAPPY, true)),
        ("a.zip", &zip(&[("a.jsonl", b"{\"text\": \"one\"}\n{\"text\": \"\"}\n{\"text\": \"three\"}\n")])),
        ("lines", b"one\n\nthree\n"),
    ]);
    for name in ["a.json", "a.csv", "a.parquet", "a.zip", "lines"] {
        let texts = Texts::open(&files.path().join(name), "text", &FileOptions::default()).unwrap();
        assert_eq!(texts.collect::<wgrad::Result<Vec<_>>>().unwrap(), ["one", "", "three"], "{name}");
    }
    let two = folder(&[("a.zip", &zip(&[("a.txt", b"x"), ("b.txt", b"y")]))]);
    let path: &Path = &two.path().join("a.zip");
    let error = Texts::open(path, "text", &FileOptions::default()).err().unwrap().to_string();
    assert!(error.contains("one file of texts in the archive") && error.contains("b.txt"), "{error}");
}

#[test]
fn members_of_archives_are_named_as_folders_list_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let rows = |word: &str| format!("text,label\n{word} one,yes\n{word} two,no\n");
    let (first, second) = (rows("first"), rows("second"));
    let members: [(&str, &[u8]); 2] = [("in/a.csv", first.as_bytes()), ("b.csv", second.as_bytes())];
    fs::write(path("x.zip"), zip(&members)).unwrap();
    fs::write(path("y.tar"), tar(&members)).unwrap();
    fs::write(path("z.csv"), rows("third")).unwrap();
    let by = Columns {
        text: "text".to_owned(),
        pair: None,
        label: Some("label".to_owned()),
        numbers: false,
        separator: None,
    };
    let plain = FileOptions::default();
    let found = sources(&[folder.path().to_path_buf()], &plain).unwrap().files;
    let texts =
        found.iter().map(|file| Table::read(&file.path, &by, &plain).unwrap().examples[0].text.clone());
    assert_eq!(Vec::from_iter(texts), ["first one", "second one", "first one", "second one", "third one"]);
    let words = path("w.zip");
    let lists = b"{\"tokens\": [\"a\"], \"ner_tags\": [\"O\"]}\n";
    fs::write(&words, zip(&[("w.jsonl", lists)])).unwrap();
    // The first name that is looked for in vain does not end the search.
    let table = Table::read_words(&words.join("w.jsonl"), &WordColumns::default(), &plain).unwrap();
    assert_eq!(table.examples.len(), 1);
    let error = Table::read(&path("x.zip").join("c.csv"), &by, &plain).unwrap_err().to_string();
    assert!(error.contains("c.csv") && error.contains("none of this name"), "{error}");
}
