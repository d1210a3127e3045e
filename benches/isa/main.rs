//! What a GPU's compiler makes of every kernel, without the GPU: registers, spills, waves, instructions, cycles.
//!
//! `scripts/isa` runs it on AMD's compiler; any driver that offers `VK_KHR_pipeline_executable_properties` will do.
//!
//!     cargo bench --profile dev --bench isa -- print [PART OF A KERNEL'S NAME]
//!     cargo bench --profile dev --bench isa -- assembly PART OF A KERNEL'S NAME
//!     cargo bench --profile dev --bench isa -- check PAGE
//!     cargo bench --profile dev --bench isa -- write PAGE

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub, reason = "a program for the terminal")]

mod assembly;
mod driver;
mod kernels;
mod table;

use std::process::ExitCode;

use assembly::Counts;
use driver::{Bindings, Driver, Executable};
use kernels::Form;
use table::{Row, Table};

/// Multiply-adds in one turn of a loop from which on a kernel is made of them.
const MANY: f64 = 32.0;

/// The name of a device without what every null device has around it.
fn short(name: &str) -> &str {
    let null = name.strip_prefix("Null hardware (RADV ").and_then(|name| name.strip_suffix(')'));
    null.unwrap_or(name).trim()
}

/// The figures of one kernel, in the order of the table's columns.
fn row(form: &Form, made: &Executable) -> Row {
    let Executable { subgroup, statistics, assembly } = made;
    // What is one thing has other names in other drivers: those of RADV, NVK and anv.
    let of =
        |names: &[&str]| names.iter().find_map(|name| statistics.get(*name)).copied().unwrap_or(f64::NAN);
    let loops = assembly::loops(assembly, *subgroup);
    let Counts { loads, loaded_bytes, .. } = assembly::sum(&loops);
    let Counts { instructions, multiply_adds, workgroup_bytes, .. } = assembly::busiest(&loops);
    let tenths = |value: f64| if value.is_finite() { (10.0 * value).round() / 10.0 } else { f64::NAN };
    let heavy = |value: f64| if multiply_adds >= MANY { tenths(value) } else { f64::NAN };
    let scalar = statistics.get("Spilled SGPRs").copied().unwrap_or(0.0);
    // RADV counts a wave of 64 as two.
    let waves =
        statistics.get("Subgroups per SIMD").map(|waves| (waves * 32.0 / f64::from(*subgroup)).floor());
    Row {
        kernel: form.spec.name(),
        constants: form.constants(),
        values: [
            f64::from(*subgroup),
            of(&["VGPRs", "Number of GPRs", "Max live registers"]),
            of(&["Spilled VGPRs", "Spills to memory", "Spills"]) + scalar,
            of(&["Scratch size", "SLM size", "Scratch Memory Size"]),
            of(&["LDS size", "Workgroup Memory Size"]),
            waves.unwrap_or_else(|| of(&["Max warps/SM"])),
            of(&["Instructions", "Instruction count"]),
            of(&["Inverse Throughput", "Static cycle count", "Cycles"]),
            heavy(multiply_adds / instructions),
            heavy(multiply_adds / (workgroup_bytes / 16.0)),
            tenths(loaded_bytes / loads),
        ],
    }
}

/// Every kernel whose name holds `part`, compiled. Left out are those that this device would not be given: for matrix
/// units that it lacks, or for subgroups of another size.
fn compile(driver: &Driver, part: &str) -> Result<Vec<(Form, Executable)>, String> {
    let mut all: Vec<(Form, Executable)> = Vec::new();
    for form in kernels::forms() {
        let name = format!("{} {}", form.spec.name(), form.constants());
        if !name.contains(part) || form.tile().is_some_and(|tile| !driver.tiles.contains(&tile)) {
            continue;
        }
        let words = form.spirv().map_err(|e| format!("{name}: {e}"))?;
        let (textures, buffers) = (form.spec.textures, form.spec.reads + form.spec.writes);
        let bindings = Bindings { textures, all: 1 + buffers };
        let made = driver.compile(&words, form.spec.entry, bindings).map_err(|e| format!("{name}: {e}"))?;
        let mut subgroups = form.constants.iter().filter(|(name, _)| *name == "SUBGROUP");
        if subgroups.all(|&(_, size)| size == made.subgroup) {
            all.push((form, made));
        }
    }
    // Operations that share a kernel list it both.
    let mut seen = std::collections::HashSet::new();
    all.retain(|(form, _)| seen.insert((form.spec.name(), form.constants())));
    Ok(all)
}

fn table(driver: &Driver, part: &str) -> Result<Table, String> {
    let title = format!("{}, {}", short(&driver.name), driver.version);
    let mut rows: Vec<Row> = compile(driver, part)?.iter().map(|(form, made)| row(form, made)).collect();
    rows.sort_by(|a, b| (&a.kernel, &a.constants).cmp(&(&b.kernel, &b.constants)));
    Ok(Table { title, rows })
}

fn read(page: &str) -> Result<String, String> {
    std::fs::read_to_string(page).map_err(|e| format!("{page}: {e}"))
}

/// Whether no kernel became worse.
fn check(driver: &Driver, page: &str) -> Result<bool, String> {
    let now = table(driver, "")?;
    let (title, count) = (&now.title, now.rows.len());
    let Some(before) = Table::read(&read(page)?, title)? else {
        println!("{title}: {count} kernels compiled; {page} has no table of it to hold them against");
        return Ok(true);
    };
    let found = before.compare(&now);
    for line in &found.better {
        println!("{title}: better: {line}");
    }
    for line in found.worse.iter().chain(&found.stale) {
        println!("{title}: {line}");
    }
    if found.worse.is_empty() && found.stale.is_empty() {
        println!("{title}: {count} kernels, none worse than in {page}");
        return Ok(true);
    }
    println!("{title}: {} worse, {} rows of another time", found.worse.len(), found.stale.len());
    println!("If that is meant, `scripts/isa write` makes the tables of {page} anew.");
    Ok(false)
}

fn run(driver: &Driver, arguments: &[&str]) -> Result<bool, String> {
    match arguments {
        ["print"] => print!("{}", table(driver, "")?.markdown()),
        ["print", part] => print!("{}", table(driver, part)?.markdown()),
        ["assembly", part] => {
            for (form, made) in compile(driver, part)? {
                println!("{} {}\n{}", form.spec.name(), form.constants(), made.assembly);
            }
        }
        ["check", page] => return check(driver, page),
        ["write", page] => {
            let made = table(driver, "")?;
            std::fs::write(page, made.put(&read(page)?)).map_err(|e| format!("{page}: {e}"))?;
            println!("{}: {} kernels in {page}", made.title, made.rows.len());
        }
        _ => return Err("expected `print [PART]`, `assembly PART`, `check PAGE` or `write PAGE`".into()),
    }
    Ok(true)
}

/// Ends with 2 where there is no driver to ask, with 1 where a kernel is worse or does not compile.
fn main() -> ExitCode {
    // Cargo adds a word of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if arguments.is_empty() {
        // `cargo bench` runs every benchmark so.
        println!("isa: needs a driver of its own, which scripts/isa gives it");
        return ExitCode::SUCCESS;
    }
    let driver = match Driver::open() {
        Ok(driver) => driver,
        Err(message) => {
            eprintln!("isa: {message}");
            return ExitCode::from(2);
        }
    };
    match run(&driver, &arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("isa: {message}");
            ExitCode::from(1)
        }
    }
}
