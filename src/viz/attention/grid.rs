//! All layers × heads as small maps on one sheet, under one colour scale.

use super::super::Picture;
use super::super::colour::Scale;
use super::super::picture::{Area, Label};
use super::Shown;
use super::axes::Binned;
use super::sheet::{MARGIN, SMALL, Sheet, TOP};

/// How wide and high all maps are together, where tokens and heads allow that.
const ALL: f64 = 960.0;
/// The side of a map at least, and the most that a lonely one takes.
const SIDE: [f64; 2] = [72.0, 440.0];
const GAP: f64 = 8.0;
/// Tokens are labelled where they are this far apart.
const LABELLED: f64 = 10.0;

pub(super) fn draw(shown: &Shown) -> Picture {
    let (rows, columns) = (shown.layers.len(), shown.heads.len());
    let all = shown.all;
    let what = format!("{}: attention of {} layers × {} heads", all.model, all.layers, all.heads);
    let mut sheet = Sheet::new(shown, what);
    let tokens = shown.len();
    let most = (ALL / columns.max(rows) as f64 - GAP).clamp(SIDE[0], SIDE[1]).floor();
    // Whole pixels for a cell: all cells are of one size.
    let small = |map: &[f32]| Binned::new(map, tokens, most as usize);
    let maps: Vec<(usize, usize, Binned)> = shown
        .layers
        .iter()
        .flat_map(|&layer| shown.heads.iter().map(move |&head| (layer, head)))
        .map(|(layer, head)| (layer, head, small(&shown.map(layer, head))))
        .collect();
    let bins = maps.first().map_or(1, |(_, _, map)| map.bins);
    let cell = (most / bins as f64).floor().max(1.0);
    let side = cell * bins as f64;
    let labelled = cell >= LABELLED;
    let room = if labelled { sheet.label_room(cell) } else { 0.0 };
    let scale = Scale::of(maps.iter().flat_map(|(_, _, map)| map.values.iter().map(|&p| f64::from(p))));

    let left = MARGIN + 64.0 + room;
    let top = TOP + 14.0 + room;
    let ink = sheet.inks.ink;
    for (index, (layer, head, map)) in maps.iter().enumerate() {
        let (row, column) = (index / columns, index % columns);
        let area =
            Area::new(left + column as f64 * (side + GAP), top + row as f64 * (side + GAP), side, side);
        sheet.matrix(area, map, scale);
        if row == 0 {
            let label = Label::new(area.x + side / 2.0, TOP + 4.0, SMALL, ink, format!("head {head}"));
            sheet.picture.label(label.middle());
            if labelled {
                sheet.labels_above(area);
            }
        }
        if column == 0 {
            let y = area.y + side / 2.0 + 4.0;
            sheet.picture.label(Label::new(MARGIN, y, SMALL, ink, format!("layer {layer}")));
            if labelled {
                sheet.labels_left(area);
            }
        }
    }
    let bottom = top + rows as f64 * (side + GAP);
    sheet.colour_bar(left, bottom + 10.0, scale, "probability");
    sheet.note(
        "In each map, a row is the token that looks, a column the token looked at; both begin at the upper left.",
    );
    sheet.finish(bottom + 46.0)
}
