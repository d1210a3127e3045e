//! What `scripts/isa` stands on: tables are read as they are written, every kind of loss is found, and instructions are
//! counted right. The compilers themselves are asked by `.ci/run`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[path = "../benches/isa/assembly.rs"]
#[allow(unreachable_pub, reason = "the program's own")]
mod assembly;
#[path = "../benches/isa/table.rs"]
#[allow(unreachable_pub, reason = "the program's own")]
mod table;

use assembly::{Counts, busiest, loops, sum};
use table::{COLUMNS, Row, Table};

const TITLE: &str = "NAVI99, Mesa 1.2.3";

fn row(kernel: &str, constants: &str) -> Row {
    let values = [64.0, 48.0, 0.0, 0.0, 16384.0, 8.0, 1000.0, 2000.0, 0.7, 8.3, f64::NAN];
    Row { kernel: kernel.into(), constants: constants.into(), values }
}

fn table() -> Table {
    let rows =
        vec![row("matmul_tiled:nt", ""), row("matmul_tiled:nt", "F16=1"), row("gelu:forward", "F16=1")];
    Table { title: TITLE.into(), rows }
}

/// The table with one value of the second kernel changed.
fn with(column: &str, value: f64) -> Table {
    let mut table = table();
    let column = COLUMNS.iter().position(|name| *name == column).unwrap();
    table.rows[1].values[column] = value;
    table
}

#[test]
fn tables_are_read_as_they_are_written() {
    let other = Table { title: "NAVI98, Mesa 1.2.3".into(), ..with("LDS", 4.0) };
    let page = table().put("# A page\n\nWords.\n");
    let page = other.put(&page) + "\nMore words.\n";
    for written in [&table(), &other] {
        // A NaN is no number and equals nothing, so texts are compared.
        let read = Table::read(&page, &written.title).unwrap().unwrap();
        assert_eq!(read.markdown(), written.markdown());
    }
    assert_eq!(Table::read(&page, "NAVI97, Mesa 1.2.3").unwrap(), None);
    // Written again it stays where it is, and leaves the rest alone.
    assert_eq!(table().put(&page), page);
    let changed = with("waves", 4.0).put(&page);
    assert!(
        changed.starts_with("# A page\n\nWords.\n") && changed.ends_with("\n\nMore words.\n"),
        "{changed}"
    );
    assert_eq!(changed.matches("###").count(), 2);
    let broken = page.replacen("| 1000 |", "| many |", 1);
    assert!(Table::read(&broken, TITLE).unwrap_err().contains("expected numbers"));
    let short = page.replacen(" 1000 |", "", 1);
    assert!(Table::read(&short, TITLE).unwrap_err().contains("expected 13 columns"));
}

#[test]
fn every_kind_of_loss_is_found() {
    assert_eq!(table().compare(&table()), table::Comparison::default());
    for (column, value, line) in [
        ("spilled", 1.0, "spilled 0 -> 1"),
        ("scratch", 4.0, "scratch 0 -> 4"),
        ("waves", 7.0, "waves 8 -> 7"),
        ("instructions", 1051.0, "instructions 1000 -> 1051"),
        ("cycles", 2101.0, "cycles 2000 -> 2101"),
    ] {
        let line = format!("matmul_tiled:nt F16=1: {line}");
        let found = table().compare(&with(column, value));
        assert_eq!((found.worse, found.better.len()), (vec![line.clone()], 0), "{column}");
        // The other way round it is a gain.
        let found = with(column, value).compare(&table());
        assert_eq!((found.worse.len(), found.better.len()), (0, 1), "{column}");
    }
    for (column, value) in [("instructions", 1050.0), ("cycles", 2100.0), ("registers", 64.0), ("LDS", 1e5)] {
        assert_eq!(table().compare(&with(column, value)), table::Comparison::default(), "{column}");
    }
}

#[test]
fn rows_that_one_has_alone_are_found() {
    let mut fewer = table();
    fewer.rows.remove(2);
    assert_eq!(table().compare(&fewer).stale, ["gelu:forward F16=1: in the table alone"]);
    assert_eq!(fewer.compare(&table()).stale, ["gelu:forward F16=1: not in the table"]);
}

#[test]
fn instructions_are_counted_by_what_they_do() {
    let one = |text: &str| {
        let Counts { instructions, multiply_adds, workgroup_bytes, loads, loaded_bytes } =
            sum(&loops(text, 64));
        assert_eq!(instructions, 1.0, "{text}");
        [multiply_adds, workgroup_bytes, loads, loaded_bytes]
    };
    for text in
        ["v_fmac_f32_e32 v1, v2, v3 ; 561a0702", "v_fma_f32 v1, v2, v3, v4", "v_fma_mix_f32 v1, v2, v3, v4"]
    {
        assert_eq!(one(text), [1.0, 0.0, 0.0, 0.0], "{text}");
    }
    assert_eq!(one("v_wmma_f32_16x16x16_f16 v[4:11], v[36:43], v[20:27], v[4:11]"), [64.0, 0.0, 0.0, 0.0]);
    assert_eq!(one("v_pk_fma_f16 v1, v2, v3, v4"), [2.0, 0.0, 0.0, 0.0]);
    // v_dual_fmac_f32 with v_dual_fmac_f32, and with v_dual_mul_f32; a word of another kind.
    assert_eq!(one("(invalid instruction) ; c8000501 00000706"), [2.0, 0.0, 0.0, 0.0]);
    assert_eq!(one("(invalid instruction) ; c8060501 00000706"), [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(one("(invalid instruction) ; d8060501 00000706"), [0.0; 4]);
    assert_eq!(one("v_mul_f32_e32 v1, v2, v3"), [0.0; 4]);
    for (text, bytes) in [
        ("ds_read_b128 v[1:4], v5", 16.0),
        ("ds_load_b32 v1, v5", 4.0),
        ("ds_load_u16_d16_hi v1, v5", 2.0),
        ("ds_read2_b32 v[1:2], v5 offset1:1", 8.0),
        ("ds_read2st64_b64 v[1:4], v5 offset1:1", 16.0),
        ("ds_load_2addr_b64 v[1:4], v5 offset1:1", 16.0),
        ("ds_load_2addr_stride64_b32 v[1:2], v5 offset1:1", 8.0),
        ("ds_write_b128 v5, v[1:4]", 0.0),
    ] {
        assert_eq!(one(text), [0.0, bytes, 0.0, 0.0], "{text}");
    }
    for (text, bytes) in [
        ("buffer_load_dword v1, v2, s[4:7], 0 offen", 4.0),
        ("buffer_load_dwordx4 v[1:4], v2, s[4:7], 0 offen", 16.0),
        ("buffer_load_ushort v1, v2, s[4:7], 0 offen", 2.0),
        ("buffer_load_short_d16 v1, v2, s[4:7], 0 offen", 2.0),
        ("buffer_load_b64 v[1:2], v2, s[4:7], 0 offen", 8.0),
        ("buffer_load_d16_b16 v1, v2, s[4:7], 0 offen", 2.0),
        ("buffer_load_u16 v1, v2, s[4:7], 0 offen", 2.0),
    ] {
        assert_eq!(one(text), [0.0, 0.0, 1.0, bytes], "{text}");
    }
}

#[test]
fn each_loop_is_counted_by_itself() {
    // Three before all loops and one after, one in the outer loop before the inner one and one after, two in that.
    let text = "BB0:\n\tv_fmac_f32_e32 v1, v2, v3\n\tv_fmac_f32_e32 v1, v2, v3\n\tv_fmac_f32_e32 v1, v2, v3\nBB1:\n\
                \tv_fmac_f32_e32 v1, v2, v3\n\ts_cbranch_scc1 BB4\nBB2:\n\tv_fmac_f32_e32 v1, v2, v3\n\
                \tv_fmac_f32_e32 v1, v2, v3\n\ts_cbranch_scc0 BB2\nBB3:\n\tv_fmac_f32_e32 v1, v2, v3\n\
                \ts_branch BB1\nBB4:\n\tv_fmac_f32_e32 v1, v2, v3\n\ts_endpgm\n";
    let counts = loops(text, 64);
    let of = |index: usize| [counts[index].multiply_adds, counts[index].instructions];
    assert_eq!([of(0), of(1), of(2)], [[4.0, 5.0], [2.0, 4.0], [2.0, 3.0]]);
    assert_eq!(sum(&counts).multiply_adds, 8.0);
    // Four outside run once.
    assert_eq!(busiest(&counts), counts[2]);
    assert_eq!(busiest(&counts[..1]), counts[0]);
}
