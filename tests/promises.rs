//! The tests that `docs/faults.md` and `docs/architecture.md` name are there, and every promise has one.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a file of tests has one of the name.
fn has(file: &str, text: &str, test: &str) -> bool {
    match file.ends_with(".js") {
        true => text.contains(&format!("test('{test}'")),
        false => {
            // Those of the fuzzers are made by a macro from their names.
            let listed = || {
                text.split_once("tests!(").is_some_and(|(_, list)| {
                    list.split(')').next().unwrap_or_default().split_whitespace().any(|name| name == test)
                })
            };
            text.contains(&format!("fn {test}()")) || text.contains(&format!("fn {test}(\n")) || listed()
        }
    }
}

/// The tests that a cell names, as `file`: `test`, `test`; how many there are.
fn check(cell: &str, missing: &mut Vec<String>) -> usize {
    let (mut file, mut count) = (None, 0);
    for name in quoted(cell) {
        if name.ends_with(".rs") || name.ends_with(".js") {
            file = Some((name, read(name)));
        } else if let Some((file, text)) = &file {
            count += 1;
            if !has(file, text, name) {
                missing.push(format!("{file}: {name}"));
            }
        }
    }
    count
}

#[test]
fn every_promise_names_tests_that_are_there() {
    let table = read("docs/faults.md");
    let (mut numbers, mut missing) = (Vec::new(), Vec::new());
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, _, tests] = cells.as_slice() else { panic!("{row}") };
        if number.is_empty() {
            continue;
        }
        numbers.push((*number).to_owned());
        let alone = *tests == "none: there is one GPU to a run";
        assert!(check(tests, &mut missing) > 0 || alone, "{row}");
    }
    let mut expected: Vec<String> = (1..=70).map(|number| number.to_string()).collect();
    expected.insert(44, "44b".to_owned());
    assert_eq!(numbers, expected);
    assert!(missing.is_empty(), "docs/faults.md names tests that are not there: {missing:#?}");
}

#[test]
fn every_invariant_names_tests_that_are_there() {
    let page = read("docs/architecture.md");
    let (_, table) = page.split_once("## What must stay true").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let mut missing = Vec::new();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let named: usize =
        rows.map(|row| check(row.rsplit(" | ").next().unwrap_or_default(), &mut missing)).sum();
    assert!(named > 30, "{named}");
    assert!(missing.is_empty(), "docs/architecture.md names tests that are not there: {missing:#?}");
}
