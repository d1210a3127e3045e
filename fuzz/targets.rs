//! What is read of changed files, and from which sound ones they are made.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use wgrad::data::files::is_archive;
use wgrad::data::task::{Columns, Example, Table, Task, WordColumns, encode};
use wgrad::data::{Dataset, FileOptions, ReadOptions, Reader, Split, Texts};
use wgrad::files::{ModelFolder, RunFolder, SentenceFolder, Weights};
use wgrad::store::{CHECKSUMS_FILE, Memory};
use wgrad::text::{Template, Tokenizer};

use super::mutate::Shape;

/// A sound file from which others are made.
pub(crate) struct Seed {
    /// Its path within the folder that it is read with, or its name alone.
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) shape: Shape,
    /// The folder that it is read with.
    pub(crate) folder: Arc<Vec<(PathBuf, Vec<u8>)>>,
}

/// What is fuzzed.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) seeds: fn() -> Vec<Seed>,
    /// Reads a changed file; whether all of it was taken. `scratch` is a folder for those that are read from a disk.
    pub(crate) read: fn(&Seed, &[u8], &Path) -> bool,
}

/// All of them.
pub(crate) const TARGETS: [Target; 11] = [
    Target { name: "safetensors", seeds: safetensors, read: weights },
    Target { name: "pickle", seeds: pickles, read: weights },
    Target { name: "config", seeds: configs, read: model },
    Target { name: "sentence", seeds: sentences, read: embedder },
    Target { name: "tokenizer", seeds: tokenizers, read: tokenizer },
    Target { name: "data", seeds: data, read: dataset },
    Target { name: "checkpoint", seeds: checkpoints, read: checkpoint },
    Target { name: "rows", seeds: rows, read: table },
    Target { name: "json", seeds: json, read: documents },
    Target { name: "parquet", seeds: parquets, read: documents },
    Target { name: "packed", seeds: packed, read: documents },
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The files of a folder by their paths within it.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => walk(&entry, root, found),
                false => {
                    found.push((entry.strip_prefix(root).unwrap().to_owned(), fs::read(&entry).unwrap()))
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

/// The files of a folder for which `shape` says how they are changed.
fn seeds_of(folder: &Path, shape: fn(&str) -> Option<Shape>) -> Vec<Seed> {
    let all = Arc::new(files(folder));
    let of = |(path, bytes): &(PathBuf, Vec<u8>)| {
        let shape = shape(path.to_str()?)?;
        Some(Seed { path: path.clone(), bytes: bytes.clone(), shape, folder: all.clone() })
    };
    all.iter().filter_map(of).collect()
}

fn single(path: &Path, shape: Shape) -> Seed {
    let name = path.file_name().unwrap().into();
    Seed { path: name, bytes: fs::read(path).unwrap(), shape, folder: Arc::default() }
}

fn made(name: &str, bytes: impl Into<Vec<u8>>, shape: Shape) -> Seed {
    Seed { path: name.into(), bytes: bytes.into(), shape, folder: Arc::default() }
}

/// The folder of a seed with the changed file.
fn stored(seed: &Seed, bytes: &[u8]) -> Memory {
    let store = Memory::default();
    for (path, sound) in seed.folder.iter() {
        let bytes = if *path == seed.path { bytes } else { sound };
        store.insert(Path::new("folder").join(path), bytes.to_vec());
    }
    store
}

fn families() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(golden("families"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

fn safetensors() -> Vec<Seed> {
    ["pickles/model.safetensors", "pickles/views.safetensors"]
        .map(|name| single(&golden(name), Shape::Headed))
        .into()
}

fn pickles() -> Vec<Seed> {
    ["zip", "legacy", "protocol-4", "parameters", "nested", "views", "views-legacy"]
        .map(|name| single(&golden("pickles").join(name).with_extension("bin"), Shape::Bytes))
        .into()
}

fn weights(_: &Seed, bytes: &[u8], _: &Path) -> bool {
    let Ok(weights) = Weights::from_bytes(bytes.to_vec(), "model") else { return false };
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    names.iter().all(|name| weights.f32(name).is_ok())
}

fn configs() -> Vec<Seed> {
    let shape = |path: &str| (path == "config.json").then_some(Shape::Json);
    families().iter().flat_map(|folder| seeds_of(folder, shape)).collect()
}

fn model(seed: &Seed, bytes: &[u8], _: &Path) -> bool {
    let Ok(folder) = ModelFolder::load_on(&stored(seed, bytes), "folder") else { return false };
    let names: Vec<String> = folder.weights.names().map(str::to_owned).collect();
    names.iter().all(|name| folder.weights.f32(name).is_ok())
}

fn sentences() -> Vec<Seed> {
    seeds_of(&golden("sentence_transformers"), |path| path.ends_with(".json").then_some(Shape::Json))
}

fn embedder(seed: &Seed, bytes: &[u8], _: &Path) -> bool {
    SentenceFolder::load_on(&stored(seed, bytes), "folder").is_ok()
}

fn tokenizers() -> Vec<Seed> {
    let scripts =
        ["byte_level", "modern", "unigram", "word_piece"].map(|name| golden("twenty_scripts").join(name));
    let folders = scripts.into_iter().chain(families());
    folders.map(|folder| single(&folder.join("tokenizer.json"), Shape::Json)).collect()
}

const TEXT: &str =
    "The quick caf\u{e9}, 1,000 \u{4e2d}\u{6587}\n[MASK] \u{1f600}  e\u{301}\u{200d}x ab##c </s>";

fn tokenizer(_: &Seed, bytes: &[u8], _: &Path) -> bool {
    let Ok(tokenizer) = Tokenizer::from_bytes(bytes) else { return false };
    let Ok(ids) = tokenizer.encode_with_specials(TEXT) else { return false };
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()), "an id that no table has");
    if let Ok(pieces) = tokenizer.encode_with_words(TEXT) {
        assert!(pieces.iter().all(|piece| piece.bytes.end <= TEXT.len()), "a place past the text");
    }
    if let Ok(template) = Template::of(&tokenizer) {
        // What does not fit is an error.
        _ = encode(&tokenizer, &template, TEXT, Some(TEXT), 16);
    }
    tokenizer.decode(&ids, false).is_ok() && tokenizer.encode_pair(TEXT, "a").is_ok()
}

fn data() -> Vec<Seed> {
    seeds_of(&golden("earlier/data"), |path| match path {
        "tokenizer.json" => None,
        path if path.ends_with(".json") => Some(Shape::Json),
        _ => Some(Shape::Bytes),
    })
}

fn dataset(seed: &Seed, bytes: &[u8], _: &Path) -> bool {
    let Ok(data) = Dataset::open_on(&stored(seed, bytes), &["folder"]) else { return false };
    for split in [Split::Train, Split::HeldOut] {
        for index in 0..data.len(split).min(8) {
            let Ok(ids) = data.sequence(split, index) else { return false };
            assert!(ids.len() <= data.seq_len(), "a sequence that is too long");
            assert!(ids.iter().all(|&id| (id as usize) < data.vocab_size()), "an id that no table has");
        }
    }
    true
}

fn checkpoints() -> Vec<Seed> {
    seeds_of(&golden("earlier/run"), |path| match path.rsplit_once('/')?.1 {
        "state.json" | "checksums.json" => Some(Shape::Json),
        "model.safetensors" | "optimizer.safetensors" => Some(Shape::Headed),
        _ => None,
    })
}

fn checkpoint(seed: &Seed, bytes: &[u8], _: &Path) -> bool {
    let store = stored(seed, bytes);
    // Checksums would hide what is behind them: they are made anew.
    if !seed.path.ends_with(CHECKSUMS_FILE) {
        let path = Path::new("folder").join(&seed.path).with_file_name(CHECKSUMS_FILE);
        let name = seed.path.file_name().unwrap().to_str().unwrap();
        store.edit(path, |sums| {
            let mut value: serde_json::Value = serde_json::from_slice(sums).unwrap();
            value["files"][name] =
                serde_json::json!({"bytes": bytes.len(), "crc32": format!("{:08x}", crc32fast::hash(bytes))});
            *sums = value.to_string().into_bytes();
        });
    }
    let Ok(run) = RunFolder::open(Arc::new(store), "folder") else { return false };
    let Ok(Some(checkpoint)) = run.latest() else { return false };
    let all = [&checkpoint.model, &checkpoint.optimizer];
    all.iter().all(|weights| weights.names().all(|name| weights.f32(name).is_ok()))
}

fn rows() -> Vec<Seed> {
    let tsv = "sentence\tlabel\nhide new secretions\t0\ncontains no wit\t1\nthat loves its characters\t1\nr\u{e9}mains\t0\n";
    let csv = "text,label\n\"a, b\",x\n\"two\nlines\",y\nlast,x\nmore,y\n";
    let conll = "-DOCSTART- -X- O\n\nAda NNP B-PER\nLovelace NNP I-PER\nlived VBD O\n\nLondon NNP B-LOC\n";
    let lists = "{\"tokens\": [\"Ada\", \"lived\"], \"tags\": [\"B-PER\", \"O\"]}\n{\"tokens\": [\"x\"], \"tags\": [\"O\"]}\n";
    [("train.tsv", tsv), ("rows.csv", csv), ("words.conll", conll), ("words.jsonl", lists)]
        .map(|(name, text)| made(name, text, Shape::Rows))
        .into()
}

fn table(seed: &Seed, bytes: &[u8], scratch: &Path) -> bool {
    let path = scratch.join(&seed.path);
    fs::write(&path, bytes).unwrap();
    let options = FileOptions { lenient: true, ..FileOptions::default() };
    let read = match seed.path.to_str().unwrap() {
        "train.tsv" => Table::read_glue(Task::Sst2, &path, &options),
        "rows.csv" => Table::read(
            &path,
            &Columns {
                text: "text".to_owned(),
                pair: None,
                label: Some("label".to_owned()),
                numbers: false,
                separator: None,
            },
            &options,
        ),
        _ => Table::read_words(&path, &WordColumns::default(), &options),
    };
    let Ok(table) = read else { return false };
    let tagged = !matches!(seed.path.to_str(), Some("train.tsv" | "rows.csv"));
    let whole = |example: &Example| !tagged || example.words().len() == example.labels().len();
    assert!(table.examples.iter().all(whole), "a word without a tag");
    true
}

fn json() -> Vec<Seed> {
    let lines = "{\"text\": \"one \\u00e9\", \"id\": 1}\n{\"id\": 2, \"text\": \"two\", \"more\": {\"a\": [1, 2]}}\n{\"text\": null}\n";
    let spread = "[\n  {\"text\": \"a\", \"x\": NaN},\n  {\"text\": \"b]}\"}\n]\n";
    [
        ("rows.jsonl", lines),
        ("rows.json", spread),
        ("rows.csv", "id,text\n1,\"a \"\"b\"\"\"\n2,c\n"),
        ("rows.txt", "a\r\n\u{feff}b\n\nc"),
    ]
    .map(|(name, text)| made(name, text, Shape::Rows))
    .into()
}

/// Reads the documents of a file, and its texts as `embed` takes them.
fn documents(seed: &Seed, bytes: &[u8], scratch: &Path) -> bool {
    let path = scratch.join(&seed.path);
    fs::write(&path, bytes).unwrap();
    let options = ReadOptions {
        files: FileOptions { lenient: true, ..FileOptions::default() },
        ..ReadOptions::default()
    };
    let Ok(reader) = Reader::open(std::slice::from_ref(&path), options.clone()) else { return false };
    for document in reader {
        let Ok(document) = document else { return false };
        assert!(!document.text.trim().is_empty() && document.text.len() <= options.document_limit);
    }
    // An archive of several files has no one list of texts.
    if is_archive(&path) {
        return true;
    }
    Texts::open(&path, "text", &options.files).is_ok_and(|texts| texts.into_iter().all(|text| text.is_ok()))
}

fn parquets() -> Vec<Seed> {
    use parquet::basic::Compression::{GZIP, SNAPPY, UNCOMPRESSED, ZSTD};
    let schema = "message schema { OPTIONAL BYTE_ARRAY text (UTF8); REQUIRED INT64 id; }";
    let packings = [UNCOMPRESSED, SNAPPY, GZIP(Default::default()), ZSTD(Default::default())];
    let file = |packing, dictionary| {
        let properties =
            WriterProperties::builder().set_compression(packing).set_dictionary_enabled(dictionary);
        let mut bytes = Vec::new();
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build())).unwrap();
        let mut rows = writer.next_row_group().unwrap();
        let texts: Vec<ByteArray> = (0..20).map(|row| format!("text {}", row % 7).as_str().into()).collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&[1; 20]), None).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&(0..20).collect::<Vec<_>>(), None, None).unwrap();
        column.close().unwrap();
        rows.close().unwrap();
        writer.close().unwrap();
        bytes
    };
    packings
        .into_iter()
        .flat_map(|packing| {
            [true, false].map(|dictionary| made("rows.parquet", file(packing, dictionary), Shape::Bytes))
        })
        .collect()
}

fn packed() -> Vec<Seed> {
    let text = "one line\ntwo lines\n".repeat(50);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(text.as_bytes()).unwrap();
    let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip.write_all(text.as_bytes()).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    let long = format!("{}/rows.txt", "folder".repeat(30));
    for name in ["rows.txt", &long] {
        tar.append_data(&mut header.clone(), name, text.as_bytes()).unwrap();
    }
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for name in ["rows.txt", "folder/rows.jsonl"] {
        zip.start_file(name, stored).unwrap();
        zip.write_all(b"{\"text\": \"a line\"}\n").unwrap();
    }
    [
        ("rows.txt.gz", gzip.finish().unwrap()),
        ("rows.txt.xz", xz.finish().unwrap()),
        ("rows.txt.bz2", bzip.finish().unwrap()),
        ("rows.txt.zst", zstd::encode_all(text.as_bytes(), 1).unwrap()),
        ("rows.tar", tar.into_inner().unwrap()),
        ("rows.zip", zip.finish().unwrap().into_inner()),
    ]
    .map(|(name, bytes)| made(name, bytes, Shape::Bytes))
    .into()
}
