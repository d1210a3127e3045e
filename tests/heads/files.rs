//! Words with tags, and texts with several labels, as files have them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use wgrad::data::FileOptions;
use wgrad::data::task::{Columns, Labels, Table, Task, WordColumns, encode_words, joined_words};
use wgrad::text::{Template, Tokenizer};
use wgrad::train::finetune::columns;

use crate::common::folder::tokenizer;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Two texts of words whose tags are numbers, and what the file says `about` its columns.
    fn parquet(&self, name: &str, about: &str) -> PathBuf {
        let about = vec![KeyValue::new("huggingface".to_owned(), about.to_owned())];
        let properties = WriterProperties::builder().set_key_value_metadata(Some(about));
        self.lists(name, properties, &[&[("EU", 1), ("rejects", 0)], &[("Peter", 2)]])
    }

    /// Texts of words with tags, in two columns of lists.
    fn lists(&self, name: &str, properties: WriterPropertiesBuilder, texts: &[&[(&str, i64)]]) -> PathBuf {
        let schema = "message texts { required group tokens (LIST) { repeated group list { required binary element (UTF8); } }
                      required group ner_tags (LIST) { repeated group list { required int64 element; } } }";
        let path = self.0.path().join(name);
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let file = fs::File::create(&path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build())).unwrap();
        let mut rows = writer.next_row_group().unwrap();
        let there = vec![1i16; texts.iter().map(|text| text.len()).sum()];
        let begun: Vec<i16> =
            texts.iter().flat_map(|text| (0..text.len()).map(|at| i16::from(at > 0))).collect();
        let (words, tags): (Vec<_>, Vec<_>) = texts.iter().copied().flatten().copied().unzip();
        let words: Vec<_> = words.into_iter().map(|word| ByteArray::from(word.as_bytes().to_vec())).collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&words, Some(&there), Some(&begun)).unwrap();
        column.close().unwrap();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&tags, Some(&there), Some(&begun)).unwrap();
        column.close().unwrap();
        rows.close().unwrap();
        writer.close().unwrap();
        path
    }
}

type Tagged = Vec<(u64, Vec<String>, Vec<String>)>;

fn tagged(table: &Table) -> Tagged {
    table.examples.iter().map(|example| (example.line, example.words(), example.labels())).collect()
}

fn expected(texts: &[(u64, &str, &str)]) -> Tagged {
    let split = |text: &str| text.split(' ').map(str::to_owned).collect();
    texts.iter().map(|(line, words, tags)| (*line, split(words), split(tags))).collect()
}

fn options() -> FileOptions {
    FileOptions::default()
}

/// The reader looks at the header of a list's next page before it goes to the other column.
#[test]
fn lists_of_many_pages_are_read() {
    let files = Files::new();
    let texts: [&[(&str, i64)]; 3] =
        [&[("EU", 1), ("rejects", 0)], &[("Peter", 2)], &[("a", 0), ("b", 1), ("c", 2)]];
    let all: Vec<_> = (0..6000).map(|number| texts[number % 3]).collect();
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for packing in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::GZIP(Default::default())]
        {
            for dictionary in [true, false] {
                let properties = WriterProperties::builder()
                    .set_writer_version(version)
                    .set_compression(packing)
                    .set_dictionary_enabled(dictionary)
                    .set_write_batch_size(100)
                    .set_data_page_row_count_limit(500)
                    .set_data_page_size_limit(2000);
                let path = files.lists("many.parquet", properties, &all);
                let columns = WordColumns {
                    names: ["O", "B", "I"].map(str::to_owned).into(),
                    ..WordColumns::default()
                };
                let table = Table::read_words(&path, &columns, &options()).unwrap();
                let found = tagged(&table);
                assert_eq!((found.len(), table.lost.rows), (6000, 0), "{version:?} {packing} {dictionary}");
                for (at, (line, words, tags)) in found.iter().enumerate() {
                    let [expected, names] =
                        [["EU rejects", "B O"], ["Peter", "I"], ["a b c", "O B I"]][at % 3];
                    assert_eq!(
                        (*line, words.join(" "), tags.join(" ")),
                        (at as u64 + 1, expected.into(), names.into())
                    );
                }
            }
        }
    }
}

#[test]
fn columns_of_conll_are_read() {
    let files = Files::new();
    let conll = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\nPeter NNP B-NP B-PER\n\n-DOCSTART- -X- -X- O\n\
                 Blackburn NNP I-NP I-PER\r\n";
    let all = expected(&[(3, "EU rejects", "B-ORG O"), (7, "Peter", "B-PER"), (10, "Blackburn", "I-PER")]);
    for name in ["train.conll", "train.txt", "train.bio"] {
        let table =
            Table::read_words(&files.write(name, conll), &WordColumns::default(), &options()).unwrap();
        assert_eq!(tagged(&table), all, "{name}");
        assert_eq!(table.lost.rows, 0);
    }
    // Tabs divide columns where there are any, so that a word may hold a blank.
    let tabs = "New York\tB-LOC\nis\tO\n\nbig\tO";
    let path = files.write("train.tsv", tabs);
    let found = Table::read_words(&path, &WordColumns::default(), &options()).unwrap();
    assert_eq!(tagged(&found)[0].1, ["New York", "is"]);
    assert_eq!(found.examples.len(), 2);
    // Other columns by their numbers; columns have no other names.
    let path = files.write("pos.txt", "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n");
    let numbered = |words: &str, tags: &str| WordColumns {
        words: words.to_owned(),
        tags: vec![tags.to_owned()],
        ..WordColumns::default()
    };
    let found = Table::read_words(&path, &numbered("tokens", "2"), &options()).unwrap();
    assert_eq!(tagged(&found), expected(&[(1, "EU rejects", "NNP VBZ")]));
    let found = Table::read_words(&path, &numbered("2", "4"), &options()).unwrap();
    assert_eq!(tagged(&found), expected(&[(1, "NNP VBZ", "B-ORG O")]));
    for (words, tags, field) in [("tokens", "pos", "label-column"), ("word", "4", "text-column")] {
        let error = Table::read_words(&path, &numbered(words, tags), &options()).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains("the number of a column"), "{error}");
    }
    // A line of names is none of a text.
    let path = files.write("named.tsv", "Token\tTag\nEU\tB-ORG\n");
    let found = Table::read_words(&path, &WordColumns::default(), &options()).unwrap();
    assert_eq!(tagged(&found), expected(&[(2, "EU", "B-ORG")]));
    // Tags that are numbers have names by an option.
    let path = files.write("numbers.txt", "a 0\nb 2\n");
    let names = WordColumns { names: ["O", "B-X", "I-X"].map(str::to_owned).to_vec(), ..Default::default() };
    let found = Table::read_words(&path, &names, &options()).unwrap();
    assert_eq!(tagged(&found)[0].2, ["O", "I-X"]);
    let named = Labels::of_lists(&found, 2).unwrap();
    assert_eq!(named.names(), ["I-X", "O"]);
    let found = Table::read_words(&path, &WordColumns::default(), &options()).unwrap();
    assert_eq!(Labels::of_lists(&found, 2).unwrap().names(), ["0", "2"]);
}

#[test]
fn lists_are_read_from_json_csv_and_parquet() {
    let files = Files::new();
    let all = expected(&[(1, "EU rejects", "B-ORG O"), (2, "Peter", "B-PER")]);
    let json = "{\"id\": 1, \"tokens\": [\"EU\", \"rejects\"], \"ner_tags\": [\"B-ORG\", \"O\"]}\n\
                {\"id\": 2, \"tokens\": [\"Peter\"], \"ner_tags\": [\"B-PER\"]}\n";
    let read = |path: &PathBuf, columns: &WordColumns| Table::read_words(path, columns, &options());
    let path = files.write("a.jsonl", json);
    assert_eq!(tagged(&read(&path, &WordColumns::default()).unwrap()), all);
    let path = files.write("b.jsonl", &json.replace("ner_tags", "tags").replace("tokens", "words"));
    let other = WordColumns { words: "words".into(), ..WordColumns::default() };
    assert_eq!(tagged(&read(&path, &other).unwrap()), all);
    let path = files.write(
        "c.jsonl",
        "{\"tokens\": [\"EU\", \"rejects\"], \"tags\": [1, 0]}\n{\"tokens\": [\"Peter\"], \"tags\": [2]}",
    );
    let names = ["O", "B-ORG", "B-PER"].map(str::to_owned).to_vec();
    let named = WordColumns { names, ..WordColumns::default() };
    assert_eq!(tagged(&read(&path, &named).unwrap()), all);
    let csv = "tokens,tags\n\"[\"\"EU\"\", \"\"rejects\"\"]\",\"[\"\"B-ORG\"\", \"\"O\"\"]\"\n\"[\"\"Peter\"\"]\",\"[\"\"B-PER\"\"]\"\n";
    let found = tagged(&read(&files.write("d.csv", csv), &WordColumns::default()).unwrap());
    assert_eq!(
        found.iter().map(|text| &text.1).collect::<Vec<_>>(),
        all.iter().map(|text| &text.1).collect::<Vec<_>>()
    );

    // What the tags are called, as Hugging Face's `datasets` writes it.
    let about = r#"{"info": {"features": {"tokens": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
                   "ner_tags": {"feature": {"names": ["O", "B-ORG", "B-PER"], "_type": "ClassLabel"}, "_type": "List"}}}}"#;
    let path = files.parquet("e.parquet", about);
    assert_eq!(tagged(&read(&path, &named).unwrap()), all);
    assert_eq!(tagged(&read(&path, &WordColumns::default()).unwrap()), all);
    let names = ["nothing", "ORG", "PER"].map(str::to_owned).to_vec();
    let own = read(&path, &WordColumns { names, ..WordColumns::default() }).unwrap();
    assert_eq!(tagged(&own), expected(&[(1, "EU rejects", "ORG nothing"), (2, "Peter", "PER")]));
    // Elsewhere a list is no text.
    let text = columns(Task::Classify, "tokens", None, Some("ner_tags"));
    let error = Table::read(&path, &text, &options()).unwrap_err().to_string();
    assert!(error.contains("a list"), "{error}");
}

#[test]
fn names_of_tags_are_found_wherever_they_may_stand() {
    let files = Files::new();
    let found = |about: &str| {
        let path = files.parquet("a.parquet", about);
        tagged(&Table::read_words(&path, &WordColumns::default(), &options()).unwrap())
    };
    let numbers = expected(&[(1, "EU rejects", "1 0"), (2, "Peter", "2")]);
    let names = expected(&[(1, "EU rejects", "B O"), (2, "Peter", "C")]);
    // What another program keeps under the name is not what is looked for.
    for other in
        [r#"{"info": "none"}"#, "[1]", "1", r#"{"info": [1]}"#, r#"{"info": {"features": [3]}}"#, "{"]
    {
        assert_eq!(found(other), numbers, "{other}");
    }
    let class = r#"{"names": ["O", "B", "C"], "_type": "ClassLabel"}"#;
    let text = r#"{"dtype": "string", "_type": "Value"}"#;
    for list in ["List", "LargeList", "Sequence"] {
        let list = format!(r#"{{"feature": {class}, "_type": "{list}"}}"#);
        let told = |features: &str| format!(r#"{{"info": {{"features": {{{features}}}}}}}"#);
        assert_eq!(found(&told(&format!(r#""ner_tags": {list}"#))), names, "{list}");
        // Another column may be called as the part of a list that says how its items are.
        assert_eq!(found(&told(&format!(r#""feature": {text}, "ner_tags": {list}"#))), names, "{list}");
    }
    assert_eq!(found(&format!(r#"{{"info": {{"features": {{"ner_tags": [{class}]}}}}}}"#)), names);
}

#[test]
fn numbers_of_one_file_are_not_mixed_with_names_of_another() {
    let files = Files::new();
    let about =
        r#"{"info": {"features": {"ner_tags": [{"names": ["O", "B", "C"], "_type": "ClassLabel"}]}}}"#;
    let [named, bare] = [("a.parquet", about), ("b.parquet", "{}")].map(|(name, about)| {
        let path = files.parquet(name, about);
        move |columns: &WordColumns| Table::read_words(&path, columns, &options()).unwrap()
    });
    let unknown = WordColumns::default();
    for mixed in
        [joined_words(named(&unknown), bare(&unknown)), joined_words(bare(&unknown), named(&unknown))]
    {
        let error = mixed.unwrap_err().to_string();
        assert!(error.contains("b.parquet: ") && error.contains("--tag-names"), "{error}");
    }
    let names = ["O", "X", "Y"].map(str::to_owned).to_vec();
    let known = WordColumns { names, ..WordColumns::default() };
    for table in [
        joined_words(named(&known), bare(&known)),
        joined_words(named(&unknown), named(&unknown)),
        joined_words(bare(&unknown), bare(&unknown)),
    ] {
        assert_eq!(table.unwrap().examples.len(), 4);
    }
}

#[test]
fn numbers_and_names_in_one_file_are_refused_with_their_line() {
    let files = Files::new();
    let numbers = ["O", "B-X"].map(str::to_owned).to_vec();
    for (name, text, line, found) in [
        ("a.txt", "a O\nb B-X\n\nc O\nd 1\n", 5, "1"),
        ("b.conll", "word tag\na 0\nb 1\nc B-X\n", 4, "B-X"),
        (
            "c.jsonl",
            "{\"tokens\": [\"a\"], \"tags\": [0]}\n{\"tokens\": [\"b\", \"c\"], \"tags\": [1, \"B-X\"]}\n",
            2,
            "B-X",
        ),
        ("d.csv", "tokens,tags\n\"[\"\"a\"\"]\",\"[\"\"O\"\"]\"\n\"[\"\"b\"\"]\",\"[1]\"\n", 3, "1"),
    ] {
        let path = files.write(name, text);
        let error = Table::read_words(&path, &WordColumns::default(), &options()).unwrap_err().to_string();
        let told = [format!("{name}, line {line}:"), format!("found `{found}`"), "--tag-names".to_owned()];
        assert!(told.iter().all(|told| error.contains(told)), "{error}");
        // Where it is said what the numbers are called, both are names.
        let known = WordColumns { names: numbers.clone(), ..WordColumns::default() };
        let table = Table::read_words(&path, &known, &options()).unwrap();
        assert!(table.examples.iter().flat_map(|example| example.labels()).all(|tag| numbers.contains(&tag)));
    }
}

#[test]
fn broken_texts_are_left_out_by_the_rules_of_rows() {
    let files = Files::new();
    let good = "{\"tokens\": [\"a\"], \"tags\": [\"O\"]}\n";
    let lenient = FileOptions { lenient: true, ..options() };
    let strict = FileOptions { strict: true, ..options() };
    let default = WordColumns::default();
    for (bad, complaint) in [
        ("{\"tokens\": [\"a\", \"b\"], \"tags\": [\"O\"]}", "1 tags for 2 words"),
        ("{\"tokens\": [], \"tags\": []}", "expected words"),
        ("{\"tokens\": [\" \"], \"tags\": [\"O\"]}", "expected words"),
        ("{\"tokens\": \"a\", \"tags\": [\"O\"]}", "a list of texts or numbers"),
        ("{\"tokens\": [\"a\"], \"tags\": [null]}", "a list of texts or numbers"),
        ("{\"tokens\": [\"a\"], \"tags\": [\"\"]}", "a tag for each word"),
    ] {
        let path = files.write("a.jsonl", &format!("{good}{good}{bad}\n{good}"));
        let error = Table::read_words(&path, &default, &options()).unwrap_err().to_string();
        assert!(
            error.contains(complaint) && error.contains("line 3") && error.contains("--lenient"),
            "{error}"
        );
        let error = Table::read_words(&path, &default, &strict).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
        let table = Table::read_words(&path, &default, &lenient).unwrap();
        assert_eq!((table.examples.len(), table.lost.rows), (3, 1));
        // One of many is left out and told.
        let path = files.write("b.jsonl", &format!("{}{bad}\n", good.repeat(120)));
        let table = Table::read_words(&path, &default, &options()).unwrap();
        assert_eq!((table.examples.len(), table.lost.rows), (120, 1));
    }
    // A text of columns is left out with its broken line, whichever that is.
    for bad in ["alone", "a b c"] {
        let path = files.write("c.txt", &format!("a O\nb O\n\na B-X\n{bad}\nb O\n\nb O\n{bad}"));
        let table = Table::read_words(&path, &default, &lenient).unwrap();
        assert_eq!(tagged(&table), expected(&[(1, "a b", "O O")]));
        assert_eq!(table.lost.rows, 2);
        let error = Table::read_words(&path, &default, &strict).unwrap_err().to_string();
        assert!(error.contains("line 5") && error.contains("a word and its tag in 2 columns"), "{error}");
    }
    // What counts is how many texts are lost, not how many lines: here 2 of 102, with 40 lines each.
    let good = format!("{}\n", "a O\n".repeat(40));
    let broken = good.replacen("a O", "alone", 1);
    let path = files.write("many.txt", &format!("{}{broken}{broken}", good.repeat(100)));
    let error = Table::read_words(&path, &default, &options()).unwrap_err().to_string();
    assert!(error.contains("2 of 102 rows"), "{error}");
    let path = files.write("few.txt", &format!("{}{broken}", good.repeat(100)));
    let table = Table::read_words(&path, &default, &options()).unwrap();
    assert_eq!((table.examples.len(), table.lost.rows), (100, 1));
    let path = files.write("d.txt", "a 7\n");
    let named = WordColumns { names: vec!["O".into()], ..default.clone() };
    let error = Table::read_words(&path, &named, &strict).unwrap_err().to_string();
    assert!(error.contains("a number below the 1 names of tags"), "{error}");
    let path = files.write("e.txt", "\n-DOCSTART-\n\n");
    let error = Table::read_words(&path, &default, &lenient).unwrap_err().to_string();
    assert!(error.contains("at least one text of words"), "{error}");
    // The columns that are looked for first are told of.
    let path = files.write("f.jsonl", "{\"tokens\": [\"a\"], \"labels\": [\"O\"]}");
    let error = Table::read_words(&path, &default, &options()).unwrap_err().to_string();
    assert!(error.contains("`tags`") && error.contains("`labels`"), "{error}");
    // A tag that training did not have.
    let known = Labels::of_model(&["O".to_owned(), "B-X".to_owned()], Task::Tokens);
    let path = files.write("g.txt", "a O\n\nb B-Y\n");
    let error =
        known.lists(&Table::read_words(&path, &default, &options()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("`B-X`") && error.contains("`B-Y`"), "{error}");
}

#[test]
fn several_labels_stand_in_one_cell() {
    let files = Files::new();
    let labels =
        |table: &Table| table.examples.iter().map(wgrad::data::task::Example::labels).collect::<Vec<_>>();
    let several = columns(Task::MultiLabel, "text", None, Some("label"));
    let path = files.write("a.csv", "text,label\none,\"b, a\"\ntwo,\nthree,\"[\"\"a, c\"\"]\"\n");
    let table = Table::read(&path, &several, &options()).unwrap();
    assert_eq!(labels(&table), [vec!["b", "a"], vec![], vec!["a, c"]]);
    let names = Labels::of_lists(&table, 1).unwrap();
    assert_eq!(names.names(), ["a", "a, c", "b"]);
    assert_eq!(names.lists(&table).unwrap(), [vec![2, 0], vec![], vec![1]]);
    let bars = Columns { separator: Some("|".into()), ..several.clone() };
    let path = files.write("b.tsv", "text\tlabel\none\tb | a, c\n");
    assert_eq!(labels(&Table::read(&path, &bars, &options()).unwrap()), [vec!["b", "a, c"]]);
    let json = "{\"text\": \"one\", \"label\": [\"b\", 3]}\n{\"text\": \"two\", \"label\": []}\n{\"text\": \"three\", \"label\": null}\n";
    let path = files.write("c.jsonl", json);
    assert_eq!(labels(&Table::read(&path, &several, &options()).unwrap()), [vec!["b", "3"], vec![], vec![]]);
    let path = files.write("d.jsonl", "{\"text\": \"one\", \"label\": [[1]]}\n");
    let error = Table::read(&path, &several, &options()).unwrap_err().to_string();
    assert!(error.contains("a list of texts or numbers"), "{error}");
    // No label at all is nothing to learn.
    let path = files.write("e.csv", "text,label\none,\n");
    let error =
        Labels::of_lists(&Table::read(&path, &several, &options()).unwrap(), 1).unwrap_err().to_string();
    assert!(error.contains("1 to 1000 classes") && error.contains("found none"), "{error}");
}

#[test]
fn a_word_is_labelled_at_its_first_piece() {
    let tokenizer = Tokenizer::from_bytes(tokenizer(60)).unwrap();
    let template = Template::of(&tokenizer).unwrap();
    let words = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
    // A word of two tokens, as one with a blank in it, and one of which nothing is left.
    let found = encode_words(&tokenizer, &template, &words("w7|w8 w9||w10"), 16).unwrap();
    assert_eq!(found.encoded.ids, [0, 7, 8, 9, 10, 2]);
    assert_eq!(found.firsts, [Some(1), Some(2), None, Some(4)]);
    assert_eq!(found.encoded.truncated, 0);
    // What is cut has no label.
    let found = encode_words(&tokenizer, &template, &words("w7|w8 w9|w10"), 5).unwrap();
    assert_eq!((found.encoded.ids.len(), found.encoded.truncated), (5, 1));
    assert_eq!(found.firsts, [Some(1), Some(2), None]);
    encode_words(&tokenizer, &template, &words("w7"), 2).unwrap_err();
}
