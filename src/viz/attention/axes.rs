//! A matrix over tokens, with its labels and the border between texts.

use super::super::colour::{Rgb, Scale};
use super::super::font;
use super::super::picture::{Area, Item, Label, shortened};
use super::sheet::{BORDER, Sheet, visible};

/// The room for a token's label.
pub(super) const LABEL_ROOM: f64 = 120.0;
const LABEL: f64 = 12.0;
/// Labels below this size are not read.
const SMALLEST: f64 = 9.0;

/// `[T, T]` values, made small enough to be drawn: `bins` × `bins`, each the greatest of `bin` × `bin` values, so
/// that a thin line of attention does not fade.
pub(super) struct Binned {
    pub values: Vec<f32>,
    pub bins: usize,
    pub bin: usize,
}

impl Binned {
    /// At most `most` × `most`.
    pub(super) fn new(values: &[f32], tokens: usize, most: usize) -> Self {
        let bin = tokens.div_ceil(most.max(1)).max(1);
        let bins = tokens.div_ceil(bin);
        let mut small = vec![0f32; bins * bins];
        for (at, &value) in values.iter().enumerate() {
            let cell = &mut small[at / tokens / bin * bins + at % tokens / bin];
            *cell = cell.max(value);
        }
        Binned { values: small, bins, bin }
    }
}

impl Sheet<'_> {
    /// Draws values as colours in `area`, with a frame and the border between texts.
    pub(super) fn matrix(&mut self, area: Area, map: &Binned, scale: Scale) {
        let theme = self.shown.options.theme;
        let colour = |value: &f32| theme.map(scale.share(f64::from(*value)));
        let colours: Vec<Rgb> = map.values.iter().map(colour).collect();
        self.picture.items.push(Item::Cells { area, columns: map.bins, colours });
        if map.bin > 1 {
            let note = format!("Each point is the largest of {0} × {0} probabilities.", map.bin);
            self.note(note);
        }
        self.picture.frame(area, self.inks.frame);
        if let Some(second) = self.shown.border() {
            let share = second as f64 / (map.bins * map.bin) as f64;
            let (x, y) = (area.x + share * area.width, area.y + share * area.height);
            self.note(BORDER);
            let width = if area.width < 150.0 { 0.6 } else { 1.2 };
            self.picture.line(vec![[x, area.y], [x, area.bottom()]], self.inks.border, width);
            self.picture.line(vec![[area.x, y], [area.right(), y]], self.inks.border, width);
        }
    }

    /// Writes the tokens left of `area`, row by row.
    pub(super) fn labels_left(&mut self, area: Area) {
        self.labels(
            area.height,
            |size, at, text, ink| Label::new(area.x - 7.0, area.y + at + 0.36 * size, size, ink, text).end(),
            |at| vec![[area.x - 4.0, area.y + at], [area.x, area.y + at]],
        );
    }

    /// Writes the tokens above `area`, column by column, running upwards.
    pub(super) fn labels_above(&mut self, area: Area) {
        self.labels(
            area.width,
            |size, at, text, ink| {
                Label::new(area.x + at + 0.36 * size, area.y - 7.0, size, ink, text).upwards()
            },
            |at| vec![[area.x + at, area.y - 4.0], [area.x + at, area.y]],
        );
    }

    /// Writes as many tokens as can be read along `length` pixels, and says which.
    fn labels(
        &mut self,
        length: f64,
        place: impl Fn(f64, f64, String, Rgb) -> Label,
        tick: impl Fn(f64) -> Vec<[f64; 2]>,
    ) {
        let tokens = self.shown.len();
        let cell = length / tokens as f64;
        let (size, step) = thinned(cell);
        for index in (0..tokens).step_by(step) {
            let token = self.shown.token(index);
            let text = shortened(&visible(&token.label), size, false, LABEL_ROOM - 10.0);
            let ink = if token.special { self.inks.soft } else { self.inks.ink };
            let at = (index as f64 + 0.5) * cell;
            self.picture.label(place(size, at, text, ink));
            if step > 1 {
                self.picture.line(tick(at), self.inks.frame, 1.0);
            }
        }
        if step > 1 {
            self.note(format!("Every {} token is labelled.", ordinal(step)));
        }
    }

    /// How much room the longest label takes where cells are `cell` wide.
    pub(super) fn label_room(&self, cell: f64) -> f64 {
        let (size, step) = thinned(cell);
        let width = |at| font::width(&self.shown.token(at).label, size, false);
        (0..self.shown.len()).step_by(step).map(width).fold(0.0, f64::max).min(LABEL_ROOM - 10.0) + 14.0
    }
}

/// The size of labels on cells of a width, and how many tokens lie between one label and the next.
fn thinned(cell: f64) -> (f64, usize) {
    let size = (0.72 * cell).clamp(SMALLEST, LABEL);
    (size, ((size + 2.0) / cell).ceil().max(1.0) as usize)
}

/// `2nd`, `3rd`, `11th`
fn ordinal(number: usize) -> String {
    let end = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}
