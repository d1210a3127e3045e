//! From files under `shaders/` to one WGSL text: constants and element types in front, imports in place, parts that
//! depend on a constant kept or left out, marked loops unrolled.
//!
//! A loop is unrolled when its header ends in `// unroll`; the files are valid WGSL without that. Register
//! tiles need it: an array that is indexed by a loop variable ends up in memory on many drivers, and some
//! turn each access into a ladder of branches.

use crate::{Error, Result};

/// A file under `shaders/`, compiled into the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// Its path under `shaders/`, without `.wgsl`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// The [`Source`] of `shaders/NAME.wgsl` in the crate that says so; of another folder with `shader!("NAME" in "FOLDER")`.
#[macro_export]
macro_rules! shader {
    ($name:literal) => {
        $crate::gpu::shader!($name in "shaders")
    };
    ($name:literal in $folder:literal) => {
        $crate::gpu::Source {
            name: $name,
            text: {
                const TEXT: &str =
                    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $name, ".wgsl"));
                // A page's visitors download them.
                const BARE: &[u8] = &$crate::gpu::without_comments::<{ $crate::gpu::bare_length(TEXT) }>(TEXT);
                match std::str::from_utf8(BARE) {
                    Ok(bare) if cfg!(target_arch = "wasm32") => bare,
                    _ => TEXT,
                }
            },
        }
    };
}
pub use shader;

/// `source`, without its text in a page: for kernels on matrix units, which no browser has.
pub(crate) const fn not_in_pages(source: Source) -> Source {
    match cfg!(target_arch = "wasm32") {
        true => Source { text: "", ..source },
        false => source,
    }
}

/// Where the line that begins at `start` has its comment, or ends; and where the line ends. What marks a loop to be unrolled
/// is no comment here, nor the blanks in front of it.
const fn comment(text: &[u8], start: usize) -> (usize, usize) {
    let mut end = start;
    while end < text.len() && text[end] != b'\n' {
        end += 1;
    }
    let mut at = start;
    while at + 1 < end && !(text[at] == b'/' && text[at + 1] == b'/') {
        at += 1;
    }
    let marks = at + 9 == end && text[at + 3] == b'u' && text[at + 4] == b'n' && text[at + 5] == b'r';
    if at + 1 >= end || marks {
        return (end, end);
    }
    while at > start && text[at - 1] == b' ' {
        at -= 1;
    }
    (at, end)
}

/// Where the line that begins at `start` has its first letter, which is not behind `end`.
const fn indented(text: &[u8], start: usize, end: usize) -> usize {
    let mut at = start;
    while at < end && text[at] == b' ' {
        at += 1;
    }
    at
}

/// How many bytes `text` has without its comments and the blanks in front of its lines.
#[doc(hidden)]
pub const fn bare_length(text: &str) -> usize {
    let text = text.as_bytes();
    let (mut start, mut length) = (0, 0);
    while start < text.len() {
        let (at, end) = comment(text, start);
        length += at - indented(text, start, at) + (end < text.len()) as usize;
        start = end + 1;
    }
    length
}

/// `text` without its comments and the blanks in front of its lines, line for line.
#[doc(hidden)]
pub const fn without_comments<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    let mut bare = [0; N];
    let (mut start, mut to) = (0, 0);
    while start < text.len() {
        let (at, end) = comment(text, start);
        let mut from = indented(text, start, at);
        while from < at {
            bare[to] = text[from];
            (to, from) = (to + 1, from + 1);
        }
        if end < text.len() {
            bare[to] = b'\n';
            to += 1;
        }
        start = end + 1;
    }
    bare
}

/// What `#import` may name.
const LIBRARY: &[Source] = &[
    shader!("lib/activation"),
    shader!("lib/attention"),
    shader!("lib/epilogue"),
    shader!("lib/erf"),
    shader!("lib/gelu"),
    shader!("lib/grid"),
    shader!("lib/matmul"),
    shader!("lib/narrow"),
    shader!("lib/optimizer"),
    shader!("lib/random"),
    shader!("lib/reduce"),
];

/// A constant put in front of the shader: `const NAME: u32 = value;`. Workgroup sizes are constants too. Three
/// are more than that: [`F16`], [`OUT_F16`] and [`TILE`].
pub type Constant = (&'static str, u32);

/// Whether `elem`, the type that activations and matrices are stored in, is `f16`; else it is `f32`.
pub const F16: &str = "F16";

/// The edge of the tiles that matrix units take, 16 or 8. It makes the types `Left`, `Right` and `Sum` of a product
/// of `elem` with sums of f32.
pub const TILE: &str = "TILE";

/// Converts to f16 as a driver does whose conversion saturates, for a test.
pub(super) const SATURATE: &str = "SATURATE";

/// Whether `out_elem`, the type of what a kernel writes, is `f16`; without this constant it is `elem`.
pub const OUT_F16: &str = "OUT_F16";

/// A complete WGSL text, and where each of its lines came from.
#[derive(Debug)]
pub struct Composed {
    /// The text that the driver gets.
    pub text: String,
    lines: Vec<(&'static str, usize)>,
}

#[derive(Clone)]
struct Line {
    text: String,
    file: &'static str,
    number: usize,
}

/// Puts `constants` in front of `source`, keeps what stands between `#if NAME`, `#else` and `#end` as the constant is
/// (one that is not given is 0), replaces each `#import lib/…` line, once per file, by that file's text, and unrolls
/// the loops marked `// unroll`.
///
/// # Errors
/// [`Error::Shader`] for an import that does not exist, an `#if` that does not end in its file, or a marked loop that
/// cannot be unrolled.
pub fn compose(source: &Source, constants: &[Constant]) -> Result<Composed> {
    let chosen = |name| constants.iter().find(|(constant, _)| *constant == name).map(|(_, value)| *value);
    let elem = chosen(F16).unwrap_or(0);
    let result = chosen(OUT_F16).unwrap_or(elem);
    // What follows from the types, for `#if`.
    let mut all = constants.to_vec();
    all.retain(|(name, _)| *name != OUT_F16);
    all.extend([(OUT_F16, result), ("HALVES_ARE_STORED", elem + result)]);
    let mut prelude = Vec::new();
    if elem + result > 0 {
        prelude.push("enable f16;".to_string());
    }
    if let Some(tile) = chosen(TILE) {
        prelude.push("enable wgpu_cooperative_matrix;".to_string());
        let operand = if elem > 0 { "f16" } else { "f32" };
        for (name, element, role) in [("Left", operand, "A"), ("Right", operand, "B"), ("Sum", "f32", "C")] {
            prelude.push(format!("alias {name} = coop_mat{tile}x{tile}<{element}, {role}>;"));
        }
    }
    for (name, half) in [("elem", elem), ("out_elem", result)] {
        prelude.push(format!("alias {name} = {};", if half > 0 { "f16" } else { "f32" }));
    }
    prelude.extend(constants.iter().map(|(name, value)| format!("const {name}: u32 = {value}u;")));
    let mut lines: Vec<Line> =
        (1..).zip(prelude).map(|(number, text)| Line { text, file: "prelude", number }).collect();
    append(source, &all, &mut Vec::new(), &mut lines)?;
    let mut unrolled = Vec::new();
    unroll(&lines, constants, &mut unrolled)?;
    let mut text = String::new();
    for line in &unrolled {
        text.push_str(&line.text);
        text.push('\n');
    }
    Ok(Composed { text, lines: unrolled.iter().map(|line| (line.file, line.number)).collect() })
}

fn append(
    source: &Source,
    constants: &[Constant],
    imported: &mut Vec<&'static str>,
    out: &mut Vec<Line>,
) -> Result<()> {
    // Of each `#if` around a line, whether its part is kept.
    let mut kept: Vec<bool> = Vec::new();
    let mut last = None;
    for (index, line) in source.text.lines().enumerate() {
        let line = Line { text: line.to_string(), file: source.name, number: index + 1 };
        if let Some(name) = line.text.strip_prefix("#if ") {
            kept.push(constants.iter().any(|&(constant, value)| constant == name.trim() && value > 0));
            last = Some(line);
            continue;
        }
        if matches!(line.text.trim_end(), "#else" | "#end") {
            let part = kept.pop().ok_or_else(|| fault(&line, "there is no `#if` before".into()))?;
            if line.text.starts_with("#else") {
                kept.push(!part);
            }
            continue;
        }
        if kept.contains(&false) {
            continue;
        }
        let Some(name) = line.text.trim().strip_prefix("#import ") else {
            out.push(line);
            continue;
        };
        let Some(import) = LIBRARY.iter().find(|library| library.name == name.trim()) else {
            return Err(fault(&line, format!("no library file `{}`", name.trim())));
        };
        if !imported.contains(&import.name) {
            imported.push(import.name);
            append(import, constants, imported, out)?;
        }
    }
    match last.filter(|_| !kept.is_empty()) {
        Some(line) => Err(fault(&line, "expected `#end` after it".into())),
        None => Ok(()),
    }
}

fn fault(line: &Line, message: String) -> Error {
    Error::Shader { file: format!("shaders/{}.wgsl", line.file), line: line.number, message }
}

/// Expands `for (var i = 0u; i < N; i++) { // unroll` with N a number or one of `constants`.
fn unroll(lines: &[Line], constants: &[Constant], out: &mut Vec<Line>) -> Result<()> {
    let mut at = 0;
    while at < lines.len() {
        let line = &lines[at];
        let Some(header) = line.text.strip_suffix("// unroll") else {
            out.push(line.clone());
            at += 1;
            continue;
        };
        let (name, count) = header_of(header, constants)
            .ok_or_else(|| fault(line, "expected `for (var i = 0u; i < N; i++) { // unroll`".into()))?;
        let length = body_length(&lines[at + 1..])
            .ok_or_else(|| fault(line, "the unrolled loop does not end in a line `}`".into()))?;
        let body = &lines[at + 1..at + 1 + length];
        for index in 0..count {
            let value = format!("{index}u");
            let mut copy = body.to_vec();
            for line in &mut copy {
                line.text = replace_word(&line.text, name, &value);
            }
            out.push(Line { text: "{".into(), ..line.clone() });
            unroll(&copy, constants, out)?;
            out.push(Line { text: "}".into(), ..line.clone() });
        }
        at += length + 2;
    }
    Ok(())
}

fn header_of<'a>(header: &'a str, constants: &[Constant]) -> Option<(&'a str, u32)> {
    let (name, rest) = header.trim().strip_prefix("for (var ")?.split_once(" = 0u; ")?;
    let bound = rest.strip_prefix(name)?.strip_prefix(" < ")?;
    let (bound, step) = bound.split_once("; ")?;
    if step != format!("{name}++) {{ ").trim_end() {
        return None;
    }
    let count = constants
        .iter()
        .find(|(constant, _)| *constant == bound)
        .map(|(_, value)| *value)
        .or_else(|| bound.strip_suffix('u')?.parse().ok())?;
    Some((name, count))
}

/// How many lines stand before the one that closes the block which begins before `lines`.
fn body_length(lines: &[Line]) -> Option<usize> {
    let mut depth = 1;
    for (index, line) in lines.iter().enumerate() {
        let code = line.text.split("//").next().unwrap_or_default();
        depth += code.matches('{').count() as i64 - code.matches('}').count() as i64;
        if depth == 0 {
            return (code.trim() == "}").then_some(index);
        }
    }
    None
}

fn replace_word(text: &str, word: &str, value: &str) -> String {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(word) {
        let end = start + word.len();
        let before = rest[..start].chars().next_back().or(out.chars().next_back());
        let whole = !before.is_some_and(|c| part(c) || c == '.') && !rest[end..].starts_with(part);
        out.push_str(&rest[..start]);
        out.push_str(if whole { value } else { word });
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

impl Composed {
    /// Turns the compiler's message about this text into an error that names the file and line of the
    /// source. Compilers write `wgsl:LINE:COLUMN`.
    pub fn error(&self, message: &str) -> Error {
        let line = message
            .split("wgsl:")
            .nth(1)
            .and_then(|rest| rest.split(':').next())
            .and_then(|number| number.parse::<usize>().ok())
            .unwrap_or(1);
        let (file, line) = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(("?", 0));
        Error::Shader { file: format!("shaders/{file}.wgsl"), line, message: message.trim().to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_lines_stay() {
        const TEXT: &str = "// What it computes.\n\nfn f() { // why\n    for (;;) { // unroll\n        a / b; // unrolled\n    }\n}";
        const BARE: [u8; bare_length(TEXT)] = without_comments(TEXT);
        let expected = "\n\nfn f() {\nfor (;;) { // unroll\na / b;\n}\n}";
        assert_eq!(std::str::from_utf8(&BARE), Ok(expected));
    }

    #[test]
    fn imports_are_put_in_place_once_and_errors_point_home() {
        let source =
            Source { name: "probe", text: "#import lib/grid\n#import lib/grid\nfn broken() { let x = ; }\n" };
        let composed = compose(&source, &[("WORKGROUP", 64)]).unwrap();
        let prelude = "alias elem = f32;\nalias out_elem = f32;\nconst WORKGROUP: u32 = 64u;\n";
        assert!(composed.text.starts_with(prelude), "{}", composed.text);
        assert_eq!(composed.text.matches("fn linear_index").count(), 1);
        let line = composed.text.lines().position(|l| l.contains("broken")).unwrap() + 1;
        match composed.error(&format!("bad\n ┌─ wgsl:{line}:23\n")) {
            Error::Shader { file, line, .. } => {
                assert_eq!((file.as_str(), line), ("shaders/probe.wgsl", 3));
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn parts_depend_on_constants() {
        let text = "a\n#if ONE\nb\n#if TWO\nc\n#else\nd\n#end\n#end\n#if TWO\n#import lib/nowhere\n#end\ne\n";
        let source = Source { name: "probe", text };
        let body = |constants: &[Constant]| {
            let text = compose(&source, constants).unwrap().text;
            text.lines().filter(|line| line.len() == 1).collect::<String>()
        };
        assert_eq!(body(&[]), "ae");
        assert_eq!(body(&[("ONE", 1)]), "abde");
        assert_eq!(body(&[("ONE", 1), ("TWO", 0)]), "abde");
        assert!(compose(&source, &[("TWO", 1)]).err().unwrap().to_string().contains("lib/nowhere"));
        for (text, line) in [("\n#if ONE\n#else\n", 2), ("#if ONE\n#end\n#end\n", 3), ("#else\n", 1)] {
            let error = compose(&Source { name: "probe", text }, &[]).err().unwrap().to_string();
            assert!(error.contains(&format!("probe.wgsl, line {line}")), "{error}");
        }
    }

    #[test]
    fn marked_loops_are_unrolled_to_constants() {
        let text = "for (var i = 0u; i < N; i++) { // unroll\n  for (var j = 0u; j < 2u; j++) { // unroll\n    \
                    c[i][j] = p.i + min(i, ii);\n  }\n}\nend\n";
        let composed = compose(&Source { name: "probe", text }, &[("N", 3)]).unwrap();
        assert_eq!(composed.text.matches("p.i").count(), 6);
        assert!(composed.text.contains("c[2u][1u] = p.i + min(2u, ii);"), "{}", composed.text);
        assert_eq!(composed.text.matches('{').count(), composed.text.matches('}').count());
        let last = composed.text.lines().count();
        assert!(composed.error(&format!("wgsl:{last}:1")).to_string().contains("probe.wgsl, line 6"));
        let broken = Source { name: "probe", text: "for (var i = 1u; i < 4u; i++) { // unroll\n}\n" };
        assert!(compose(&broken, &[]).is_err());
    }

    #[test]
    fn element_types_come_from_constants() {
        let source = Source { name: "probe", text: "" };
        let text = |constants: &[Constant]| compose(&source, constants).unwrap().text;
        assert!(text(&[(F16, 1)]).starts_with("enable f16;\nalias elem = f16;\nalias out_elem = f16;\n"));
        assert!(text(&[(F16, 1), (OUT_F16, 0)]).contains("alias elem = f16;\nalias out_elem = f32;\n"));
        assert!(text(&[(F16, 0), (OUT_F16, 0)]).starts_with("alias elem = f32;\n"));
    }

    #[test]
    fn an_unknown_import_is_an_error_with_its_line() {
        let source = Source { name: "probe", text: "\n#import lib/nowhere\n" };
        let error = compose(&source, &[]).err().unwrap().to_string();
        assert!(error.contains("probe.wgsl, line 2") && error.contains("lib/nowhere"), "{error}");
    }
}
