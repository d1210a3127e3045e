//! What AMD's instructions do, counted from their text.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Totals of one invocation.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Counts {
    /// All instructions.
    pub instructions: f64,
    /// Multiply-adds, those of matrix units among them.
    pub multiply_adds: f64,
    /// Bytes read from workgroup memory.
    pub workgroup_bytes: f64,
    /// Loads from buffers.
    pub loads: f64,
    /// Bytes that these load.
    pub loaded_bytes: f64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.instructions += other.instructions;
        self.multiply_adds += other.multiply_adds;
        self.workgroup_bytes += other.workgroup_bytes;
        self.loads += other.loads;
        self.loaded_bytes += other.loaded_bytes;
    }
}

/// What one instruction does.
fn instruction(name: &str, line: &str, subgroup: u32) -> Counts {
    let mut counts = Counts { instructions: 1.0, ..Counts::default() };
    if let Some(rest) = name.strip_prefix("ds_load_").or_else(|| name.strip_prefix("ds_read_")) {
        counts.workgroup_bytes = workgroup_bytes(rest);
    } else if let Some(rest) = name.strip_prefix("ds_read2") {
        counts.workgroup_bytes = 2.0 * if rest.contains("b64") { 8.0 } else { 4.0 };
    } else if let Some(rest) = name.strip_prefix("buffer_load_").or_else(|| name.strip_prefix("global_load_"))
    {
        counts.loads = 1.0;
        counts.loaded_bytes = load_bytes(rest);
    } else {
        counts.multiply_adds = multiply_adds(name, line, subgroup);
    }
    counts
}

fn workgroup_bytes(what: &str) -> f64 {
    match what.strip_prefix("2addr_") {
        Some(rest) => 2.0 * load_bytes(rest.trim_start_matches("stride64_")),
        None => load_bytes(what),
    }
}

/// Bytes by the ending of an instruction: `dwordx4`, `b128`, `ushort`, `u16_d16`.
fn load_bytes(what: &str) -> f64 {
    if let Some(count) = what.strip_prefix("dword") {
        return 4.0 * count.strip_prefix('x').and_then(|n| n.parse().ok()).unwrap_or(1.0);
    }
    if ["ubyte", "sbyte"].iter().any(|name| what.starts_with(name)) {
        return 1.0;
    }
    if ["ushort", "sshort", "short"].iter().any(|name| what.starts_with(name)) {
        return 2.0;
    }
    let bits = what.trim_start_matches(|c: char| c.is_alphabetic() || c == '_');
    let bits: String = bits.chars().take_while(char::is_ascii_digit).collect();
    bits.parse::<f64>().map_or(0.0, |bits| bits / 8.0)
}

fn multiply_adds(name: &str, line: &str, subgroup: u32) -> f64 {
    if name.starts_with("v_wmma_") && name.contains("16x16x16") {
        return f64::from(16 * 16 * 16 / subgroup);
    }
    // Two instructions in one, which older disassemblers do not know: the kinds stand in the word.
    if line.contains("(invalid instruction)") || name.starts_with("v_dual_") {
        let word = line.split(';').nth(1).and_then(|words| words.split_whitespace().next());
        let Some(word) = word.and_then(|word| u32::from_str_radix(word, 16).ok()) else { return 0.0 };
        const DUAL: u32 = 0b110010;
        if word >> 26 != DUAL {
            return 0.0;
        }
        // The first three kinds are multiply-adds, fmac, fmaak and fmamk.
        return [word >> 22 & 0xf, word >> 17 & 0x1f].iter().filter(|&&kind| kind <= 2).count() as f64;
    }
    match name {
        _ if ["v_pk_fma", "v_dot2"].iter().any(|start| name.starts_with(start)) => 2.0,
        _ if ["v_fma_", "v_fmac_", "v_fmaak_", "v_fmamk_", "v_mac_", "v_mad_f", "v_mad_mix"]
            .iter()
            .any(|start| name.starts_with(start)) =>
        {
            1.0
        }
        _ => 0.0,
    }
}

/// Counts what a kernel that was compiled for subgroups of this size has in one turn of each loop, loops within it left
/// out; outside of loops comes first. Blocks begin with a line `BB3:`, and a branch back to one is the end of a loop.
pub fn loops(text: &str, subgroup: u32) -> Vec<Counts> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let label = |name: &str| lines.iter().position(|line| line.strip_suffix(':') == Some(name));
    // The last line of each loop, by its first.
    let mut ends = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let mut words = line.split_whitespace();
        let branch = words.next().is_some_and(|name| name == "s_branch" || name.starts_with("s_cbranch"));
        let target = words.next().filter(|_| branch).and_then(label);
        if let Some(start) = target.filter(|&start| start <= at) {
            ends.insert(start, at);
        }
    }
    let mut counts = vec![Counts::default(); 1 + ends.len()];
    for (at, line) in lines.iter().enumerate() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if !name.ends_with(':') {
            // Of the loops around it, the one that begins last is the innermost.
            let inside = ends.iter().rposition(|(start, end)| (*start..=*end).contains(&at));
            counts[inside.map_or(0, |index| index + 1)] += instruction(name, line, subgroup);
        }
    }
    counts
}

/// Of a kernel's [`loops`] the one with the most multiply-adds. What stands outside of loops runs once, and is taken only
/// where no loop multiplies.
pub fn busiest(loops: &[Counts]) -> Counts {
    let Some((outside, loops)) = loops.split_first() else { return Counts::default() };
    let multiply = loops.iter().filter(|counts| counts.multiply_adds > 0.0);
    *multiply.max_by(|a, b| a.multiply_adds.total_cmp(&b.multiply_adds)).unwrap_or(outside)
}

/// Everything in the text, each loop taken once.
pub fn sum(loops: &[Counts]) -> Counts {
    let mut total = Counts::default();
    loops.iter().for_each(|counts| total += *counts);
    total
}
