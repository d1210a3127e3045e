//! A picture as SVG.

use std::fmt::Write as _;

use base64::Engine as _;

use super::colour::{Rgb, hex};
use super::picture::{Anchor, Area, Item, Label, Picture};
use super::raster;
use super::xml::escape;

/// In a picture of more cells than this, matrices are embedded as PNGs: it would be too large otherwise.
const VECTOR_CELLS: usize = 12_000;
/// How many pixels wide an embedded matrix is at least.
const EMBEDDED: usize = 512;

impl Picture {
    /// The picture as a complete SVG file. Texts keep the widths they were laid out with, whatever font the viewer
    /// has.
    pub fn svg(&self) -> String {
        let (width, height) = (self.width, self.height);
        let description = escape(&self.description);
        let mut svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{description}" font-family="'DejaVu Sans', Verdana, system-ui, 'Noto Sans', 'Noto Sans CJK JP', sans-serif">
<title>{description}</title>
<rect width="{width}" height="{height}" fill="{}"/>
"#,
            hex(self.page)
        );
        let cells = |item: &Item| if let Item::Cells { colours, .. } = item { colours.len() } else { 0 };
        let vectors = self.items.iter().map(cells).sum::<usize>() <= VECTOR_CELLS;
        for item in &self.items {
            // Writing to a string cannot fail.
            let _ = write(&mut svg, item, vectors);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn write(svg: &mut String, item: &Item, vectors: bool) -> std::fmt::Result {
    match item {
        Item::Fill { area, colour } => {
            let Area { x, y, width, height } = area;
            writeln!(
                svg,
                r#"<rect x="{}" y="{}" width="{}" height="{}" fill="{}"/>"#,
                n(*x),
                n(*y),
                n(*width),
                n(*height),
                hex(*colour)
            )
        }
        Item::Line { points, colour, width, dashed } => {
            let dashes = if *dashed { r#" stroke-dasharray="4 3""# } else { "" };
            writeln!(
                svg,
                r#"<path fill="none" stroke="{}" stroke-width="{}" stroke-linejoin="round"{dashes} d="{}"/>"#,
                hex(*colour),
                n(*width),
                path(points)
            )
        }
        Item::Shape { points, colour, opacity } => {
            writeln!(svg, r#"<path fill="{}" fill-opacity="{opacity}" d="{}z"/>"#, hex(*colour), path(points))
        }
        Item::Label(label) => text(svg, label),
        Item::Cells { area, columns, colours } if vectors => cells(svg, *area, *columns, colours),
        Item::Cells { area, columns, colours } => embedded(svg, *area, *columns, colours),
    }
}

/// A number with at most two digits after the point.
fn n(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn path(points: &[[f64; 2]]) -> String {
    let mut path = String::new();
    for (index, [x, y]) in points.iter().enumerate() {
        let _ = write!(path, "{}{} {}", if index == 0 { "M" } else { "L" }, n(*x), n(*y));
    }
    path
}

fn text(svg: &mut String, label: &Label) -> std::fmt::Result {
    let Label { x, y, size, anchor, bold, upwards, ink, text } = label;
    if text.trim().is_empty() {
        return Ok(());
    }
    let anchor = match anchor {
        Anchor::Start => "",
        Anchor::Middle => r#" text-anchor="middle""#,
        Anchor::End => r#" text-anchor="end""#,
    };
    let weight = if *bold { r#" font-weight="bold""# } else { "" };
    let place = match upwards {
        true => format!(r#"transform="translate({} {}) rotate(-90)""#, n(*x), n(*y)),
        false => format!(r#"x="{}" y="{}""#, n(*x), n(*y)),
    };
    writeln!(
        svg,
        r#"<text {place} font-size="{}" fill="{}"{anchor}{weight} textLength="{}" lengthAdjust="spacingAndGlyphs" xml:space="preserve">{}</text>"#,
        n(*size),
        hex(*ink),
        n(label.length().max(0.1)),
        escape(text)
    )
}

/// One path per colour, the commonest colour under all of them.
fn cells(svg: &mut String, area: Area, columns: usize, colours: &[Rgb]) -> std::fmt::Result {
    let rows = colours.len() / columns.max(1);
    let mut runs: std::collections::BTreeMap<Rgb, (usize, String)> = std::collections::BTreeMap::new();
    for (row, line) in colours.chunks(columns.max(1)).enumerate() {
        let mut column = 0;
        while let Some(&colour) = line.get(column) {
            let run = line[column..].iter().take_while(|&&other| other == colour).count();
            let (cells, path) = runs.entry(colour).or_default();
            *cells += run;
            write!(path, "M{column} {row}h{run}v1h-{run}z")?;
            column += run;
        }
    }
    let common = runs.iter().max_by_key(|(_, (cells, _))| *cells).map(|(&colour, _)| colour);
    let Some(common) = common else { return Ok(()) };
    let scale = (area.width / columns as f64, area.height / rows as f64);
    writeln!(
        svg,
        r#"<g transform="translate({} {}) scale({} {})" shape-rendering="crispEdges"><path fill="{}" d="M0 0h{columns}v{rows}h-{columns}z"/>"#,
        n(area.x),
        n(area.y),
        scale.0,
        scale.1,
        hex(common)
    )?;
    for (colour, (_, path)) in runs.iter().filter(|(colour, _)| **colour != common) {
        writeln!(svg, r#"<path fill="{}" d="{path}"/>"#, hex(*colour))?;
    }
    writeln!(svg, "</g>")
}

fn embedded(svg: &mut String, area: Area, columns: usize, colours: &[Rgb]) -> std::fmt::Result {
    // Some viewers smooth what they enlarge: the cells are large before they do.
    let times = EMBEDDED.div_ceil(columns).max(1);
    let rows = colours.len() / columns;
    let pixels: Vec<u8> = (0..rows * times)
        .flat_map(|y| (0..columns * times).map(move |x| y / times * columns + x / times))
        .flat_map(|cell| colours[cell])
        .collect();
    let Ok(png) = raster::encode(&pixels, columns * times, rows * times) else { return Ok(()) };
    let Area { x, y, width, height } = area;
    writeln!(
        svg,
        r#"<image x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none" style="image-rendering:pixelated" href="data:image/png;base64,{}"/>"#,
        n(x),
        n(y),
        n(width),
        n(height),
        base64::engine::general_purpose::STANDARD.encode(png)
    )
}
