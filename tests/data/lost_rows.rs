//! One row that cannot be used does not end a run: it is left out, counted and named (fault 62).

use wgrad::data::task::{Columns, Table, Task};
use wgrad::data::{FileOptions, ReadCounts, ReadOptions};

use super::reading::read_paths;

/// A file of 200 rows, of which those with the numbers of `bad` are others.
fn rows(good: &str, bad: &[(usize, &str)]) -> String {
    let row = |number: usize| bad.iter().find(|(at, _)| *at == number).map_or(good, |(_, row)| row);
    (1..=200).map(|number| format!("{}\n", row(number))).collect()
}

fn read(name: &str, text: &str, files: FileOptions) -> Result<(usize, ReadCounts), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let options = ReadOptions { files, ..ReadOptions::default() };
    read_paths(&[path], &options).map(|(texts, counts)| (texts.len(), counts))
}

fn strict() -> FileOptions {
    FileOptions { strict: true, ..FileOptions::default() }
}

fn lenient() -> FileOptions {
    FileOptions { lenient: true, ..FileOptions::default() }
}

#[test]
fn what_nobody_asked_for_does_no_harm() {
    let good = r#"{"text": "a b", "x": 1}"#;
    for bad in [
        r#"{"text": "a b", "x": NaN}"#,
        r#"{"x": [Infinity, -Infinity, {"y": NaN}], "text": "a NaN b"}"#,
        r#"{"x": "half \ud83d of a pair", "text": "a b"}"#,
        r#"{"\ud83d\ude00": null, "text": "a b"}"#,
    ] {
        let (documents, counts) = read("a.jsonl", &rows(good, &[(5, bad)]), FileOptions::default()).unwrap();
        assert_eq!((documents, counts.left_out), (200, 0), "{bad}");
    }
}

#[test]
fn rows_without_a_text_are_blank() {
    let good = r#"{"text": "a b"}"#;
    for bad in [r#"{"text": null}"#, r#"{"text": NaN}"#, r#"{"text": ""}"#, r#"{"text": " \n"}"#] {
        let (documents, counts) =
            read("a.jsonl", &rows(good, &[(5, bad), (9, bad)]), FileOptions::default()).unwrap();
        assert_eq!((documents, counts.blank, counts.left_out), (198, 2, 0), "{bad}");
    }
    // In a table of separated values these are words.
    let text = format!("text,n\n{}", rows("a b,1", &[(3, "null,1"), (4, "n/a,1"), (5, "NaN,1")]));
    assert_eq!(read("a.csv", &text, FileOptions::default()).unwrap().0, 200);
}

#[test]
fn a_row_of_no_use_is_left_out_and_named() {
    let json = r#"{"text": "a b"}"#;
    for (name, head, good, bad, words) in [
        ("a.jsonl", "", json, r#"{"text": "half \ud83d"}"#, "a JSON object"),
        ("a.jsonl", "", json, r#"{"text": "a b"#, "a JSON object"),
        ("a.jsonl", "", json, r#"{"other": "a b"}"#, "a field called `text`, found `other`"),
        ("a.jsonl", "", json, r#"{"text": ["a"]}"#, "a string in `text`, found an array"),
        ("a.csv", "text,n\n", "a b,1", "short", "2 columns, found 1"),
        ("a.csv", "text,n\n", "a b,1", "a, b,1", "quotation marks"),
        ("a.tsv", "n\ttext\n", "1\ta b", "1", "2 columns, found 1"),
    ] {
        let text = format!("{head}{}", rows(good, &[(7, bad), (150, bad)]));
        let (documents, counts) = read(name, &text, FileOptions::default()).unwrap();
        assert_eq!((documents, counts.left_out), (198, 2), "{bad}");
        let line = if head.is_empty() { "line 7: " } else { "line 8: " };
        let first = &counts.left_out_first[0];
        assert!(first.contains(line) && first.contains(words), "{first}");
        let error = read(name, &text, strict()).unwrap_err();
        assert!(error.contains(line) && error.contains(words), "{error}");
        // More than one in a hundred ends the run, unless it is lenient.
        let many = [7, 8, 9, 10].map(|number| (number, bad));
        let text = format!("{head}{}", rows(good, &many));
        let error = read(name, &text, FileOptions::default()).unwrap_err();
        assert!(
            error.contains(line) && error.contains("4 of 200 rows") && error.contains("--lenient"),
            "{error}"
        );
        let (documents, counts) = read(name, &text, lenient()).unwrap();
        assert_eq!((documents, counts.left_out, counts.left_out_first.len()), (196, 4, 3), "{bad}");
    }
    // One is told of as itself, without a count.
    let two = format!("{json}\n{{\"text\": [7]}}\n");
    let error = read("a.jsonl", &two, FileOptions::default()).unwrap_err();
    assert!(
        error.contains("line 2: ") && error.contains("--lenient") && !error.contains("like that"),
        "{error}"
    );
    // What the first row lacks is no matter of single rows.
    let error = read("a.jsonl", &rows(r#"{"body": "a"}"#, &[]), FileOptions::default()).unwrap_err();
    assert!(error.contains("line 1: expected a field called `text`, found `body`"), "{error}");
}

fn table(task: Option<Task>, name: &str, text: &str, options: &FileOptions) -> wgrad::Result<Table> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    match task {
        Some(task) => Table::read_glue(task, &path, options),
        None => {
            let columns = Columns {
                text: "text".into(),
                pair: None,
                label: Some("label".into()),
                numbers: false,
                separator: None,
            };
            Table::read(&path, &columns, options)
        }
    }
}

#[test]
fn rows_without_text_or_label_teach_nothing() {
    for bad in [",1", "  ,1", "a b,", "a b,n/a", "a b,NaN", "a b"] {
        let text = format!("text,label\n{}", rows("a b,1", &[(7, bad)]));
        let read = table(None, "a.csv", &text, &FileOptions::default()).unwrap();
        assert_eq!((read.examples.len(), read.lost.rows), (199, 1), "{bad}");
        assert_eq!(read.lost.first[0].line, 8, "{bad}");
        assert!(table(None, "a.csv", &text, &strict()).unwrap_err().to_string().contains("line 8"), "{bad}");
    }
    for bad in
        [r#"{"text": null, "label": 1}"#, r#"{"text": "a", "label": null}"#, r#"{"text": "a", "label": NaN}"#]
    {
        let text = rows(r#"{"text": "a", "label": 1}"#, &[(7, bad)]);
        let read = table(None, "a.jsonl", &text, &FileOptions::default()).unwrap();
        assert_eq!((read.examples.len(), read.lost.rows), (199, 1), "{bad}");
    }
    // A class may be called so where no task says otherwise.
    let text = format!("text,label\n{}", rows("a b,+", &[(7, "c,-")]));
    assert_eq!(table(None, "a.csv", &text, &FileOptions::default()).unwrap().lost.rows, 0);
}

#[test]
fn the_ending_says_what_a_file_of_glue_is() {
    let label = |table: &Table| table.examples.iter().map(|e| e.label.clone().unwrap()).collect::<Vec<_>>();
    let plain = FileOptions::default();
    for (name, text) in [
        ("a.csv", "sentence,label\n\"a, b\",1\nc,0\n"),
        ("a.tsv", "sentence\tlabel\na, b\t1\nc\t0\n"),
        ("a.jsonl", "{\"sentence\": \"a, b\", \"label\": 1}\n{\"sentence\": \"c\", \"label\": 0}\n"),
        ("a.json", "[{\"label\": 1, \"sentence\": \"a, b\"}, {\"label\": 0, \"sentence\": \"c\"}]"),
    ] {
        for task in [Task::Sst2, Task::Cola] {
            let read = table(Some(task), name, text, &plain).unwrap();
            assert_eq!(
                (read.examples[0].text.as_str(), label(&read)),
                ("a, b", vec!["1".into(), "0".into()]),
                "{name}"
            );
        }
    }
    // The hub's copy has other names, and numbers for labels.
    let text = "premise,hypothesis,label,idx\na,b,0,0\nc,d,2,1\ne,f,1,2\n";
    let read = table(Some(Task::Mnli), "a.csv", text, &plain).unwrap();
    assert_eq!(label(&read), ["entailment", "contradiction", "neutral"]);
    assert_eq!(read.examples[1].pair.as_deref(), Some("d"));
    let text = "{\"sentence1\": \"a\", \"sentence2\": \"b\", \"label\": 1}\n";
    assert_eq!(label(&table(Some(Task::Rte), "a.jsonl", text, &plain).unwrap()), ["not_entailment"]);
    assert_eq!(label(&table(Some(Task::Mrpc), "a.jsonl", text, &plain).unwrap()), ["1"]);
    assert_eq!(
        label(&table(Some(Task::Qqp), "a.csv", "question1,question2,label\na,b,1\n", &plain).unwrap()),
        ["1"]
    );
    // Annotators who did not agree, and test sets, whose labels are not told.
    for none in ["-", "-1"] {
        let text = format!(
            "sentence1\tsentence2\tgold_label\n{}",
            rows("a\tb\tneutral", &[(7, &format!("a\tb\t{none}"))])
        );
        let read = table(Some(Task::Mnli), "a.tsv", &text, &plain).unwrap();
        assert_eq!((read.examples.len(), read.lost.first[0].line), (199, 8));
    }
    let error =
        table(Some(Task::Sst2), "a.csv", "sentence,label\na,-1\nb,-1\n", &plain).unwrap_err().to_string();
    assert!(error.contains("line 2: expected a label, found `-1`; 2 of 2 rows"), "{error}");
    let error = table(Some(Task::Mnli), "a.csv", "left,right\na,b\n", &plain).unwrap_err().to_string();
    assert!(error.contains("a column called `sentence1`, found `left`, `right`"), "{error}");
}
