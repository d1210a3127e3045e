//! A picture as PNG.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use tiny_skia::{FillRule, Paint, PathBuilder, Pixmap, Stroke, StrokeDash, Transform};

use super::colour::Rgb;
use super::font;
use super::picture::{Anchor, Area, Item, Label, Picture};
use crate::{Error, Result};

/// The longest side of a PNG, in pixels: what viewers and papers still take.
const LONGEST: f64 = 16384.0;

impl Picture {
    /// The picture as a complete PNG file, `scale` pixels for one of its own.
    ///
    /// # Errors
    /// [`Error::Config`] for a scale that is not positive, or that makes it longer than 16384 pixels.
    pub fn png(&self, scale: f64) -> Result<Vec<u8>> {
        if !(scale.is_finite() && scale > 0.0) {
            return Err(Error::config("scale", "a positive number", scale));
        }
        let side = self.width.max(self.height);
        if side * scale > LONGEST {
            let expected = format!("at most {:.1} for a picture {side} pixels long", LONGEST / side - 0.05);
            return Err(Error::config("scale", expected, scale));
        }
        let [width, height] = [self.width, self.height].map(|side| ((side * scale).round() as u32).max(1));
        let mut canvas = Canvas::new(width, height, scale, self.page)?;
        for item in &self.items {
            canvas.draw(item);
        }
        let pixels: Vec<u8> =
            canvas.pixels.data().chunks(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        encode(&pixels, width as usize, height as usize)
    }
}

/// A PNG of RGB pixels, row after row.
pub(super) fn encode(pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive)
        .write_image(pixels, width as u32, height as u32, ExtendedColorType::Rgb8)
        .map_err(|error| Error::config("picture", "one that fits a PNG", error))?;
    Ok(png)
}

struct Canvas {
    pixels: Pixmap,
    scale: f32,
}

fn paint(colour: Rgb, opacity: f64) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(colour[0], colour[1], colour[2], (opacity.clamp(0.0, 1.0) * 255.0).round() as u8);
    paint
}

impl Canvas {
    fn new(width: u32, height: u32, scale: f64, page: Rgb) -> Result<Self> {
        let mut pixels = Pixmap::new(width, height).ok_or_else(|| {
            Error::config("scale", "a picture that fits memory", format!("{width} x {height}"))
        })?;
        pixels.fill(tiny_skia::Color::from_rgba8(page[0], page[1], page[2], 255));
        Ok(Canvas { pixels, scale: scale as f32 })
    }

    fn transform(&self) -> Transform {
        Transform::from_scale(self.scale, self.scale)
    }

    fn draw(&mut self, item: &Item) {
        match item {
            Item::Fill { area, colour } => self.cells(*area, 1, &[*colour]),
            Item::Cells { area, columns, colours } => self.cells(*area, *columns, colours),
            Item::Line { points, colour, width, dashed } => {
                let Some(path) = path(points, false) else { return };
                let dash = dashed.then(|| StrokeDash::new(vec![4.0, 3.0], 0.0)).flatten();
                let stroke = Stroke { width: *width as f32, dash, ..Stroke::default() };
                let transform = self.transform();
                self.pixels.stroke_path(&path, &paint(*colour, 1.0), &stroke, transform, None);
            }
            Item::Shape { points, colour, opacity } => {
                let Some(path) = path(points, true) else { return };
                let transform = self.transform();
                self.pixels.fill_path(&path, &paint(*colour, *opacity), FillRule::EvenOdd, transform, None);
            }
            Item::Label(label) => self.label(label),
        }
    }

    /// Cells begin and end at whole pixels: their rims are sharp and leave no seams.
    fn cells(&mut self, area: Area, columns: usize, colours: &[Rgb]) {
        let rows = colours.len() / columns.max(1);
        if rows == 0 {
            return;
        }
        let scale = f64::from(self.scale);
        let (width, height) = (self.pixels.width() as usize, self.pixels.height() as usize);
        let range = |from: f64, to: f64, limit: usize| {
            let pixel = |at: f64| (at * scale).round().max(0.0) as usize;
            pixel(from).min(limit)..pixel(to).max(pixel(from) + 1).min(limit)
        };
        let across = range(area.x, area.right(), width);
        let down = range(area.y, area.bottom(), height);
        let (first_x, count_x) = (across.start, across.len());
        let (first_y, count_y) = (down.start, down.len());
        let data = self.pixels.data_mut();
        for y in down {
            let row = ((y - first_y) * rows / count_y).min(rows - 1);
            for x in across.clone() {
                let [r, g, b] = colours[row * columns + (x - first_x) * columns / count_x];
                data[(y * width + x) * 4..][..4].copy_from_slice(&[r, g, b, 255]);
            }
        }
    }

    fn label(&mut self, label: &Label) {
        let Some(path) = font::outline(&label.text, label.bold) else { return };
        let before = match label.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => label.length() / 2.0,
            Anchor::End => label.length(),
        };
        let size = label.size as f32;
        let mut place = Transform::from_scale(size, size).post_translate(-before as f32, 0.0);
        if label.upwards {
            place = place.post_rotate(-90.0);
        }
        let place = place.post_translate(label.x as f32, label.y as f32).post_concat(self.transform());
        self.pixels.fill_path(&path, &paint(label.ink, 1.0), FillRule::Winding, place, None);
    }
}

fn path(points: &[[f64; 2]], closed: bool) -> Option<tiny_skia::Path> {
    let mut path = PathBuilder::new();
    for (index, [x, y]) in points.iter().enumerate() {
        let (x, y) = (*x as f32, *y as f32);
        if index == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
    }
    if closed {
        path.close();
    }
    path.finish()
}
