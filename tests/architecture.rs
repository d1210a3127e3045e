//! What docs/architecture.md says of who knows whom, read off the sources' `use` lines and paths.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its path within the crate.
type Module = Vec<String>;

/// Each module of the crate may use those of the lists before its own, and those of its own list.
const FLOORS: [&[&str]; 8] = [
    &["budget", "error", "format", "hash", "json", "random", "store"],
    &["gpu", "text"],
    &["ops", "autograd", "tensor", "shape", "data"],
    &["nn", "optim"],
    &["models"],
    &["files"],
    &["infer", "viz", "train"],
    &["web", "cli", "main"],
];

/// Pairs that the floors would allow and that are not to be: text and data never touch the GPU, nor the GPU files;
/// pictures are drawn from plain arrays.
const APART: [(&str, &[&str]); 5] = [
    ("data", &["gpu", "ops", "autograd", "tensor"]),
    ("optim", &["data", "text"]),
    ("models", &["data", "text"]),
    ("viz", &["gpu", "ops", "models", "files", "train", "infer", "data"]),
    ("infer", &["train", "viz"]),
];

/// The sources without comments and without their own tests.
fn sources() -> BTreeMap<Module, String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, found),
                false => found.push(path),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    let module = |path: PathBuf| {
        let within = path.strip_prefix(&root).unwrap().with_extension("");
        let mut parts: Module = within.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if parts.last().is_some_and(|last| ["mod", "lib"].contains(&last.as_str())) {
            parts.pop();
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
        (parts, code.join("\n"))
    };
    paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).map(module).collect()
}

/// The paths of a `use` tree.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let (head, mut depth, mut part, mut parts) = (&tree[..open], 0, String::new(), Vec::new());
    for letter in tree[open..].chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match (letter, depth) {
            ('{', 1) | ('}', 0) => {}
            (',', 1) => parts.push(std::mem::take(&mut part)),
            _ => part.push(letter),
        }
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(part)).map(|rest| format!("{head}{rest}")).collect()
}

/// The trees of all `use` declarations, public ones or others, and the text without any.
fn uses(text: &str) -> ([Vec<String>; 2], String) {
    let (mut found, mut rest) = ([Vec::new(), Vec::new()], String::new());
    for statement in text.split_inclusive(';') {
        let Some(at) = statement.rfind("use ").filter(|&at| {
            let before = &statement[..at];
            before.is_empty() || before.ends_with(|c: char| c.is_whitespace())
        }) else {
            rest.push_str(statement);
            continue;
        };
        let public = statement[..at].lines().last().unwrap_or_default().trim_start().starts_with("pub");
        let tree = statement[at + 4..].trim_end_matches(';').replace('\n', " ");
        found[usize::from(public)].push(tree);
    }
    (found, rest)
}

/// Where a path leads from `module`; nothing for one that leaves the crate.
fn absolute(modules: &BTreeMap<Module, String>, module: &Module, path: &str) -> Option<Module> {
    let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
    let first = *parts.first()?;
    let owned = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Module>();
    match first {
        "crate" => Some(owned(&parts[1..])),
        "super" | "self" => {
            let mut base = module.clone();
            while let Some(step @ ("super" | "self")) = parts.first().copied() {
                if step == "super" {
                    base.pop()?;
                }
                parts.remove(0);
            }
            Some([base, owned(&parts)].concat())
        }
        _ => {
            let child = [module.clone(), vec![first.to_owned()]].concat();
            modules.contains_key(&child).then(|| [module.clone(), owned(&parts)].concat())
        }
    }
}

/// Which file each file uses.
fn edges(modules: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let read: BTreeMap<&Module, _> = modules.iter().map(|(module, text)| (module, uses(text))).collect();
    let mut exports: BTreeMap<Module, Module> = BTreeMap::new();
    for (module, ([_, public], _)) in &read {
        for path in public.iter().flat_map(|tree| expand(tree)) {
            if let Some(to) = absolute(modules, module, &path)
                && let Some(name) = to.last()
            {
                exports.insert([(*module).clone(), vec![name.clone()]].concat(), to);
            }
        }
    }
    // The file that a path names something of, re-exports followed.
    let home = |mut path: Module| {
        for _ in 0..9 {
            let known = (1..=path.len()).rev().find_map(|length| {
                let to = exports.get(&path[..length])?;
                Some([to.clone(), path[length..].to_vec()].concat())
            });
            match known.filter(|_| !modules.contains_key(&path)) {
                Some(next) => path = next,
                None => break,
            }
        }
        (0..=path.len()).rev().map(|length| path[..length].to_vec()).find(|path| modules.contains_key(path))
    };
    let mut edges = BTreeMap::new();
    for (module, ([private, _], rest)) in &read {
        let mut paths: Vec<String> = private.iter().flat_map(|tree| expand(tree)).collect();
        for start in ["crate::", "super::"] {
            for (at, _) in rest.match_indices(start) {
                let path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                paths.push(rest[at..].chars().take_while(|c| path(*c)).collect());
            }
        }
        let to = paths.iter().filter_map(|path| absolute(modules, module, path)).filter_map(home);
        // A folder's own file and those in it are one room.
        let to = to.filter(|to| !to.is_empty() && !to.starts_with(module) && !module.starts_with(to));
        edges.insert((*module).clone(), to.collect::<BTreeSet<Module>>());
    }
    edges
}

#[test]
fn no_file_uses_one_of_a_floor_above() {
    let modules = sources();
    let floor = |module: &str| FLOORS.iter().position(|floor| floor.contains(&module));
    let mut wrong = Vec::new();
    for (from, all) in edges(&modules) {
        // The crate's root says what there is.
        let Some(user) = from.first() else { continue };
        let own = floor(user).unwrap_or_else(|| panic!("{user} stands on no floor: put it into FLOORS"));
        for to in all {
            let used = to[0].as_str();
            let apart = APART.iter().any(|(one, others)| one == user && others.contains(&used));
            if floor(used).is_none_or(|used| used > own) || apart {
                wrong.push(format!("{} uses {}", from.join("::"), to.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let edges = edges(&sources());
    assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 500, "the sources were not read");
    // What uses nothing that is left is in no circle.
    let mut left = edges.clone();
    loop {
        let free: BTreeSet<Module> = left
            .iter()
            .filter(|(_, to)| to.iter().all(|to| !left.contains_key(to)))
            .map(|(module, _)| module.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module, _| !free.contains(module));
    }
    // Nor is what nothing that is left uses.
    loop {
        let used: BTreeSet<Module> = left.values().flatten().cloned().collect();
        let before = left.len();
        left.retain(|module, _| used.contains(module));
        if left.len() == before {
            break;
        }
    }
    let names: Vec<String> = left.keys().map(|module| module.join("::")).collect();
    assert!(names.is_empty(), "these files use each other in circles: {}", names.join(", "));
}

/// `scripts/test` runs `tests/adapter_*.rs` on a second adapter.
#[test]
fn what_records_on_both_kinds_of_kernels_runs_on_a_second_adapter_or_says_why_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let folders =
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = [root.clone()].into_iter().chain(folders).flat_map(|folder| fs::read_dir(folder).unwrap());
    let (mut here, mut wrong) = (0, Vec::new());
    for path in
        files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "rs"))
    {
        let text = fs::read_to_string(&path).unwrap();
        let records = text.contains("gpu_as(") && text.contains("Graph::");
        let (name, own) = (path.file_name().unwrap().to_str().unwrap(), path.ends_with(file!()));
        let marked = name.starts_with("adapter_");
        here += usize::from(marked);
        if records && !own && !marked && !text.contains("//! One adapter is enough: ") {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "call them adapter_…, or say `One adapter is enough: ` and why: {wrong:?}");
    assert!(here >= 5, "scripts/test finds {here} files");
}

#[test]
fn only_commands_know_the_terminal() {
    let words = ["println!", "eprintln!", "print!", "stdout()", "stderr()", "process::exit", "is_terminal"];
    let mut wrong = Vec::new();
    for (module, text) in sources() {
        let floor = module.first().map_or("lib", String::as_str);
        let used = words.iter().filter(|word| text.contains(*word));
        wrong
            .extend(used.filter(|_| !["cli", "main"].contains(&floor)).map(|word| (module.join("::"), word)));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Every row of the table of docs/architecture.md that says what must stay true names tests that there are.
#[test]
fn what_must_stay_true_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let table = page.split("## What must stay true").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 15, "the table was not read");
    for row in rows {
        let Some((_, proof)) = row.trim_end_matches(" |").rsplit_once(" | ") else { panic!("{row}") };
        let mut text = String::new();
        for quoted in proof.split('`').skip(1).step_by(2) {
            let path = root.join(quoted);
            let words = quoted.trim_start_matches('…');
            match path.exists() {
                true => text = fs::read_to_string(path).unwrap(),
                false if words.contains("::") => {
                    let file = words.replace("common::", "tests/common/");
                    let (file, name) = file.split_once("::").unwrap();
                    text = fs::read_to_string(root.join(file).with_extension("rs")).unwrap();
                    assert!(text.contains(&format!("fn {name}(")), "{quoted} is nowhere");
                }
                false => {
                    let named =
                        text.lines().any(|line| line.contains("fn ") && line.contains(&format!("{words}(")));
                    assert!(named, "{quoted} is not in the file before it: {row}");
                }
            }
        }
        assert!(!text.is_empty(), "{row} names no test");
    }
}

/// The table of SECURITY.md names each file with unsafe code, and no other.
#[test]
fn unsafe_code_is_listed() {
    let unsafe_code = |text: &str| {
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
            .any(|word| word == "unsafe")
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    let mut folders = vec![root.join("src"), root.join("examples"), root.join("benches")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs")
                && unsafe_code(&fs::read_to_string(&path).unwrap())
            {
                found.insert(path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"));
            }
        }
    }
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: BTreeSet<String> = rows.map(|(file, _)| file.to_owned()).collect();
    assert_eq!(found, listed);
}

#[test]
fn colours_stand_in_one_place() {
    let is_colour = |word: &str| {
        word.len() >= 7 && word[1..7].chars().all(|digit| digit.is_ascii_hexdigit()) && word.starts_with('#')
    };
    let has_one =
        |text: &str| text.match_indices('#').any(|(at, _)| is_colour(text.get(at..at + 7).unwrap_or("")));
    let pictures =
        sources().into_iter().filter(|(module, _)| module.first().is_some_and(|floor| floor == "viz"));
    let found: Vec<String> =
        pictures.filter(|(_, text)| has_one(text)).map(|(module, _)| module.join("::")).collect();
    assert_eq!(found, ["viz::colour::curve"]);
}

/// A page has neither processes nor a clock of the system: what its files stand on must ask for none.
#[test]
fn stores_ask_for_nothing_that_a_page_lacks() {
    let words = ["std::process", "process::", "SystemTime", "Instant"];
    for (module, text) in sources() {
        let path: Vec<&str> = module.iter().map(String::as_str).collect();
        // Who locks a folder shares it with other processes.
        if path.first() != Some(&"store") || path == ["store", "lock"] {
            continue;
        }
        let used: Vec<_> = words.iter().filter(|word| text.contains(*word)).collect();
        assert!(used.is_empty(), "{} asks for {used:?}", module.join("::"));
    }
}
