//! The letters of pictures: DejaVu Sans, then the bitmaps of GNU Unifont for the scripts it lacks, then a box. All of
//! them ship in crates, so that a picture is the same everywhere.
//!
//! Letters stand one after the other, left to right: there is no shaping of Arabic or Indic scripts.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, OutlineCurve};
use tiny_skia::{Path, PathBuilder, Rect};

static REGULAR: LazyLock<Option<FontRef<'static>>> =
    LazyLock::new(|| FontRef::try_from_slice(dejavu::sans::regular()).ok());
static BOLD: LazyLock<Option<FontRef<'static>>> =
    LazyLock::new(|| FontRef::try_from_slice(dejavu::sans::bold()).ok());

/// Pixels in the height of a bitmap letter.
const BITMAP: f32 = 16.0;
/// How much of it lies above the base line.
const BITMAP_ABOVE: f32 = 14.0;
/// The width of the box that stands for an unknown character, in heights of a letter.
const BOX: f64 = 0.72;

/// How a character is drawn.
enum Letter {
    Outline(&'static FontRef<'static>, ab_glyph::GlyphId),
    Bitmap(&'static unifont::Glyph),
    Box,
    /// Shown by what follows or precedes it, if at all.
    Nothing,
}

fn letter(character: char, bold: bool) -> Letter {
    let face = if bold { &*BOLD } else { &*REGULAR };
    for font in [face, &*REGULAR].into_iter().flatten() {
        let id = font.glyph_id(character);
        if id.0 != 0 {
            return Letter::Outline(font, id);
        }
    }
    // Joiners and variation selectors change their neighbours in fonts that know them.
    if matches!(character, '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0100}'..='\u{e01ef}')
    {
        return Letter::Nothing;
    }
    unifont::get_glyph(character).map_or(Letter::Box, Letter::Bitmap)
}

/// The advance of a letter at size 1.
fn advance(letter: &Letter) -> f64 {
    match letter {
        Letter::Outline(font, id) => {
            let units = font.units_per_em().unwrap_or(1000.0);
            f64::from(font.h_advance_unscaled(*id) / units)
        }
        Letter::Bitmap(glyph) => glyph.get_width() as f64 / f64::from(BITMAP),
        Letter::Box => BOX,
        Letter::Nothing => 0.0,
    }
}

/// The width of `text` at font size `size`, in the unit of `size`.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    size * text.chars().map(|character| advance(&letter(character, bold))).sum::<f64>()
}

/// The outline of `text` at size 1, its base line at 0, y downwards. None where nothing is to be seen.
pub(super) fn outline(text: &str, bold: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    let mut x = 0.0;
    for character in text.chars() {
        let letter = letter(character, bold);
        match &letter {
            Letter::Outline(font, id) => trace(&mut path, font, *id, x as f32),
            Letter::Bitmap(glyph) => pixels(&mut path, glyph, x as f32),
            Letter::Box => unknown(&mut path, x as f32),
            Letter::Nothing => {}
        }
        x += advance(&letter);
    }
    path.finish()
}

fn trace(path: &mut PathBuilder, font: &FontRef, id: ab_glyph::GlyphId, left: f32) {
    let units = font.units_per_em().unwrap_or(1000.0);
    let Some(outline) = font.outline(id) else { return };
    let at = |point: ab_glyph::Point| (left + point.x / units, -point.y / units);
    let mut end: Option<ab_glyph::Point> = None;
    for curve in &outline.curves {
        let (from, to) = match curve {
            OutlineCurve::Line(from, to)
            | OutlineCurve::Quad(from, _, to)
            | OutlineCurve::Cubic(from, _, _, to) => (*from, *to),
        };
        if end != Some(from) {
            if end.is_some() {
                path.close();
            }
            let (x, y) = at(from);
            path.move_to(x, y);
        }
        let (x, y) = at(to);
        match curve {
            OutlineCurve::Line(..) => path.line_to(x, y),
            OutlineCurve::Quad(_, control, _) => {
                let (cx, cy) = at(*control);
                path.quad_to(cx, cy, x, y);
            }
            OutlineCurve::Cubic(_, one, two, _) => {
                let ((ax, ay), (bx, by)) = (at(*one), at(*two));
                path.cubic_to(ax, ay, bx, by, x, y);
            }
        }
        end = Some(to);
    }
    if end.is_some() {
        path.close();
    }
}

fn pixels(path: &mut PathBuilder, glyph: &unifont::Glyph, left: f32) {
    let size = 1.0 / BITMAP;
    for y in 0..BITMAP as usize {
        for x in (0..glyph.get_width()).filter(|&x| glyph.get_pixel(x, y)) {
            let (x, y) = (left + x as f32 * size, (y as f32 - BITMAP_ABOVE) * size);
            if let Some(pixel) = Rect::from_xywh(x, y, size, size) {
                path.push_rect(pixel);
            }
        }
    }
}

/// A frame with a question mark's dot: something stands here that no font at hand can write.
fn unknown(path: &mut PathBuilder, left: f32) {
    let frame = |path: &mut PathBuilder, inset: f32, inwards: bool| {
        let (l, t, r, b) = (left + 0.06 + inset, -0.74 + inset, left + 0.66 - inset, -inset);
        // The hole runs the other way round.
        let corners =
            if inwards { [(l, t), (l, b), (r, b), (r, t)] } else { [(l, t), (r, t), (r, b), (l, b)] };
        path.move_to(corners[0].0, corners[0].1);
        corners[1..].iter().for_each(|&(x, y)| path.line_to(x, y));
        path.close();
    };
    frame(path, 0.0, false);
    frame(path, 0.07, true);
    for (from, to) in [((0.2, -0.6), (0.52, -0.14)), ((0.52, -0.6), (0.2, -0.14))] {
        let (x1, y1, x2, y2) = (left + from.0, from.1, left + to.0, to.1);
        path.move_to(x1 - 0.035, y1);
        path.line_to(x1 + 0.035, y1);
        path.line_to(x2 + 0.035, y2);
        path.line_to(x2 - 0.035, y2);
        path.close();
    }
}
