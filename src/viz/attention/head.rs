//! One head: from which token to which.

use super::super::Picture;
use super::super::colour::Scale;
use super::super::picture::{Area, Label};
use super::axes::Binned;
use super::sheet::{MARGIN, SMALL, Sheet, TOP, percent};
use super::{Shown, measures};

/// The side of a map, where its tokens allow that.
const SIDE: f64 = 640.0;
const CELL: [f64; 2] = [2.0, 44.0];
/// Cells this large hold their number.
const NUMBERED: f64 = 30.0;

pub(super) fn draw(shown: &Shown) -> Picture {
    let (layer, head) = (shown.layers[0], shown.heads[0]);
    let title = format!("{}: attention of layer {layer}, head {head}", shown.all.model);
    let mut sheet = Sheet::new(shown, title);
    let values = shown.map(layer, head);
    let scale = Scale::of(values.iter().map(|&value| f64::from(value)));
    let bottom = map(&mut sheet, &values, scale, "probability", TOP);
    let by = measures::by_distance(shown, layer, head);
    let near = |distance: i64| percent(f64::from(by.mean[(distance + measures::REACH) as usize]));
    if shown.len() > 1 {
        sheet.note(format!(
            "On average a token gives {} to itself, {} to the one before it, {} to the one after it.",
            near(0),
            near(-1),
            near(1)
        ));
    }
    sheet.finish(bottom)
}

/// Draws `values` `[T, T]` from `top` on with labels and colour bar, and says where it ends.
pub(super) fn map(sheet: &mut Sheet, values: &[f32], scale: Scale, what: &str, top: f64) -> f64 {
    let tokens = sheet.shown.len();
    let cell = (SIDE / tokens as f64).clamp(CELL[0], CELL[1]).floor();
    let side = cell * tokens as f64;
    let room = sheet.label_room(cell);
    let (soft, theme) = (sheet.inks.soft, sheet.shown.options.theme);
    // The names of the axes stand in the corner between their labels.
    let area = Area::new(MARGIN + 18.0 + room, top + 18.0 + room, side, side);
    sheet.matrix(area, &Binned::new(values, tokens, tokens), scale);
    sheet.labels_left(area);
    sheet.labels_above(area);
    sheet.picture.label(Label::new(area.x, top + 10.0, SMALL, soft, "to →"));
    sheet.picture.label(Label::new(MARGIN + 10.0, area.y, SMALL, soft, "← from").upwards().end());
    if cell >= NUMBERED {
        for (at, &value) in values.iter().enumerate().filter(|(_, value)| **value >= 0.01) {
            let value = f64::from(value);
            let x = area.x + (at % tokens) as f64 * cell + cell / 2.0;
            let y = area.y + (at / tokens) as f64 * cell + cell / 2.0 + 3.6;
            let ink = theme.on(scale.share(value));
            let text = format!("{:.0}", 100.0 * value);
            sheet.picture.label(Label::new(x, y, 10.0, ink, text).middle());
        }
        sheet.note("Numbers are percent; below 1 they are not written.");
    }
    sheet.colour_bar(area.x, area.bottom() + 16.0, scale, what);
    area.bottom() + 56.0
}
