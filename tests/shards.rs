//! Work that several processes divide among them, and `wgrad merge`, as a person runs them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise and says what it skips"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::program::{command, error, json, stderr, stdout};
use proptest::prelude::*;

fn golden(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).to_str().unwrap().to_owned()
}

/// A folder with commands that run in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs a command, whose arguments hold no spaces, with these variables.
    fn run_with(&self, arguments: &str, variables: &[(&str, &str)]) -> Output {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let mut command = command(&arguments);
        command.current_dir(self.0.path()).envs(variables.iter().copied()).output().unwrap()
    }

    fn run(&self, arguments: &str) -> Output {
        self.run_with(arguments, &[])
    }

    /// What it wrote, which it did with success.
    fn does(&self, arguments: &str) -> String {
        stdout(&self.run(arguments))
    }

    /// The error of a command that fails.
    fn fails(&self, arguments: &str) -> String {
        error(&self.run(arguments), 1)
    }

    /// All names in the folder.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Texts of all lengths, blank ones among them, no two neighbours alike.
fn texts(count: usize) -> String {
    let line = |i: usize| {
        let words = ["the", "cat", "watched", "São", "Paulo", "dogs", "bark", "at", "night", "\u{4e2d}"];
        let length = [0, 1, 3, 8, 2, 17, 40][i % 7];
        let words: Vec<&str> = (0..length).map(|k| words[(i * 7 + k * 3 + i / 11) % words.len()]).collect();
        words.join(" ") + "\n"
    };
    (0..count).map(line).collect()
}

#[test]
fn two_thousand_texts_in_four_shards_are_the_file_of_one_process() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    place.write("texts.txt", texts(2000));
    let embed = format!("embed --model {} --input texts.txt", golden("sentence_transformers"));
    for name in ["whole.npy", "whole.jsonl"] {
        place.does(&format!("{embed} --output {name}"));
    }
    for name in ["vectors.npy", "vectors.jsonl"] {
        for shard in 1..=4 {
            let output = place.run(&format!("{embed} --output {name} --shard {shard}/4"));
            assert!(stdout(&output).is_empty());
            let told = format!("part {shard}/4: 500 of 2,000 texts in {name}.{shard}-of-4\n");
            assert!(stderr(&output).starts_with(&told), "{}", stderr(&output));
        }
        assert!(!place.names().iter().any(|found| found == name));
        let merged = json(&["merge"], &place.run(&format!("merge {name} --json")));
        assert_eq!((&merged["parts"], &merged["items"]), (&4.into(), &2000.into()));
        assert!(place.read(name) == place.read(&name.replace("vectors", "whole")), "{name}");
    }
    // Fewer texts than shards, and none at all.
    for (count, of) in [(2, 3), (0, 2)] {
        place.write("texts.txt", texts(count));
        for name in ["few.npy", "few.jsonl"] {
            place.does(&format!("{embed} --output {name}"));
            let whole = place.read(name);
            (1..=of).for_each(|i| drop(place.does(&format!("{embed} --output {name} --shard {i}/{of}"))));
            place.does(&format!("merge {name}"));
            assert!(place.read(name) == whole, "{count} texts in {name}");
            (1..=of).for_each(|i| fs::remove_file(place.path(&format!("{name}.{i}-of-{of}"))).unwrap());
        }
    }
}

#[test]
fn predictions_of_shards_are_those_of_one_process() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    let rows: String = texts(300).lines().map(|text| format!("\"{text}\",\"and {text}\"\n")).collect();
    place.write("texts.csv", format!("text,second\n{rows}"));
    let models = ["families/distilbert_classes", "token_pipeline/bert"];
    for (model, more) in models.iter().flat_map(|model| [(model, ""), (model, " --json")]) {
        let pair = if model.contains("classes") { " --pair-column second" } else { "" };
        let predict = format!("predict --model {} --input texts.csv{pair}{more}", golden(model));
        let whole = place.does(&predict);
        place.does(&format!("{predict} --output whole"));
        assert_eq!(String::from_utf8(place.read("whole")).unwrap(), whole);
        (1..=3).for_each(|i| drop(place.does(&format!("{predict} --output parted --shard {i}/3"))));
        let told = place.does("merge parted");
        assert_eq!(told, "parted: predictions of 300 texts, from 3 parts\n");
        assert_eq!(place.read("parted"), whole.as_bytes(), "{model}{more}");
    }
}

/// The bytes of all files of a folder.
fn folder(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn data_prepared_in_shards_is_that_of_one_process() {
    let place = Place::new();
    fs::create_dir(place.path("texts")).unwrap();
    let long = |i: usize| format!("{{\"text\": \"{}\"}}\n", texts(9 + i % 5).replace('\n', " "));
    place.write("texts/a.jsonl", (0..200).map(long).collect::<String>());
    place.write("texts/b.txt", texts(700));
    place.does("tokenizer train texts --vocab-size 300 --out tok");
    let ways =
        ["", "--join --held-out 9", "--pack --held-out 0.3 --seed 5", "--held-out 20", "--pack --held-out 0"];
    for (number, way) in ways.iter().enumerate() {
        let prepare = format!("data prepare texts --tokenizer tok --seq-len 24 {way}");
        let told = place.does(&format!("{prepare} --out whole{number}"));
        let out = format!("parted{number}");
        for shard in 1..=3 {
            let told = place.run(&format!("{prepare} --out {out} --shard {shard}/3 --json"));
            let told = json(&["data", "prepare"], &told);
            assert_eq!(
                (&told["documents"], &told["read"]["documents"]),
                (&(800 / 3 + u64::from(shard <= 2)).into(), &800.into())
            );
        }
        // A slash behind a folder's name is no part of it.
        assert_eq!(place.does(&format!("merge {out}/")), told.replace("whole", "parted"));
        assert!(folder(&place.path(&out)) == folder(&place.path(&format!("whole{number}"))), "{way}");
    }
    let merged = place.fails("merge parted0");
    assert!(merged.contains("parted0: expected a folder that does not exist yet"), "{merged}");
    let late = place.fails("data prepare texts --tokenizer tok --out parted0 --shard 1/3");
    assert!(late.contains("parted0: expected a folder that does not exist yet"), "{late}");
    fs::remove_dir_all(place.path("parted0")).unwrap();
    let told = json(&["merge"], &place.run("merge parted0 --json"));
    assert_eq!(
        told["train"]["documents"].as_u64().unwrap() + told["held_out"]["documents"].as_u64().unwrap(),
        800
    );
}

#[test]
fn a_part_that_is_missing_torn_or_of_something_else_is_refused() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    place.write("texts.txt", texts(21));
    let model = golden("sentence_transformers");
    let embed = |more: &str| place.does(&format!("embed --model {model} --input texts.txt {more}"));
    (1..=3).for_each(|i| drop(embed(&format!("--output v.npy --shard {i}/3"))));
    let part = |number: usize| format!("v.npy.{number}-of-3");
    let second = place.read(&part(2));
    let refused = |told: &[&str]| {
        let found = place.fails("merge v.npy");
        assert!(told.iter().all(|told| found.contains(told)), "{found}");
        // Nothing was written, nor left under another name.
        assert!(place.names().iter().all(|name| name == "texts.txt" || name.contains("-of-")), "{found}");
    };
    let torn = "v.npy.2-of-3: expected a whole part of an output, as --shard writes it, found one";
    fs::remove_file(place.path(&part(2))).unwrap();
    refused(&["v.npy: expected its parts `v.npy.1-of-3` to `v.npy.3-of-3`, found 2 of them; missing: 2/3"]);
    for length in [0, 1, 20, second.len() / 2, second.len() - 1] {
        place.write(&part(2), &second[..length]);
        refused(&[torn, "copy it or compute it again"]);
    }
    // What was cut off in the middle.
    place.write(&part(2), [&second[..100], &second[140..]].concat());
    refused(&[torn]);
    place.write(&part(2), [&second[..], b"\n"].concat());
    refused(&[torn]);
    place.write(&part(2), place.read(&part(3)));
    refused(&["v.npy.2-of-3: expected part 2/3, as it is called, found part 3/3"]);

    // An input that was empty for one of the processes, another one, another way, and another version.
    let of_one = |input: &str, more: &str| {
        let more = format!("embed --model {model} --input {input} {more} --output v.npy --shard 2/3");
        place.does(&more);
    };
    place.write("none.txt", "");
    of_one("none.txt", "");
    fs::remove_file(place.path("none.txt")).unwrap();
    refused(&["v.npy.2-of-3: expected an input of 21 items with digest", "found one of 0 items"]);
    place.write("texts.txt", texts(21).replacen("cat", "dog", 1));
    of_one("texts.txt", "");
    refused(&["v.npy.2-of-3: expected an input of 21 items with digest", "found one of 21 items"]);
    place.write("texts.txt", texts(21));
    of_one("texts.txt", "--pooling cls");
    refused(&["v.npy.2-of-3: expected vectors made by ", ", as v.npy.1-of-3 has, found "]);
    // What was asked for otherwise says more than that the texts were others.
    place.write("texts.txt", texts(20));
    of_one("texts.txt", "--memory 64MiB");
    refused(&["v.npy.2-of-3: expected bytes of a text (--memory) ", ", as v.npy.1-of-3 has, found "]);
    place.write("texts.txt", texts(21));
    of_one("texts.txt", "--format jsonl");
    refused(&["v.npy.2-of-3: expected records {\"rows\":{\"width\":40}}", "found \"lines\""]);

    // Parts of another division.
    place.write(&part(2), &second);
    place.write("v.npy.1-of-2", &second);
    refused(&["v.npy: expected parts of one division, 2, found also such of 3"]);
    fs::remove_file(place.path("v.npy.1-of-2")).unwrap();
    place.does("merge v.npy");
    let none = place.fails("merge other");
    assert!(
        none.contains("other: expected its parts `other.1-of-N` to `other.N-of-N`, as --shard"),
        "{none}"
    );
}

#[test]
fn whoever_starts_several_processes_is_asked_or_told() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    place.write("texts.txt", texts(5));
    let embed = format!("embed --model {} --output v.npy", golden("sentence_transformers"));
    let file = format!("{embed} --input texts.txt");
    let rank = |number: &'static str| [("OMPI_COMM_WORLD_RANK", number), ("OMPI_COMM_WORLD_SIZE", "2")];
    // It may be a shell that was started so: nothing is divided or refused, and one process tells of it.
    for (number, told) in [("0", true), ("1", false)] {
        let output = place.run_with(&file, &rank(number));
        stdout(&output);
        let note = "note: mpirun started 2 processes, and each does all of the work: --shard auto divides it";
        assert_eq!(stderr(&output).contains(note), told, "{}", stderr(&output));
    }
    let alone = place.read("v.npy");
    fs::remove_file(place.path("v.npy")).unwrap();
    let piped = error(&place.run_with(&format!("{embed} --shard auto"), &rank("1")), 1);
    assert!(
        piped.contains("found the standard input: mpirun hands it to the first process alone"),
        "{piped}"
    );
    let none = place.fails(&format!("{file} --shard auto"));
    assert!(none.contains("--shard auto: expected the variables of mpirun"), "{none}");
    assert_eq!(place.names(), ["texts.txt"]);
    for number in ["0", "1"] {
        stdout(&place.run_with(&format!("{file} --shard auto"), &rank(number)));
    }
    place.does("merge v.npy");
    let whole = format!("{file} --shard none").replace("v.npy", "whole.npy");
    let output = place.run_with(&whole, &rank("0"));
    assert!(!stderr(&output).contains("mpirun"), "{}", stderr(&output));
    assert_eq!(place.read("v.npy"), place.read("whole.npy"));
    assert_eq!(place.read("v.npy"), alone);

    let named = place.fails(&file.replace("--output v.npy", "--shard 1/2"));
    assert!(named.contains("--shard: expected --output FILE, by which the parts are called"), "{named}");
    for wrong in ["0/4", "5/4", "1/0", "1", "x"] {
        let output = place.run(&format!("{file} --shard {wrong}"));
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("expected I/N"), "{}", stderr(&output));
    }
}

#[test]
fn bad_rows_are_those_of_the_whole_input_in_every_shard() {
    if common::gpu().is_none() {
        return;
    }
    let place = Place::new();
    let row = |i: usize| if i == 4 { "one,two,three\n".to_owned() } else { format!("w{i},x\n") };
    let table = |rows: usize| format!("text,more\n{}", (0..rows).map(row).collect::<String>());
    let embed = format!("embed --model {} --input rows.csv", golden("sentence_transformers"));
    place.write("rows.csv", table(30));
    for way in ["", " --strict"] {
        let whole = place.fails(&format!("{embed}{way}"));
        assert!(whole.contains("rows.csv, line 6: expected 2 columns, found 3"), "{whole}");
        for shard in 1..=2 {
            let told = place.fails(&format!("{embed}{way} --output v.jsonl --shard {shard}/2"));
            assert_eq!(told, whole);
        }
    }
    // One in a hundred of all, not of those in a shard.
    for (rows, way) in [(30, " --lenient"), (150, "")] {
        place.write("rows.csv", table(rows));
        let whole = place.run(&format!("{embed}{way}"));
        assert!(stderr(&whole).contains("1 rows cannot be used"), "{}", stderr(&whole));
        for shard in 1..=2 {
            let output = place.run(&format!("{embed}{way} --output v.jsonl --shard {shard}/2"));
            let told = stderr(&output).replace(
                &format!("part {shard}/2: {0} of {rows} texts in v.jsonl.{shard}-of-2\n", rows / 2),
                "",
            );
            assert_eq!(told, if shard == 1 { stderr(&whole) } else { String::new() });
        }
        place.does("merge v.jsonl");
        assert_eq!(place.read("v.jsonl"), whole.stdout);
    }
}

#[test]
fn where_a_part_lies_does_not_depend_on_how_the_output_is_said() {
    let place = Place::new();
    place.write("texts.txt", texts(12));
    let prepare = format!("data prepare texts.txt --tokenizer {} --seq-len 16", golden("hugging_face"));
    // Its parents are made, as for one process.
    for (number, out) in [(1, "new/dir/out/"), (2, "new/./dir/out")] {
        place.does(&format!("{prepare} --out {out} --shard {number}/2"));
    }
    let names: Vec<String> = folder(&place.path("new/dir")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["out.1-of-2", "out.2-of-2"]);
    place.does("merge new/dir/out/");
    place.does(&format!("{prepare} --out whole"));
    assert_eq!(folder(&place.path("new/dir/out")), folder(&place.path("whole")));
    let nameless = place.fails(&format!("{prepare} --out new/.. --shard 1/2"));
    assert!(nameless.contains("new/..: expected"), "{nameless}");
}

#[test]
fn an_output_that_nobody_could_write_is_refused_before_a_model_is_opened() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    place.write("texts.txt", texts(2));
    for command in ["embed", "predict"] {
        let command = format!("{command} --model nowhere --input texts.txt --shard 1/2");
        for output in ["", " --output -"] {
            let found = place.fails(&format!("{command}{output}"));
            assert!(found.contains("--shard: expected --output FILE"), "{found}");
        }
        let found = place.fails(&format!("{command} --output folder"));
        assert!(
            found.contains("folder: expected a file, there or to be made, with --shard, found a folder"),
            "{found}"
        );
        if cfg!(unix) {
            let found = place.fails(&format!("{command} --output /dev/null"));
            assert!(found.contains("with --shard, found a pipe or device"), "{found}");
        }
    }
}

/// File systems elsewhere refuse such names.
#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_utf_8_is_told_in_json_too() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    place.write("texts.txt", texts(12));
    let bad = std::ffi::OsStr::from_bytes(b"out\xff");
    let run = |arguments: &[&str], out: &[&str]| {
        let mut command = command(arguments);
        let output = command.args(out).arg(bad).current_dir(place.0.path()).output().unwrap();
        json(arguments, &output)
    };
    let tokenizer = golden("hugging_face");
    let prepare = ["data", "prepare", "texts.txt", "--tokenizer", &tokenizer, "--json", "--shard", "1/1"];
    assert_eq!(run(&prepare, &["--out"])["part"], "out\u{fffd}.1-of-1");
    assert_eq!(run(&["merge", "--json"], &[])["out"], "out\u{fffd}");
    if common::gpu().is_some() {
        fs::remove_dir_all(place.path("").join(bad)).unwrap();
        let model = golden("sentence_transformers");
        stdout(
            &command(&["embed", "--model", &model, "--input", "texts.txt", "--shard", "1/1", "--output"])
                .arg(bad)
                .current_dir(place.0.path())
                .output()
                .unwrap(),
        );
        assert_eq!(run(&["merge", "--json"], &[])["out"], "out\u{fffd}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Any change of a part is noticed.
    #[test]
    fn any_bit_of_a_part_that_changes_is_noticed(
        number in 1..=2, at in any::<prop::sample::Index>(), bit in 0..8_u8
    ) {
        let place = Place::new();
        place.write("texts.txt", texts(12));
        let tokenizer = golden("hugging_face");
        for shard in 1..=2 {
            let more = format!("--seq-len 16 --out out --shard {shard}/2");
            place.does(&format!("data prepare texts.txt --tokenizer {tokenizer} {more}"));
        }
        // The second is mostly records, the first mostly the tokenizer.
        let name = format!("out.{number}-of-2");
        let mut part = place.read(&name);
        let at = at.index(part.len());
        part[at] ^= 1 << bit;
        place.write(&name, &part);
        place.fails("merge out");
        prop_assert_eq!(place.names(), ["out.1-of-2", "out.2-of-2", "texts.txt"]);
    }
}
