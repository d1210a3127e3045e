//! Labelled texts: GLUE's own layouts, one's own tables, faults with their lines, cutting into tokens.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::path::PathBuf;

use wgrad::data::FileOptions;
use wgrad::data::task::{Columns, Example, Labels, Table, Task, encode, glue_files, scores};
use wgrad::text::{Template, Tokenizer, open_pairs};

/// A folder with files.
struct Files(tempfile::TempDir);

impl Files {
    fn of(files: &[(&str, &str)]) -> Self {
        let files_in = Files(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = files_in.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        files_in
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A header and one row of each task as GLUE's download has them.
fn glue(task: Task) -> &'static str {
    match task {
        Task::Cola => "gj04\t0\t*\tThe \"car honked.\ngj04\t1\t\tHe ran.\n",
        Task::Sst2 => "sentence\tlabel\nit 's \" fine \t0\nlovely\t1\n",
        Task::Mrpc => {
            "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n0\t7\t8\tHe said \"no\t\"Yes.\r\n1\t1\t2\ta\tb\r\n"
        }
        Task::Qqp => {
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n\
             1\t1\t2\tWho?\tWhat?\t0\n2\t3\t4\tbroken by\na line end?\tWhy?\t1\n3\t5\t6\tHow?\tHow so?\t1\n"
        }
        Task::Stsb => {
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n\
             0\tmain\tMSRvid\t2012\t1\tnone\tnone\tA plane.\tA jet.\t5.000\n\
             1\tmain\tMSRvid\t2012\t2\tnone\tnone\tA man.\tA cat.\t0.4\n"
        }
        Task::Mnli => {
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t\
             sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n\
             0\t1\t2\tx\t( a )\t( b )\t(R a)\t(R b)\tIt rains.\tIt is wet.\tneutral\tentailment\n\
             1\t1\t2\tx\t( a )\t( b )\t(R a)\t(R b)\tIt rains.\tIt is dry.\tneutral\tcontradiction\n"
        }
        Task::Qnli => {
            "index\tquestion\tsentence\tlabel\n0\tWho?\tHe.\tentailment\n1\tWhen?\tHe.\tnot_entailment\n"
        }
        Task::Rte => "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\tnot_entailment\n1\tA.\tA.\tentailment\n",
        Task::Wnli => "index\tsentence1\tsentence2\tlabel\n0\tA it.\tB.\t1\n1\tA it.\tC.\t0\n",
        _ => unreachable!(),
    }
}

#[test]
fn every_task_of_glue_is_read_from_its_own_files() {
    let expected: [(Task, &str, Option<&str>, [u32; 2]); 8] = [
        (Task::Cola, "The \"car honked.", None, [0, 1]),
        (Task::Sst2, "it 's \" fine ", None, [0, 1]),
        (Task::Mrpc, "He said \"no", Some("\"Yes."), [0, 1]),
        (Task::Qqp, "Who?", Some("What?"), [0, 1]),
        (Task::Mnli, "It rains.", Some("It is wet."), [0, 2]),
        (Task::Qnli, "Who?", Some("He."), [0, 1]),
        (Task::Rte, "A.", Some("B."), [1, 0]),
        (Task::Wnli, "A it.", Some("B."), [1, 0]),
    ];
    for (task, text, pair, classes) in expected {
        let files = Files::of(&[("train.tsv", glue(task))]);
        let table = Table::read_glue(task, &files.path("train.tsv"), &FileOptions::default()).unwrap();
        let first = &table.examples[0];
        assert_eq!((first.text.as_str(), first.pair.as_deref()), (text, pair), "{task}");
        assert_eq!(first.line, if task == Task::Cola { 1 } else { 2 }, "{task}");
        assert_eq!(Labels::glue(task).numbers(&table).unwrap(), classes, "{task}");
        assert_eq!(Labels::glue(task).names().len(), if task == Task::Mnli { 3 } else { 2 });
        // The line end within a question breaks a row in two.
        assert_eq!(table.lost.rows, if task == Task::Qqp { 2 } else { 0 });
    }
    let files = Files::of(&[("train.tsv", glue(Task::Stsb))]);
    let table = Table::read_glue(Task::Stsb, &files.path("train.tsv"), &FileOptions::default()).unwrap();
    assert_eq!(scores(&table).unwrap(), [5.0, 0.4]);
    assert_eq!(table.examples[1].pair.as_deref(), Some("A cat."));
}

#[test]
fn folders_are_found_and_their_gaps_told() {
    let files = Files::of(&[
        ("glue/MNLI/train.tsv", ""),
        ("glue/MNLI/dev_matched.tsv", ""),
        ("glue/MNLI/dev_mismatched.tsv", ""),
        ("RTE/train.tsv", ""),
    ]);
    for folder in ["glue", "glue/MNLI"] {
        let found = glue_files(Task::Mnli, &files.path(folder)).unwrap();
        assert!(found.train.ends_with("MNLI/train.tsv"));
        assert_eq!(found.dev.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["matched", "mismatched"]);
    }
    let error = glue_files(Task::Rte, &files.path("RTE")).unwrap_err().to_string();
    assert!(error.contains("no dev.tsv") && error.contains("RTE"), "{error}");
    assert!(glue_files(Task::Classify, &files.path("RTE")).is_err());
}

fn columns(text: &str, pair: Option<&str>, label: Option<&str>) -> Columns {
    Columns {
        text: text.into(),
        pair: pair.map(str::to_owned),
        label: label.map(str::to_owned),
        numbers: false,
        separator: None,
    }
}

fn read(name: &str, text: &str, columns: &Columns) -> wgrad::Result<Table> {
    let files = Files::of(&[(name, text)]);
    Table::read(&files.path(name), columns, &FileOptions::default())
}

#[test]
fn own_tables_are_read_by_column_names() {
    let columns = columns("review", Some("title"), Some("stars"));
    for (name, text) in [
        ("a.csv", "stars,review,title\n5,\"good, very\",t\n1,bad,u\n"),
        ("a.tsv", "review\tstars\ttitle\ngood, very\t5\tt\nbad\t1\tu\n"),
        (
            "a.jsonl",
            "{\"review\": \"good, very\", \"stars\": 5, \"title\": \"t\"}\n\n{\"stars\": \"1\", \"review\": \"bad\", \"title\": \"u\"}\n",
        ),
    ] {
        let table = read(name, text, &columns).unwrap();
        let example = |line, text: &str, pair: &str, label: &str| Example {
            line,
            file: 0,
            text: text.into(),
            pair: Some(pair.into()),
            label: Some(label.into()),
        };
        let last = if name.ends_with("jsonl") { 3 } else { 2 };
        let first = if name.ends_with("jsonl") { 1 } else { 2 };
        let expected =
            [example(first, "good, very", "t", "5"), example(last.max(first + 1), "bad", "u", "1")];
        assert_eq!(table.examples, expected, "{name}");
        let labels = Labels::of(&table).unwrap();
        assert_eq!(labels.names(), ["1", "5"]);
        assert_eq!(labels.numbers(&table).unwrap(), [1, 0]);
    }
    let lines = read("a.txt", "one\n\n two\n", &self::columns("text", None, None)).unwrap();
    assert_eq!(lines.examples.iter().map(|e| e.text.as_str()).collect::<Vec<_>>(), ["one", " two"]);
    // Numbers in the order of their size, names in that of the alphabet.
    let table =
        read("a.csv", "text,label\na,10\nb,9\nc,10\n", &self::columns("text", None, Some("label"))).unwrap();
    assert_eq!(Labels::of(&table).unwrap().names(), ["9", "10"]);
}

#[test]
fn fault_23_wrong_columns_and_labels_are_told_with_their_lines() {
    let plain = columns("text", None, Some("label"));
    let error = |result: wgrad::Result<Table>| result.unwrap_err().to_string();
    let found = error(read("a.csv", "text,label\na,0\nb,1,2\n", &plain));
    assert!(found.contains("line 3: expected 2 columns, found 3"), "{found}");
    let found = error(read("a.csv", "text,class\na,0\n", &plain));
    assert!(found.contains("line 1: expected a column called `label`"), "{found}");
    let found = error(read("a.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\"}\n", &plain));
    assert!(found.contains("line 2: expected a field called `label`"), "{found}");
    assert!(error(read("a.csv", "text,label\n", &plain)).contains("at least one row"));
    assert!(error(read("a.txt", "a\n", &plain)).contains("a table"));

    let files = Files::of(&[("dev.tsv", "gj04\t1\t\tHe ran.\ngj04\t1\tHe ran.\n")]);
    let found = error(Table::read_glue(Task::Cola, &files.path("dev.tsv"), &FileOptions::default()));
    assert!(found.contains("line 2: expected 4 columns, found 3"), "{found}");
    let files = Files::of(&[("dev.tsv", "sentence\tlabel\na\t1\nb\t2\n")]);
    let table = Table::read_glue(Task::Sst2, &files.path("dev.tsv"), &FileOptions::default()).unwrap();
    let found = Labels::glue(Task::Sst2).numbers(&table).unwrap_err().to_string();
    assert!(found.contains("line 3: expected one of the labels `0`, `1`, found `2`"), "{found}");

    let table = read("a.csv", "text,label\na,1.5\nb,high\n", &plain).unwrap();
    let found = scores(&table).unwrap_err().to_string();
    assert!(found.contains("line 3: expected a number as the label, found `high`"), "{found}");
    let found = error(read("a.csv", "text,label\na,1\nb,\n", &plain));
    assert!(found.contains("line 3: expected a label, found nothing"), "{found}");
    let table = read("a.csv", "text,label\na,1\nb,1\n", &plain).unwrap();
    assert!(Labels::of(&table).unwrap_err().to_string().contains("found `1` only"));
}

#[test]
fn fault_20_broken_bytes_are_repaired_or_refused() {
    let files = Files(tempfile::tempdir().unwrap());
    let path = files.path("a.tsv");
    std::fs::write(&path, b"text\tlabel\r\nna\xffive\0\t1\r\n").unwrap();
    let plain = columns("text", None, Some("label"));
    let table = Table::read(&path, &plain, &FileOptions::default()).unwrap();
    assert_eq!(table.examples[0].text, "na\u{fffd}ive\u{fffd}");
    assert_eq!((table.repairs.invalid_utf8, table.repairs.nul, table.repairs.carriage_returns), (1, 1, 2));
    let error = Table::read(&path, &plain, &FileOptions { strict: true, ..FileOptions::default() })
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 1") && error.contains("--strict"), "{error}");
}

#[test]
fn classes_of_a_model_are_found_by_name() {
    let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let files = Files::of(&[("dev.tsv", glue(Task::Mnli)), ("sst.tsv", glue(Task::Sst2))]);
    let table = Table::read_glue(Task::Mnli, &files.path("dev.tsv"), &FileOptions::default()).unwrap();
    let model = Labels::of_model(&names(&["CONTRADICTION", "neutral", "entailment"]), Task::Mnli);
    assert_eq!(model.numbers(&table).unwrap(), [2, 0]);
    let table = Table::read_glue(Task::Sst2, &files.path("sst.tsv"), &FileOptions::default()).unwrap();
    for list in [["negative", "positive"], ["LABEL_0", "LABEL_1"], ["0", "1"]] {
        assert_eq!(Labels::of_model(&names(&list), Task::Sst2).numbers(&table).unwrap(), [0, 1]);
    }
    assert_eq!(
        Labels::of_model(&names(&["positive", "negative"]), Task::Sst2).numbers(&table).unwrap(),
        [1, 0]
    );
    assert!(Labels::of_model(&names(&["good", "bad"]), Task::Sst2).numbers(&table).is_err());
}

#[test]
fn texts_and_pairs_are_cut_to_the_length() {
    let mut file: serde_json::Value = serde_json::from_slice(&common::folder::tokenizer(60)).unwrap();
    for (part, kind) in [(3, "Sequence"), (4, "SpecialToken")] {
        file["post_processor"]["pair"][part][kind]["type_id"] = serde_json::json!(1);
    }
    let tokenizer = Tokenizer::from_bytes(file.to_string()).unwrap();
    // [CLS] is 0, [SEP] 2; w5 to w59 are words.
    let closed = Template::of(&tokenizer).unwrap();
    let joined = Tokenizer::from_bytes(open_pairs(tokenizer.json())).unwrap();
    let open = Template::of(&joined).unwrap();
    let cut =
        |template, text: &str, pair: Option<&str>, longest| encode(&tokenizer, template, text, pair, longest);
    let ids = |template, text, pair, longest| cut(template, text, pair, longest).unwrap().ids;
    assert_eq!(ids(&closed, "w5 w6", None, 8), [0, 5, 6, 2]);
    assert_eq!(ids(&open, "w5 w6 w7", None, 4), [0, 5, 6, 2]);
    let pair = cut(&closed, "w5 w6", Some("w7"), 8).unwrap();
    assert_eq!((pair.ids, pair.types), (vec![0, 5, 6, 2, 7, 2], vec![0, 0, 0, 0, 1, 1]));
    let pair = cut(&open, "w5 w6", Some("w7"), 8).unwrap();
    assert_eq!((pair.ids, pair.types), (vec![0, 5, 6, 2, 7], vec![0, 0, 0, 0, 1]));
    let long = cut(&closed, "w5", Some("w6 w7 w8 w9"), 7).unwrap();
    assert_eq!((long.ids, long.truncated), (vec![0, 5, 2, 6, 7, 8, 2], 1));
    // Fault 18: nothing to read is still a sequence.
    assert_eq!(ids(&closed, "  ", None, 8), [0, 2]);
    assert_eq!(ids(&closed, "", Some(""), 8), [0, 2, 2]);
    // Room for one token of each text is enough.
    assert_eq!(ids(&closed, "w5 w6", None, 3), [0, 5, 2]);
    assert_eq!(ids(&closed, "w5 w6", Some("w7 w8"), 5), [0, 5, 2, 7, 2]);
    assert!(cut(&closed, "w5", None, 2).is_err());
    assert!(cut(&closed, "w5", Some("w5"), 4).is_err());
}

/// Two separators between the texts and one type for both, as RoBERTa has it; no template at all.
#[test]
fn texts_are_joined_as_the_tokenizer_joins_them() {
    let mut file: serde_json::Value = serde_json::from_slice(&common::folder::tokenizer(60)).unwrap();
    file["post_processor"] = serde_json::json!({"type": "RobertaProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 0],
        "trim_offsets": true, "add_prefix_space": false});
    let tokenizer = Tokenizer::from_bytes(file.to_string()).unwrap();
    let template = Template::of(&tokenizer).unwrap();
    let pair = encode(&tokenizer, &template, "w5 w6", Some("w7 w8"), 7).unwrap();
    assert_eq!((pair.ids, pair.types, pair.truncated), (vec![0, 5, 2, 2, 7, 8, 2], vec![], 1));
    let single = encode(&tokenizer, &template, "w5 w6", None, 7).unwrap();
    assert_eq!((single.ids, single.types), (vec![0, 5, 6, 2], vec![]));
}

#[test]
fn tasks_have_names() {
    for task in Task::ALL {
        assert_eq!(task.name().parse::<Task>().unwrap(), task);
    }
    let error = "sst".parse::<Task>().unwrap_err().to_string();
    assert!(error.contains("`sst2`") && error.contains("found `sst`"), "{error}");
}

#[test]
fn words_for_nothing_are_no_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.csv");
    let words = ["none", "None", "N/A", "-", "null", "?", ""];
    let rows: String = words.iter().map(|word| format!("a text,{word}\n")).collect();
    std::fs::write(&path, format!("text,label\na text,1.5\n{rows}another,-2\n")).unwrap();
    let options = FileOptions { lenient: true, ..FileOptions::default() };
    let read = |numbers| {
        let columns = Columns { numbers, ..columns("text", None, Some("label")) };
        Table::read(&path, &columns, &options).unwrap()
    };
    let numbers = read(true);
    assert_eq!(numbers.lost.rows, words.len() as u64);
    assert_eq!(scores(&numbers).unwrap(), [1.5, -2.0]);
    // Where labels are names, one may be called so.
    assert_eq!(read(false).lost.rows, 2);
}

#[test]
fn several_files_are_one_table_whose_errors_name_the_file() {
    let rows = |from: usize, bad: &str| {
        let good: Vec<_> = (from..from + 120).map(|n| format!("text {n},{}", ["yes", "no"][n % 2])).collect();
        format!("text,label\n{}\n{bad}\n", good.join("\n"))
    };
    let files = Files::of(&[("a.csv", &rows(0, ",yes")), ("b.csv", &rows(120, "odd,maybe"))]);
    let read = |name: &str| {
        Table::read(&files.path(name), &columns("text", None, Some("label")), &FileOptions::default())
            .unwrap()
    };
    let (first, second) = (read("a.csv"), read("b.csv"));
    let (yes_no, lost) = (Labels::of(&first).unwrap(), first.lost.clone());
    assert_eq!(lost.rows, 1);
    let both = first.clone().joined(second.clone());
    assert_eq!(both.examples.len(), 241);
    assert_eq!(both.examples[120].text, "text 120");
    let told = yes_no.numbers(&both).unwrap_err().to_string();
    assert!(told.contains("b.csv") && told.contains("line 122") && told.contains("maybe"), "{told}");
    // What is left out of the second file is told of that.
    let other = second.joined(first);
    assert_eq!(other.lost.rows, 1);
    let told = other.lost.summary(&other.path).unwrap();
    assert!(told.contains("a.csv") && !told.contains("b.csv"), "{told}");
}

/// Programs of countries that write a comma in numbers put semicolons between columns.
#[test]
fn what_divides_the_columns_is_seen_in_the_first_line() {
    let wanted = columns("text", None, Some("label"));
    let texts = |table: Table| -> Vec<(String, Option<String>)> {
        table.examples.into_iter().map(|example| (example.text, example.label)).collect()
    };
    let right =
        [("a, b".to_owned(), Some("1".to_owned())), ("c; d | \"e\"".to_owned(), Some("0".to_owned()))];
    for separator in [",", ";", "\t", "|"] {
        let rows = ["id~text~label", "7~\"a, b\"~1", "8~\"c; d | \"\"e\"\"\"~0", ""].join("\n");
        let found = read("a.csv", &rows.replace('~', separator), &wanted).unwrap();
        assert_eq!(texts(found), right, "{separator:?}");
    }
    // What commas divide rightly is not divided otherwise, however much else stands there.
    let found = read("a.csv", "text,label,x;y;z|w\na;b,1,2\n", &wanted).unwrap();
    assert_eq!(texts(found), [("a;b".to_owned(), Some("1".to_owned()))]);
    let found = read("a.csv", "text;label,text,label\na;b,c,1\n", &wanted).unwrap();
    assert_eq!(texts(found), [("c".to_owned(), Some("1".to_owned()))]);
    // What is missing is told of the columns as they are divided.
    let told = read("a.csv", "satz;label\na;1\n", &wanted).unwrap_err().to_string();
    assert!(told.contains("line 1: expected a column called `text`, found `satz`, `label`"), "{told}");
    // A folder is none, though there be one file in it.
    let files = Files::of(&[("a.csv", "text,label\na,1\n")]);
    let told = Table::read(files.0.path(), &wanted, &FileOptions::default()).unwrap_err().to_string();
    assert!(told.contains("expected a file, found a folder"), "{told}");
    // A header that ends with the file, and one that is longer than what is read at once.
    assert!(read("a.csv", "text;label", &wanted).is_err());
    let long = format!("{};text;label\n1;a;0\n", "x".repeat(300_000));
    assert_eq!(texts(read("a.csv", &long, &wanted).unwrap()), [("a".to_owned(), Some("0".to_owned()))]);

    let without = FileOptions { header: false, ..FileOptions::default() };
    let read = |text: &str, columns: &Columns| {
        Table::read(&Files::of(&[("a.csv", text)]).path("a.csv"), columns, &without).map(&texts)
    };
    let numbered = columns("2", None, Some("3"));
    assert_eq!(read("7;\"a, b\";1\n8;\"c; d | \"\"e\"\"\";0\n", &numbered).unwrap(), right);
    let told = read("a\nb\n", &numbered).unwrap_err().to_string();
    assert!(told.contains("a column by its number, 1 to 1"), "{told}");
    // Texts alone, in which semicolons are what they are.
    let alone = columns("text", None, None);
    assert_eq!(read("a; b\nc\n", &alone).unwrap()[0].0, "a; b");
}
