//! Attention by distance: what the model's table of distances adds to the logits, where it has one, and where the
//! attention goes.

use super::super::Picture;
use super::super::picture::{Area, Item, Label};
use super::Shown;
use super::measures::{self, REACH};
use super::sheet::{MARGIN, SMALL, Sheet, TOP, percent};

/// How wide all panels of a block are together.
const BLOCK: f64 = 620.0;
/// The width of a panel at least and at most.
const PANEL: [f64; 2] = [58.0, 420.0];
const GAP: f64 = 7.0;
/// Where the first block begins, right of the layers' names.
const LEFT: f64 = MARGIN + 100.0;
/// The size of numbers at the axes.
const TICK: f64 = 9.5;
/// From one block of panels to the next.
const BETWEEN: f64 = 84.0;

/// A panel for each head, all on one scale.
struct Block {
    title: &'static str,
    about: &'static str,
    /// For each panel the first distance and the values from there on.
    panels: Vec<(i64, Vec<f64>)>,
    /// Square roots are drawn, as of probabilities.
    root: bool,
    name: fn(f64) -> String,
}

/// From values to heights in a panel.
#[derive(Clone, Copy)]
struct Heights {
    least: f64,
    most: f64,
    root: bool,
}

impl Block {
    /// From the least to the greatest value of all panels, zero among them.
    fn scale(&self) -> Heights {
        let values = || self.panels.iter().flat_map(|(_, values)| values.iter().copied());
        let most = values().fold(0.0, f64::max).max(1e-9);
        Heights { least: values().fold(0.0, f64::min), most, root: self.root }
    }
}

impl Heights {
    fn y(self, area: Area, value: f64) -> f64 {
        let shape = |value: f64| if self.root { value.max(0.0).sqrt() } else { value };
        let share = (shape(value) - shape(self.least)) / (shape(self.most) - shape(self.least));
        area.bottom() - 2.0 - share * (area.height - 4.0)
    }
}

pub(super) fn draw(shown: &Shown) -> Picture {
    let mut sheet = Sheet::new(shown, format!("{}: attention by distance", shown.all.model));
    let maps: Vec<(usize, usize)> =
        shown.layers.iter().flat_map(|&layer| shown.heads.iter().map(move |&head| (layer, head))).collect();
    let mut blocks = Vec::new();
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let added: Option<Vec<_>> = maps.iter().map(|&(l, h)| measures::added(shown.all, l, h)).collect();
    if let Some(added) = added {
        let panels = added.into_iter().map(|values| (-(values.len() as i64) / 2, wide(values))).collect();
        blocks.push(Block {
            title: "What distance adds to the logit",
            about: "mean over queries, less the mean over distances",
            panels,
            root: false,
            name: |value| format!("{value:+.2}"),
        });
        sheet.note(
            "Left: above the line, tokens at this distance get more attention for the distance alone; below it, less. \
             Farther distances count as the outermost.",
        );
    }
    let by: Vec<_> = maps.iter().map(|&(layer, head)| measures::by_distance(shown, layer, head)).collect();
    let beyond = by.iter().map(|by| f64::from(by.beyond)).sum::<f64>() / by.len().max(1) as f64;
    blocks.push(Block {
        title: "Mean attention by distance",
        about: "square-root scale",
        panels: by.into_iter().map(|by| (-REACH, wide(by.mean))).collect(),
        root: true,
        name: percent,
    });
    sheet.note(format!(
        "Mean attention: over the tokens that have another at that distance, before (negative) or after. Averaged over \
         all heads shown, {} goes farther than the distances drawn.",
        percent(beyond)
    ));

    let columns = shown.heads.len();
    let width = (BLOCK / columns as f64 - GAP).clamp(PANEL[0], PANEL[1]).floor();
    let height = (0.62 * width).floor();
    let mut x = LEFT;
    let top = TOP + 54.0;
    for block in &blocks {
        panels(&mut sheet, block, &maps, Area::new(x, top, width, height));
        x += columns as f64 * (width + GAP) + BETWEEN;
    }
    let rows = shown.layers.len() as f64;
    sheet.finish(top + rows * (height + GAP) + 40.0)
}

/// Draws a block; `first` is its first panel.
fn panels(sheet: &mut Sheet, block: &Block, maps: &[(usize, usize)], first: Area) {
    let (ink, soft) = (sheet.inks.ink, sheet.inks.soft);
    let columns = sheet.shown.heads.len();
    let scale = block.scale();
    sheet.picture.label(Label::new(first.x, first.y - 40.0, 14.0, ink, block.title).bold());
    sheet.picture.label(Label::new(first.x, first.y - 23.0, 11.0, soft, block.about));
    for (index, ((layer, head), (start, values))) in maps.iter().zip(&block.panels).enumerate() {
        let (row, column) = (index / columns, index % columns);
        let area = Area::new(
            first.x + column as f64 * (first.width + GAP),
            first.y + row as f64 * (first.height + GAP),
            first.width,
            first.height,
        );
        bars(sheet, area, scale, *start, values);
        if row == 0 {
            let middle = area.x + area.width / 2.0;
            sheet.picture.label(Label::new(middle, area.y - 6.0, 11.0, ink, format!("head {head}")).middle());
        }
        if column == 0 {
            if first.x == LEFT {
                let y = area.y + area.height / 2.0 + 4.0;
                sheet.picture.label(Label::new(MARGIN, y, SMALL, ink, format!("layer {layer}")));
            }
            for value in
                [scale.most, 0.0, scale.least].into_iter().filter(|&value| value != 0.0 || !block.root)
            {
                let text = if value == 0.0 { "0".to_owned() } else { (block.name)(value) };
                let y = scale.y(area, value).clamp(area.y + 7.0, area.bottom() - 1.0) + 3.0;
                sheet.picture.label(Label::new(area.x - 5.0, y, TICK, soft, text).end());
            }
        }
        // Where panels are narrow, one speaks for all.
        if index + columns >= maps.len() && (column == 0 || area.width >= 110.0) {
            let label = |x: f64, text: String| Label::new(x, area.bottom() + 13.0, TICK, soft, text);
            let last = start + values.len() as i64 - 1;
            sheet.picture.label(label(area.x, start.to_string()));
            sheet.picture.label(label(place(area, *start, values, 0), "0".to_owned()).middle());
            sheet.picture.label(label(area.right(), format!("{last:+}")).end());
        }
    }
    let middle = first.x + (columns as f64 * (first.width + GAP) - GAP) / 2.0;
    let rows = sheet.shown.layers.len() as f64;
    let y = first.y + rows * (first.height + GAP) + 26.0;
    let text = "distance from the token that looks to the token looked at";
    sheet.picture.label(Label::new(middle, y, 11.0, soft, text).middle());
}

/// The middle of the bar of `distance` among `values`, which begin at the distance `start`.
fn place(area: Area, start: i64, values: &[f64], distance: i64) -> f64 {
    area.x + ((distance - start) as f64 + 0.5) * area.width / values.len() as f64
}

/// One panel: a bar for each distance, a line at zero and one at the token itself.
fn bars(sheet: &mut Sheet, area: Area, scale: Heights, start: i64, values: &[f64]) {
    let inks = sheet.inks;
    let zero = scale.y(area, 0.0);
    let half = 0.4 * area.width / values.len() as f64;
    sheet.picture.frame(area, inks.frame);
    for (distance, &value) in (start..).zip(values) {
        let (x, y) = (place(area, start, values, distance), scale.y(area, value));
        sheet.picture.items.push(Item::Shape {
            points: vec![[x - half, zero], [x + half, zero], [x + half, y], [x - half, y]],
            colour: if value >= 0.0 { inks.above } else { inks.below },
            opacity: 1.0,
        });
    }
    sheet.picture.line(vec![[area.x, zero], [area.right(), zero]], inks.soft, 0.8);
    let own = place(area, start, values, 0);
    sheet.picture.items.push(Item::Line {
        points: vec![[own, area.y], [own, area.bottom()]],
        colour: inks.soft,
        width: 0.8,
        dashed: true,
    });
}
