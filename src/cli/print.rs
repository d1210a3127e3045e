//! What all commands print with: progress on standard error, results on standard output, numbers with separators.
//!
//! Everything that a person sees passes through [`visible`], because any text may have come from a file, and what is
//! written to a terminal can move its cursor, change its title, or turn around what follows.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wgrad::Error;
use wgrad::store::Output;

/// A text with control characters and those that override the direction of writing as `\u001b`: what a terminal would do
/// is seen instead. Line ends and tabs stay. JSON says the same as before, as this is how its strings spell them.
pub fn visible(text: &str) -> Cow<'_, str> {
    let acts = |c: char| {
        let direction = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        direction || (c.is_control() && !matches!(c, '\n' | '\t'))
    };
    if !text.contains(acts) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match acts(c) {
            true => shown += &format!("\\u{:04x}", u32::from(c)),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// Writes to a terminal what [`visible`] leaves of text.
struct Visible<W>(W);

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(visible(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Writes a line of results.
pub fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{}", visible(&text.to_string()))?)
}

/// A part of a line, perhaps marked: by a word, and a number that says in which colour.
pub struct Part<'a> {
    pub text: Cow<'a, str>,
    pub mark: Option<(&'a str, usize)>,
}

/// Writes a line of which parts are marked: on a terminal by colours, unless `NO_COLOR` is set or the terminal has none,
/// elsewhere as `[MARK text]`.
pub fn painted(parts: &[Part<'_>]) -> anyhow::Result<()> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let colours = std::io::stdout().is_terminal()
        && set("NO_COLOR").is_none()
        && set("TERM").is_none_or(|term| term != "dumb");
    Ok(writeln!(std::io::stdout().lock(), "{}", joined(parts, colours))?)
}

/// The line that [`painted`] writes to what is no terminal.
pub fn plain(parts: &[Part<'_>]) -> String {
    joined(parts, false)
}

/// The line that [`painted`] writes.
fn joined(parts: &[Part<'_>], colours: bool) -> String {
    // Backgrounds on which black can be read.
    const COLOURS: [u8; 6] = [103, 106, 102, 105, 104, 101];
    let part = |Part { text, mark }: &Part<'_>| {
        let text = visible(text);
        match mark {
            None => text.into_owned(),
            Some((mark, colour)) if colours => {
                let background = COLOURS[colour % COLOURS.len()];
                format!("\u{1b}[30;{background}m{text} \u{1b}[1m{}\u{1b}[0m", visible(mark))
            }
            Some((mark, _)) => format!("[{} {text}]", visible(mark)),
        }
    };
    parts.iter().map(part).collect()
}

/// Writes the error that ends the program, in one line, and says with which exit code.
pub fn error(error: &anyhow::Error) -> u8 {
    // Whoever reads our output may stop early: `wgrad … | head`.
    let cause = match error.downcast_ref() {
        Some(Error::Io { cause, .. }) => Some(cause),
        _ => error.downcast_ref::<std::io::Error>(),
    };
    if cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe) {
        return 0;
    }
    let message = format!("{error:#}").replace(['\n', '\r'], " ");
    note(format_args!("error: {message}"));
    match error.downcast_ref::<Error>() {
        Some(Error::NoAdapter { .. }) => 3,
        Some(Error::Diverged { .. }) => 4,
        _ => 1,
    }
}

/// Begins an output that a person named; `-` is the standard output.
pub fn output(path: &Path) -> wgrad::Result<Output> {
    match path.as_os_str() == "-" {
        true if std::io::stdout().is_terminal() => Ok(Output::over(Box::new(Visible(std::io::stdout())))),
        true => Ok(Output::over(Box::new(std::io::stdout()))),
        false => Output::create(path),
    }
}

/// Writes a line for whoever watches, to standard error.
pub fn note(text: impl std::fmt::Display) {
    // Nowhere is left to tell of a standard error that is closed.
    let _ = writeln!(std::io::stderr().lock(), "{}", visible(&text.to_string()));
}

/// The program as it was called, for commands to type next.
pub fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "wgrad".to_string())
}

/// Pads every column but the last to its widest cell, two spaces apart; the columns from `right` on are flush right.
pub fn table(rows: &[Vec<String>], right: usize) -> Vec<String> {
    let width = |cell: &String| cell.chars().count();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|row| row.get(c)).map(width).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(c, cell)| {
            let space = " ".repeat(widths[c] - width(cell));
            if c >= right { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

/// A bar of the bytes taken from files: amount, speed and time left; a counter where the size is not known.
/// Hidden unless standard error is a terminal.
pub struct Bytes {
    bar: ProgressBar,
    read: Option<Arc<AtomicU64>>,
}

impl Bytes {
    /// A bar up to `total` bytes. With `read`, [`Bytes::tick`] follows that counter.
    pub fn new(total: Option<u64>, read: Option<Arc<AtomicU64>>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = match total {
            Some(_) => "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left {msg}",
            None => "{spinner} {bytes} {binary_bytes_per_sec} {elapsed} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Bytes { bar, read }
    }

    /// Follows the counter.
    pub fn tick(&self) {
        if let Some(read) = &self.read {
            self.bar.set_position(read.load(Ordering::Relaxed));
        }
    }

    /// Moves to `bytes` of `total`.
    pub fn set(&self, bytes: u64, message: String) {
        self.bar.set_position(bytes);
        self.bar.set_message(visible(&message).into_owned());
    }

    /// All bytes are read, and `what` goes on.
    pub fn then(&self, what: &'static str) {
        self.tick();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            self.bar.set_style(style);
        }
        self.bar.set_message(what);
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar of things done, the number of which may be known later. Hidden unless standard error is a terminal.
pub struct Items {
    bar: ProgressBar,
    what: &'static str,
}

impl Items {
    /// A counter of `what`, in the plural.
    pub fn new(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} {{pos}} {what} {{per_sec}}")) {
            bar.set_style(style);
        }
        Items { bar, what }
    }

    /// There are `total` in all.
    pub fn total(&self, total: usize) {
        self.bar.set_length(total as u64);
        let template = format!("{{wide_bar}} {{pos}}/{{len}} {} {{per_sec}} {{eta}} left", self.what);
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style);
        }
    }

    /// `done` are done.
    pub fn set(&self, done: usize) {
        self.bar.set_position(done as u64);
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    #[test]
    fn fault_53_what_acts_on_a_terminal_is_seen() {
        let cases = [
            ("plain, \u{e9}\u{4e2d}\u{1f468}\u{200d}\u{1f33e}\n\ttwo", None),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", Some(r"\u001b[2J\u001b]0;title\u0007")),
            ("a\rb\u{8}\u{0}\u{7f}\u{9b}1m", Some(r"a\u000db\u0008\u0000\u007f\u009b1m")),
            ("\u{202e}gnp.exe\u{2066}", Some(r"\u202egnp.exe\u2066")),
        ];
        for (text, shown) in cases {
            assert_eq!(super::visible(text), shown.unwrap_or(text));
            let mut written = Vec::new();
            super::Visible(&mut written).write_all(text.as_bytes()).unwrap();
            assert_eq!(written, shown.unwrap_or(text).as_bytes());
            // JSON stays the same JSON.
            let json = serde_json::json!({ text: text }).to_string();
            let read: serde_json::Value = serde_json::from_str(&super::visible(&json)).unwrap();
            assert_eq!(read, serde_json::json!({ text: text }));
        }
    }

    #[test]
    fn parts_are_marked_and_what_acts_on_a_terminal_is_seen_in_them_too() {
        let part = |text: &'static str, mark| super::Part { text: text.into(), mark };
        let parts = [part("a ", None), part("b\u{1b}[2J", Some(("PER\u{7}", 7))), part(".", None)];
        assert_eq!(super::joined(&parts, false), r"a [PER\u0007 b\u001b[2J].");
        let expected = "a \u{1b}[30;106mb\\u001b[2J \u{1b}[1mPER\\u0007\u{1b}[0m.";
        assert_eq!(super::joined(&parts, true), expected);
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [["a", "bb", "1"], ["ccc", "d", "22"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(super::table(&rows, 2), ["a    bb   1", "ccc  d   22"]);
    }
}
