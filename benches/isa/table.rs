//! The table in `docs/kernels.md`: how it is written, read and held against what a driver says today.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What a driver made of one kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its file and entry point.
    pub kernel: String,
    /// What it was compiled with.
    pub constants: String,
    /// In the order of [`COLUMNS`]; what does not apply is NaN.
    pub values: [f64; COLUMNS.len()],
}

/// What stands in a row after a kernel and its constants.
pub const COLUMNS: [&str; 11] = [
    "subgroup",
    "registers",
    "spilled",
    "scratch",
    "LDS",
    "waves",
    "instructions",
    "cycles",
    "MAC/instr.",
    "MAC/16 B",
    "B/load",
];
/// Positions among the columns, of those that are compared.
const SPILLED: usize = 2;
const SCRATCH: usize = 3;
const WAVES: usize = 5;
const INSTRUCTIONS: usize = 6;
const CYCLES: usize = 7;

/// Instructions and cycles may grow by this much.
const ALLOWED: f64 = 1.05;

/// All rows of one device by one driver.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// As `NAVI31, Mesa 25.0.7`.
    pub title: String,
    pub rows: Vec<Row>,
}

fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "–".into(),
        value if value.fract() == 0.0 => format!("{value}"),
        value => format!("{value:.1}"),
    }
}

impl Table {
    /// As Markdown, with a heading.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n| kernel | constants |", self.title);
        for name in COLUMNS {
            let _ = write!(text, " {name} |");
        }
        text += "\n|---|---|";
        text += &"---:|".repeat(COLUMNS.len());
        for row in &self.rows {
            let _ = write!(text, "\n| {} | {} |", row.kernel, row.constants);
            for value in row.values {
                let _ = write!(text, " {} |", number(value));
            }
        }
        text + "\n"
    }

    /// The table under this title in a page, if it has one.
    ///
    /// # Errors
    /// A row that has another number of columns, or words where numbers belong.
    pub fn read(page: &str, title: &str) -> Result<Option<Table>, String> {
        let Some(part) = section(page, title) else { return Ok(None) };
        let mut rows = Vec::new();
        for line in page[part].lines().filter(|line| line.starts_with("| ")).skip(1) {
            let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
            let [kernel, constants, values @ ..] = cells.as_slice() else {
                return Err(format!("{title}: a row without a kernel: {line}"));
            };
            let value = |cell: &&str| if *cell == "–" { Ok(f64::NAN) } else { cell.parse() };
            let values: Result<Vec<f64>, _> = values.iter().map(value).collect();
            let values = values.map_err(|_| format!("{title}: expected numbers, found {line}"))?;
            let values = values
                .try_into()
                .map_err(|_| format!("{title}: expected {} columns, found {line}", COLUMNS.len() + 2))?;
            rows.push(Row { kernel: (*kernel).into(), constants: (*constants).into(), values });
        }
        Ok(Some(Table { title: title.into(), rows }))
    }

    /// `page` with this table in place of the one of the same title, or at its end.
    pub fn put(&self, page: &str) -> String {
        match section(page, &self.title) {
            Some(part) => format!("{}{}{}", &page[..part.start], self.markdown(), &page[part.end..]),
            None => format!("{}\n\n{}", page.trim_end(), self.markdown()),
        }
    }

    /// Holds `now` against this table.
    pub fn compare(&self, now: &Table) -> Comparison {
        let key = |row: &Row| format!("{} {}", row.kernel, row.constants);
        let before: BTreeMap<_, _> = self.rows.iter().map(|row| (key(row), row)).collect();
        let after: BTreeMap<_, _> = now.rows.iter().map(|row| (key(row), row)).collect();
        let mut comparison = Comparison::default();
        for (name, row) in &after {
            let Some(old) = before.get(name) else {
                comparison.stale.push(format!("{name}: not in the table"));
                continue;
            };
            for column in [SPILLED, SCRATCH, WAVES, INSTRUCTIONS, CYCLES] {
                let worse = |old: f64, new: f64| match column {
                    SPILLED | SCRATCH => new > old,
                    WAVES => new < old,
                    _ => new > ALLOWED * old,
                };
                let (old, new) = (old.values[column], row.values[column]);
                let change = format!("{name}: {} {} -> {}", COLUMNS[column], number(old), number(new));
                if worse(old, new) {
                    comparison.worse.push(change);
                } else if worse(new, old) {
                    comparison.better.push(change);
                }
            }
        }
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        comparison.stale.extend(gone.map(|name| format!("{name}: in the table alone")));
        comparison
    }
}

/// What became of kernels since the table was made: a line for each change.
#[derive(Debug, Default, PartialEq)]
pub struct Comparison {
    /// More spills, fewer waves, or more than 5% more instructions or cycles.
    pub worse: Vec<String>,
    /// The same the other way round.
    pub better: Vec<String>,
    /// Rows that only one of the two has.
    pub stale: Vec<String>,
}

/// Where the heading and the table of this title stand in a page.
fn section(page: &str, title: &str) -> Option<std::ops::Range<usize>> {
    let heading = format!("### {title}\n");
    let start = match page.starts_with(&heading) {
        true => 0,
        false => page.find(&format!("\n{heading}"))? + 1,
    };
    let body = start + heading.len();
    let mut end = body;
    for line in page[body..].split_inclusive('\n') {
        let inside = line.trim().is_empty() || line.starts_with('|');
        if !inside {
            break;
        }
        end += line.len();
    }
    // The empty line before what follows stays.
    let kept = page[body..end].trim_end().len();
    Some(start..(body + kept + 1).min(page.len()))
}
