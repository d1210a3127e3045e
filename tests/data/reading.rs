//! Documents out of files: formats, packing, repairs, bounds (faults 20 to 23).

use std::io::Write;
use std::path::{Path, PathBuf};

use wgrad::data::{Documents, FileOptions, ReadCounts, ReadOptions, Reader};
use wgrad::store::Memory;

pub(super) type Packer = fn(&[u8]) -> Vec<u8>;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

pub(super) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub(super) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut packer = liblzma::write::XzEncoder::new(Vec::new(), 1);
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

pub(super) const PACKERS: [(&str, Packer); 4] = [("gz", gzip), ("bz2", bzip2), ("zst", zstd), ("xz", xz)];

/// The texts of one file, or the message of the error.
fn read_with(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<(Vec<String>, ReadCounts), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read_paths(&[path], options)
}

pub(super) fn read_paths(
    paths: &[PathBuf],
    options: &ReadOptions,
) -> Result<(Vec<String>, ReadCounts), String> {
    let mut reader = Reader::open(paths, options.clone()).map_err(|error| error.to_string())?;
    let texts = reader.by_ref().map(|document| document.map(|document| document.text));
    let texts = texts.collect::<wgrad::Result<Vec<_>>>().map_err(|error| error.to_string())?;
    Ok((texts, reader.counts().clone()))
}

fn read(name: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
    read_with(name, bytes, &ReadOptions::default()).map(|(texts, _)| texts)
}

fn documents(documents: Documents) -> ReadOptions {
    ReadOptions { documents, ..Default::default() }
}

#[test]
fn text_is_cut_into_documents() {
    let text = b"one\ntwo\n\n \nthree\n\nfour";
    let texts = |kind| read_with("a.txt", text, &documents(kind)).unwrap().0;
    assert_eq!(texts(Documents::Line), ["one", "two", "three", "four"]);
    assert_eq!(texts(Documents::BlankLine), ["one\ntwo", "three", "four"]);
    assert_eq!(texts(Documents::File), ["one\ntwo\n\n \nthree\n\nfour"]);
    assert_eq!(read("a.txt", b"").unwrap(), Vec::<String>::new());
    assert_eq!(read("a.txt", b"\n \n\t\n").unwrap(), Vec::<String>::new());
}

#[test]
fn tables_give_their_text_column() {
    let csv = b"id,text,label\n1,\"a, \"\"quoted\"\"\nline\",0\n2,plain,1\n3, ,1\n";
    let (texts, counts) = read_with("a.csv", csv, &ReadOptions::default()).unwrap();
    assert_eq!(texts, ["a, \"quoted\"\nline", "plain"]);
    assert_eq!((counts.documents, counts.blank, counts.files), (2, 1, 1));
    assert_eq!(read("a.tsv", b"text\tlabel\nsay \"no\t1\n").unwrap(), ["say \"no"]);
    let jsonl = b"{\"text\": \"um\\u00e3\", \"n\": [1, {}]}\n\n{\"n\": 2, \"text\": \"dois\"}";
    assert_eq!(read("a.jsonl", jsonl).unwrap(), ["um\u{e3}", "dois"]);
    let options = ReadOptions { text_column: "corpo".to_owned(), ..Default::default() };
    assert_eq!(read_with("a.csv", b"corpo,x\nsim,1\n", &options).unwrap().0, ["sim"]);
}

/// Fault 23.
#[test]
fn broken_tables_name_the_line() {
    let error = read("a.csv", b"id,text\n1,a\n\"2\n2\",b\n3\n").unwrap_err();
    assert!(error.contains("line 5: expected 2 columns, found 1"), "{error}");
    let error = read("a.tsv", b"text\tlabel\na\t0\nb\t0\tc\n").unwrap_err();
    assert!(error.contains("line 3: expected 2 columns, found 3"), "{error}");
    let error = read("a.csv", b"id,body\n1,a\n").unwrap_err();
    assert!(error.contains("line 1: expected a column called `text`, found `id`, `body`"), "{error}");
    let error = read("a.jsonl", b"{\"text\": \"a\"}\n{\"body\": \"b\"}\n").unwrap_err();
    assert!(error.contains("line 2: expected a field called `text`, found `body`"), "{error}");
    let error = read("a.jsonl", b"{\"text\": \"a\"}\n\n{\"text\": 'b'}\n").unwrap_err();
    assert!(error.contains("line 3: expected a JSON object"), "{error}");
    let error = read("a.jsonl", b"{\"text\": [1]}\n").unwrap_err();
    assert!(error.contains("line 1: expected a string in `text`, found an array"), "{error}");
    assert!(read("a.jsonl", "[".repeat(1_000_000).as_bytes()).is_err());
    assert!(read("a.csv", b"").unwrap_err().contains("no columns"));
}

/// Fault 22.
#[test]
fn packed_files_are_read_to_the_end_or_refused() {
    let text: String = (0..20_000).map(|line| format!("line number {line} of a file\n")).collect();
    for (ending, pack) in PACKERS {
        let name = format!("a.txt.{ending}");
        let packed = pack(text.as_bytes());
        assert_eq!(read(&name, &packed).unwrap().len(), 20_000, "{ending}");
        let members = [pack(b"one\ntw"), pack(b""), pack(b"o\nthree\n")].concat();
        assert_eq!(read(&name, &members).unwrap(), ["one", "two", "three"], "{ending}");
        for length in [0, 1, 3, packed.len() / 2, packed.len() - 1] {
            let error = read(&name, &packed[..length]).unwrap_err();
            assert!(error.contains(&name), "{ending}, {length} bytes: {error}");
        }
        let error = read(&name, &packed[..packed.len() / 2]).unwrap_err();
        assert!(error.contains("truncated"), "{ending}: {error}");
        let error = read(&name, b"this was never packed").unwrap_err();
        assert!(error.contains("expected a whole") && error.contains("broken"), "{ending}: {error}");
        let mut second = [pack(b"one\n"), pack(text.as_bytes())].concat();
        second.truncate(second.len() - 20);
        assert!(read(&name, &second).is_err(), "{ending}: the second member is cut");
    }
    assert_eq!(read("a.csv.gz", &gzip(b"text\nx\n")).unwrap(), ["x"]);
}

/// Fault 20.
#[test]
fn bad_bytes_are_put_right_and_counted() {
    let bytes = b"\xef\xbb\xbfone\r\ntwo\x00\rthr\xff\xfee \xe2\x82\n\xef\xbb\xbffour \xf0\x9f\x98";
    let (texts, counts) = read_with("a.txt", bytes, &ReadOptions::default()).unwrap();
    let expected = ["one", "two\u{fffd}", "thr\u{fffd}\u{fffd}e \u{fffd}", "\u{feff}four \u{fffd}"];
    assert_eq!(texts, expected);
    let repairs = counts.repairs;
    assert_eq!((repairs.invalid_utf8, repairs.nul), (4, 1));
    assert_eq!((repairs.byte_order_marks, repairs.carriage_returns), (1, 2));
    let (texts, counts) =
        read_with("a.csv", b"\xef\xbb\xbftext,n\r\n\"a\r\nb\",1\r\n", &ReadOptions::default()).unwrap();
    assert_eq!(texts, ["a\nb"]);
    assert_eq!(counts.repairs.carriage_returns, 3);

    let strict =
        ReadOptions { files: FileOptions { strict: true, ..FileOptions::default() }, ..Default::default() };
    let refused = |bytes: &[u8]| read_with("a.txt", bytes, &strict).unwrap_err();
    assert!(refused(b"one\ntwo\nthr\xffee\n").contains("line 3"));
    assert!(refused(b"one\ntwo\0\n").contains("line 2") && refused(b"a\0").contains("NUL"));
    assert!(refused(b"\xef\xbb\xbfone\n").contains("byte-order mark"));
    assert!(refused(b"one\r\n").contains("carriage return"));
    assert_eq!(read_with("a.txt", "ação\n".as_bytes(), &strict).unwrap().0, ["ação"]);
}

/// Characters and line ends that straddle any buffer.
#[test]
fn buffers_may_end_anywhere() {
    let piece = "é€😀\r\n";
    for shift in 0..piece.len() {
        let text = format!("{}{}", "x".repeat(65_536 - 4 - shift), piece.repeat(3));
        let (texts, counts) = read_with("a.txt", text.as_bytes(), &ReadOptions::default()).unwrap();
        assert!(texts.concat() == text.replace("\r\n", ""), "shifted by {shift}");
        assert_eq!((counts.repairs.invalid_utf8, counts.repairs.carriage_returns), (0, 3));
    }
}

/// Fault 21.
#[test]
fn long_documents_are_split_at_white_space() {
    let options = ReadOptions { document_limit: 1000, ..Default::default() };
    let words: String = (0..100_000).map(|number| format!("word{number} ")).collect();
    for (name, text) in [
        ("a.txt", words.clone()),
        ("a.csv", format!("text\n{words}\n")),
        ("a.jsonl", format!("{{\"text\": \"{words}\"}}\n")),
    ] {
        let (texts, counts) = read_with(name, text.as_bytes(), &options).unwrap();
        assert!(texts.join(" ") == words.trim_end(), "{name}");
        assert!(texts.iter().all(|text| text.len() <= 1000), "{name}");
        assert_eq!(counts.splits as usize, texts.len() - 1, "{name}");
    }
    // Nowhere to split: between characters.
    let marks = format!("a{}", "\u{301}".repeat(1_000_000));
    let (texts, _) = read_with("a.txt", marks.as_bytes(), &options).unwrap();
    assert!(texts.concat() == marks);
    assert!(texts.iter().all(|text| text.len() <= 1000));
    for kind in [Documents::BlankLine, Documents::File] {
        let lines = "some words here\n".repeat(10_000);
        let options = ReadOptions { document_limit: 1000, ..documents(kind) };
        let (texts, _) = read_with("a.txt", lines.as_bytes(), &options).unwrap();
        let (joined, expected) = (texts.join(" ").replace('\n', " "), lines.trim_end().replace('\n', " "));
        let differs = joined.bytes().zip(expected.bytes()).position(|(left, right)| left != right);
        assert_eq!((joined.len(), differs), (expected.len(), None), "{kind:?}");
    }
}

/// Fault 21: the reader holds a document and a few buffers, never the line.
#[test]
fn a_line_of_100_megabytes_is_read_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt.zst");
    let mut packer = zstd::stream::write::Encoder::new(std::fs::File::create(&path).unwrap(), 1).unwrap();
    let block = "several words without an end ".repeat(1000);
    let mut written = 0;
    while written < 100_000_000 {
        packer.write_all(block.as_bytes()).unwrap();
        written += block.len();
    }
    packer.finish().unwrap();
    let mut reader = Reader::open(&[path], ReadOptions::default()).unwrap();
    let (mut total, mut longest) = (0, 0);
    for document in reader.by_ref() {
        let text = document.unwrap().text;
        total += text.len() + 1;
        longest = longest.max(text.len());
    }
    assert_eq!(total, written);
    assert!(longest <= 1 << 20);
    assert_eq!(reader.counts().splits, reader.counts().documents - 1);
}

#[test]
fn folders_are_walked_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(place("b/deep")).unwrap();
    for (name, text) in [
        ("c.txt", "three"),
        ("a.txt", "one"),
        ("b/deep/z.csv", "text\ntwo\n"),
        ("notes.pdf", "no"),
        (".hidden.txt", "no"),
    ] {
        std::fs::write(place(name), text).unwrap();
    }
    let options = ReadOptions::default();
    let (texts, counts) = read_paths(&[folder.path().to_path_buf()], &options).unwrap();
    assert_eq!((texts, counts.files), (vec!["one".to_owned(), "two".to_owned(), "three".to_owned()], 3));
    // What is passed over is said, but for what is hidden.
    let [passed_over] = counts.passed_over.as_slice() else { panic!("{:?}", counts.passed_over) };
    assert!(passed_over.ends_with("notes.pdf (of no known kind)"), "{passed_over}");
    let (texts, _) = read_paths(&[place("c.txt"), place("b")], &options).unwrap();
    assert_eq!(texts, ["three", "two"]);
    assert!(
        read_paths(&[place("notes.pdf")], &options)
            .unwrap_err()
            .contains(".txt, .jsonl, .json, .csv, .tsv or .parquet")
    );
    assert!(read_paths(&[place("missing.txt")], &options).unwrap_err().contains("missing.txt"));
    std::fs::remove_file(place("b/deep/z.csv")).unwrap();
    assert!(read_paths(&[place("b")], &options).unwrap_err().contains("found none"));
    assert!(read_paths(&[], &options).is_err());
    assert!(Reader::open(&[Path::new("-").to_path_buf()], options).unwrap().total_bytes().is_none());
}

#[test]
fn nothing_to_read_is_told() {
    let told = Reader::open_in(&Memory::default(), &[], ReadOptions::default()).err().unwrap().to_string();
    assert!(told.contains("expected at least one file to read, found none"), "{told}");
}
