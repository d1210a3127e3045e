//! `wgrad finetune`, `evaluate` and `predict` where words are labelled or a text has several labels, as a person runs them.

use std::fs;
use std::path::Path;

use crate::common;
use crate::common::folder::folder;
use crate::common::golden::Golden;
use crate::common::program::{command, error, json, run, stdout};

/// Words from w10 on are outside; w7 begins a PER, which w8 goes on with, and w9 is a LOC.
fn words(rows: std::ops::Range<usize>) -> String {
    let mut text = String::new();
    for i in rows {
        for (k, word) in [10 + i * 7 % 40, 7, 8, 12 + i % 30, 9, 10 + i % 37].into_iter().enumerate() {
            // Some texts have one word of the PER, others no LOC.
            if (k == 2 && i % 3 == 0) || (k == 4 && i % 4 == 1) {
                continue;
            }
            let tag = match word {
                7 => "B-PER",
                8 => "I-PER",
                9 => "B-LOC",
                _ => "O",
            };
            text += &format!("w{word} x {tag}\n");
        }
        text += "\n";
    }
    text
}

fn place(dir: &Path) {
    folder(&dir.join("model"), &Golden::open("relative_untied_mask"));
    fs::write(dir.join("train.conll"), words(0..120)).unwrap();
    fs::write(dir.join("dev.conll"), words(300..330)).unwrap();
    let topics = |i: usize| match i % 4 {
        0 => ("w7 w8", "a|b"),
        1 => ("w7", "a"),
        2 => ("w8", "b"),
        _ => ("w9", ""),
    };
    for (name, rows) in [("train.csv", 0..160), ("dev.csv", 500..540)] {
        let row = |i: usize| format!("w{} {} w{},{}\n", 10 + i % 40, topics(i).0, 12 + i % 31, topics(i).1);
        fs::write(dir.join(name), format!("text,topics\n{}", rows.map(row).collect::<String>())).unwrap();
    }
}

#[test]
fn entities_from_columns_to_marked_text() {
    if common::gpu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    place(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let [model, train, dev, out] = ["model", "train.conll", "dev.conll", "out"].map(path);
    let data = ["--train", &train, "--eval", &dev, "--out", &out, "--model", &model];
    let how = ["--lr", "3e-3", "--epochs", "3", "--class-weights", "O=0.5", "--json"];
    let task = ["finetune", "--task", "token-classification"];
    let report = json(&["finetune"], &run(&[&task[..], &data, &how].concat(), ""));
    assert_eq!((&report["task"], &report["median"][0][1]), (&"tokens".into(), &"f1".into()));
    let f1 = report["median"][0][2].as_f64().unwrap();
    assert!(f1 > 0.9, "{report}");

    let evaluate = ["evaluate", "--task", "tokens", "--model", &out, "--eval", &dev];
    let measured =
        json(&["evaluate"], &run(&[&evaluate[..], &["--json", "--precision", "f32"]].concat(), ""));
    let scores = &measured["sets"][0]["scores"];
    assert_eq!(scores["f1"].as_f64(), Some(f1));
    for name in ["precision", "recall", "accuracy"] {
        assert!(scores[name].as_f64().unwrap() > 0.8, "{measured}");
    }
    let plain = stdout(&run(&evaluate, ""));
    assert!(
        plain.starts_with("eval f1 ") && plain.contains(", precision ") && plain.contains("(30 texts)"),
        "{plain}"
    );
    let table = fs::read_to_string(dir.path().join("out/predictions.tsv")).unwrap();
    assert!(table.starts_with("index\tword\tprediction\tlabel\tprobability\n0\t0\t"), "{table}");

    // A tab is a blank, and what stands on standard output that is no terminal has no colours.
    let predict = ["predict", "--model", &out, "--precision", "f32"];
    let found = stdout(&run(&predict, "w11  w7 w8\tw20 w9\n\nw20 w21\n"));
    assert_eq!(found, "w11  [PER w7 w8] w20 [LOC w9]\n\nw20 w21\n");
    let spans = json(&["predict"], &run(&[&predict[..], &["--json"]].concat(), "w11  w7 w8\tw20 w9"));
    let expected = [("PER", "w7 w8", 5, 10), ("LOC", "w9", 15, 17)];
    assert_eq!(spans["text"], "w11  w7 w8\tw20 w9");
    for (span, (label, text, start, end)) in spans["entities"].as_array().unwrap().iter().zip(expected) {
        assert_eq!((&span["label"], &span["text"]), (&label.into(), &text.into()));
        assert_eq!((&span["start"], &span["end"]), (&start.into(), &end.into()));
        assert!(span["score"].as_f64().unwrap() > 0.5);
    }
    assert_eq!(spans["entities"].as_array().unwrap().len(), 2);

    // Long texts are cut, and that is said.
    let long = format!("{}w7\n", "w20 ".repeat(200));
    let output = run(&predict, long.clone());
    assert_eq!(stdout(&output), long);
    assert!(String::from_utf8(output.stderr).unwrap().contains("1 texts of over 128 tokens were truncated"));

    let text = error(&run(&["predict", "--model", &out, "--pair-column", "b"], "w7"), 1);
    assert!(text.contains("one text at a time"), "{text}");
    let text = error(&run(&["predict", "--model", &out, "--threshold", "0.7"], "w7"), 1);
    assert!(text.contains("several labels"), "{text}");
    let text =
        error(&run(&["evaluate", "--task", "classify", "--model", &out, "--eval", &path("dev.csv")], ""), 1);
    assert!(text.contains("column called `label`"), "{text}");
    let classify =
        ["evaluate", "--task", "classify", "--model", &out, "--label-column", "topics", "--lenient"];
    let output = run(&[&classify[..], &["--eval", &path("dev.csv")]].concat(), "");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("one that labels words"), "{text}");
    let about = stdout(&run(&["info", &out], ""));
    assert!(about.contains("classifier of every token"), "{about}");
}

#[test]
fn several_labels_from_a_table_to_predictions() {
    if common::gpu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    place(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let [model, train, dev, out] = ["model", "train.csv", "dev.csv", "out"].map(path);
    let labels = ["--label-column", "topics", "--label-separator", "|", "--eval", &dev];
    let how =
        ["--lr", "5e-3", "--epochs", "4", "--json", "--model", &model, "--train", &train, "--out", &out];
    let task = ["finetune", "--task", "multi-label"];
    let report = json(&["finetune"], &run(&[&task[..], &labels, &how].concat(), ""));
    assert_eq!((&report["task"], &report["median"][0][1]), (&"multi-label".into(), &"micro_f1".into()));
    assert!(report["median"][0][2].as_f64().unwrap() > 0.9, "{report}");
    let evaluate = ["evaluate", "--task", "multi-label", "--model", &out, "--json", "--precision", "f32"];
    let measured = json(&["evaluate"], &run(&[&evaluate[..], &labels].concat(), ""));
    let scores = measured["sets"][0]["scores"].as_object().unwrap();
    assert_eq!(scores.keys().collect::<Vec<_>>(), ["micro_f1", "macro_f1", "exact_match"]);
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("out/config.json")).unwrap()).unwrap();
    assert_eq!(config["problem_type"], "multi_label_classification");
    assert_eq!(config["id2label"], serde_json::json!({"0": "a", "1": "b"}));

    let predict = ["predict", "--model", &out, "--precision", "f32"];
    let found = stdout(&run(&predict, "w20 w7 w8\nw8\nw20 w9 w21\n"));
    let rows: Vec<Vec<&str>> = found.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((rows[0][0], rows[1][0], rows[2][0]), ("a|b", "b", ""), "{found}");
    // The probability of each label, also of a text that has none.
    assert!(rows[1][1].starts_with("b 0.") && rows[1][1].contains("|a 0."), "{found}");
    assert_eq!((rows[0][1].split('|').count(), rows[2][1].split('|').count()), (2, 2), "{found}");
    assert_eq!(rows[2][2], "w20 w9 w21", "{found}");
    let told = json(&["predict"], &run(&[&predict[..], &["--json", "--threshold", "0"]].concat(), "w8"));
    assert_eq!((&told["labels"], &told["label"]), (&serde_json::json!(["a", "b"]), &"b".into()));
    let shares = told["probabilities"].as_object().unwrap();
    assert!(shares["a"].as_f64().unwrap() < 0.5 && shares["b"].as_f64().unwrap() > 0.5, "{told}");
    assert_eq!(told["score"], shares["b"]);
    let output = command(&[&predict[..], &["--threshold", "2"]].concat()).write_stdin("w8").output().unwrap();
    assert!(error(&output, 1).contains("a share from 0 to 1"));
    let how = ["--class-weights", "balanced", "--model", &model, "--train", &train, "--out", &path("other")];
    let classes = run(&[&task[..], &labels, &how].concat(), "");
    assert!(error(&classes, 1).contains("class-weights"));
}
