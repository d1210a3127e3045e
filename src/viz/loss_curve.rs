//! `loss.svg`: how a run went, as one picture. The loss above, learning rate and batch size below, one x axis.

use std::fmt::Write as _;

use super::axis::{Axis, drawable};
use super::colour::curve::{BATCH_INK, GRID, HELD_OUT, INK, PAPER, RATE_INK, REFERENCE, SOFT, TRAIN};
use super::xml::escape;

/// A horizontal line to hold the loss against.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// What it is: `unigram entropy`.
    pub label: String,
    /// Where it lies, in nats.
    pub loss: f64,
}

/// What is drawn. Points are `(step, value)` in the order of their steps; values that are not finite are left out
/// and break the line. Every list may be empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LossCurve {
    /// The heading.
    pub title: String,
    /// A line under the heading: model, data, adapter.
    pub subtitle: String,
    /// What the loss is; `loss (nats)` unless told.
    pub y_label: Option<String>,
    /// Training loss.
    pub train: Vec<(f64, f64)>,
    /// Loss on held-out texts.
    pub held_out: Vec<(f64, f64)>,
    /// Lines to hold the loss against.
    pub references: Vec<Reference>,
    /// Learning rate.
    pub learning_rate: Vec<(f64, f64)>,
    /// Sequences per optimizer step.
    pub batch_sequences: Vec<(f64, f64)>,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 640.0;
const LEFT: f64 = 76.0;
/// The right edge of the panels, with and without room for the references' labels.
const RIGHT: [f64; 2] = [780.0, 928.0];
const LOSS: [f64; 2] = [404.0, 96.0];
const RATE: [f64; 2] = [496.0, 438.0];
const BATCH: [f64; 2] = [588.0, 530.0];
/// More points than this cannot be told apart.
const POINTS: usize = 1600;

impl LossCurve {
    /// The picture as a complete SVG file.
    pub fn svg(&self) -> String {
        let train = thin(&self.train);
        let smooth = smoothed(&self.train);
        let held_out = thin(&self.held_out);
        let references: Vec<_> = self.references.iter().filter(|r| drawable(r.loss)).collect();

        let series = [&self.train, &self.held_out, &self.learning_rate, &self.batch_sequences];
        let steps = series.into_iter().flatten().map(|point| point.0);
        let right = RIGHT[usize::from(references.is_empty())];
        let x = Axis::new(steps.chain([0.0]), [LEFT, right], 8, false).whole();
        let losses = train.iter().chain(&held_out).map(|point| point.1);
        let y = Axis::new(losses.chain(references.iter().map(|r| r.loss)), LOSS, 6, true);

        let mut svg = Svg::new(&self.description(), right);
        svg.text(LEFT, 36.0, &format!(r#"font-size="20" font-weight="600" fill="{INK}""#), &self.title);
        svg.text(LEFT, 58.0, &format!(r#"font-size="13" fill="{SOFT}""#), &self.subtitle);
        svg.legend(train.is_empty(), held_out.is_empty());

        svg.frame(&x, &y, LOSS, self.y_label.as_deref().unwrap_or("loss (nats)"), false);
        // The smoothed and the held-out line carry the message; every single batch stands behind them.
        svg.path(&x, &y, &train, TRAIN, 1.0, 0.3, false);
        let places = spread(&references.iter().map(|r| y.at(r.loss)).collect::<Vec<_>>());
        for (reference, label_y) in references.iter().zip(places) {
            svg.reference(reference, y.at(reference.loss), label_y);
        }
        svg.path(&x, &y, &thin(&smooth), TRAIN, 2.2, 1.0, false);
        svg.path(&x, &y, &held_out, HELD_OUT, 1.6, 1.0, false);
        svg.dots(&x, &y, &held_out, HELD_OUT);
        svg.last_value(&x, &y, &held_out);

        for (points, range, colour, name, stairs) in [
            (&self.learning_rate, RATE, RATE_INK, "learning rate", false),
            (&self.batch_sequences, BATCH, BATCH_INK, "batch size", true),
        ] {
            let values = points.iter().map(|point| point.1);
            let small = Axis::new(values.chain([0.0]), range, 2, true);
            svg.frame(&x, &small, range, name, range == BATCH);
            svg.path(&x, &small, &thin(points), colour, 1.8, 1.0, stairs);
        }
        svg.finish()
    }

    /// The picture in words, for those who do not see it.
    fn description(&self) -> String {
        let mut words = self.title.clone();
        let ends = |points: &[(f64, f64)]| {
            let mut finite = points.iter().filter(|point| drawable(point.0) && drawable(point.1));
            let first = *finite.next()?;
            Some((first, finite.next_back().copied().unwrap_or(first)))
        };
        for (name, points) in [("training loss", &self.train), ("held-out loss", &self.held_out)] {
            if let Some((first, last)) = ends(points) {
                let _ = write!(
                    words,
                    "; {name} {:.2} at step {} to {:.2} at step {}",
                    first.1, first.0, last.1, last.0
                );
            }
        }
        for reference in self.references.iter().filter(|r| drawable(r.loss)) {
            let _ = write!(words, "; {} {:.2}", reference.label, reference.loss);
        }
        words
    }
}

/// An SVG file being written.
struct Svg {
    text: String,
    /// The right edge of the panels.
    right: f64,
}

impl Svg {
    fn new(description: &str, right: f64) -> Self {
        let description = escape(description);
        // Its own background, so that it reads the same on a dark page.
        let text = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{description}" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif">
<title>{description}</title>
<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{PAPER}"/>
"##
        );
        Self { text, right }
    }

    fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn line(&mut self, args: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{args}");
    }

    fn text(&mut self, x: f64, y: f64, attributes: &str, text: &str) {
        if !text.is_empty() {
            self.line(format_args!(r#"<text x="{x:.1}" y="{y:.1}" {attributes}>{}</text>"#, escape(text)));
        }
    }

    /// Grid, ticks and name of one panel; the last one has the steps below.
    fn frame(&mut self, x: &Axis, y: &Axis, [bottom, top]: [f64; 2], name: &str, last: bool) {
        let right = self.right;
        for tick in y.ticks() {
            let at = y.at(tick);
            self.line(format_args!(
                r#"<path d="M{LEFT} {at:.1}H{right}" stroke="{GRID}" stroke-width="1"/>"#
            ));
            let style = format!(r#"font-size="12" fill="{SOFT}" text-anchor="end""#);
            self.text(LEFT - 8.0, at + 4.0, &style, &y.label(tick));
        }
        for tick in x.ticks() {
            let at = x.at(tick);
            self.line(format_args!(
                r#"<path d="M{at:.1} {top}V{bottom}" stroke="{GRID}" stroke-width="1"/>"#
            ));
            if last {
                let style = format!(r#"font-size="12" fill="{SOFT}" text-anchor="middle""#);
                self.text(at, bottom + 18.0, &style, &x.label(tick));
            }
        }
        self.line(format_args!(
            r#"<path d="M{LEFT} {top}V{bottom}H{right}" fill="none" stroke="{SOFT}" stroke-width="1"/>"#
        ));
        let style = format!(r#"font-size="13" font-weight="600" fill="{INK}""#);
        self.text(LEFT, top - 9.0, &style, name);
        if last {
            let style = format!(r#"font-size="13" fill="{INK}" text-anchor="middle""#);
            self.text((LEFT + right) / 2.0, bottom + 38.0, &style, "optimizer step");
        }
    }

    /// A line through the points, broken where a value is missing.
    #[allow(clippy::too_many_arguments, reason = "a line's geometry and its look")]
    fn path(
        &mut self,
        x: &Axis,
        y: &Axis,
        points: &[(f64, f64)],
        colour: &str,
        width: f64,
        opacity: f64,
        stairs: bool,
    ) {
        let mut data = String::new();
        let mut drawing = false;
        if let [point] = points {
            // A line needs two.
            return self.dots(x, y, &[*point], colour);
        }
        for &(step, value) in points {
            if !(x.holds(step) && y.holds(value)) {
                drawing = false;
                continue;
            }
            let (px, py) = (x.at(step), y.at(value));
            let _ = match (drawing, stairs) {
                (false, _) => write!(data, "M{px:.1} {py:.1}"),
                (true, false) => write!(data, "L{px:.1} {py:.1}"),
                (true, true) => write!(data, "H{px:.1}V{py:.1}"),
            };
            drawing = true;
        }
        if !data.is_empty() {
            self.line(format_args!(
                r#"<path d="{data}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity="{opacity}" stroke-linejoin="round" stroke-linecap="round"/>"#
            ));
        }
    }

    fn dots(&mut self, x: &Axis, y: &Axis, points: &[(f64, f64)], colour: &str) {
        let whole = |point: &&(f64, f64)| x.holds(point.0) && y.holds(point.1);
        // Beyond a certain density dots would only thicken the line.
        if points.len() > 80 {
            return;
        }
        for &(step, value) in points.iter().filter(whole) {
            self.line(format_args!(
                r##"<circle cx="{:.1}" cy="{:.1}" r="3.2" fill="{colour}" stroke="{PAPER}" stroke-width="1.2"/>"##,
                x.at(step),
                y.at(value)
            ));
        }
    }

    /// The last held-out loss, written at its dot.
    fn last_value(&mut self, x: &Axis, y: &Axis, points: &[(f64, f64)]) {
        if let Some(&(step, value)) = points.iter().rfind(|point| x.holds(point.0) && y.holds(point.1)) {
            let style = format!(
                r##"font-size="13" font-weight="600" fill="{HELD_OUT}" text-anchor="end" stroke="{PAPER}" stroke-width="4" paint-order="stroke""##
            );
            self.text(x.at(step), y.at(value) - 11.0, &style, &format!("{value:.2}"));
        }
    }

    fn reference(&mut self, reference: &Reference, at: f64, label_y: f64) {
        let right = self.right;
        self.line(format_args!(
            r#"<path d="M{LEFT} {at:.1}H{right}L{:.1} {label_y:.1}h5" fill="none" stroke="{REFERENCE}" stroke-width="1.3" stroke-dasharray="5 4"/>"#,
            right + 6.0
        ));
        let style = format!(r#"font-size="12" fill="{REFERENCE}""#);
        let x = right + 15.0;
        let value = format!("{:.2} nats", reference.loss);
        self.text(x, label_y - 2.0, &format!(r#"{style} font-weight="600""#), &reference.label);
        self.text(x, label_y + 12.0, &style, &value);
    }

    fn legend(&mut self, no_train: bool, no_held_out: bool) {
        let style = format!(r#"font-size="13" fill="{INK}""#);
        let mut at = self.right;
        for (missing, name, width, colour) in
            [(no_held_out, "held out", 56.0, HELD_OUT), (no_train, "training, smoothed", 126.0, TRAIN)]
        {
            if missing {
                continue;
            }
            at -= width;
            self.text(at, 84.0, &style, name);
            self.line(format_args!(
                r#"<path d="M{:.1} 79.5h22" stroke="{colour}" stroke-width="2.4" stroke-linecap="round"/>"#,
                at - 30.0
            ));
            at -= 52.0;
        }
    }
}

/// Where labels go so that none covers another: as near as can be to the given heights, in their order.
fn spread(heights: &[f64]) -> Vec<f64> {
    const APART: f64 = 32.0;
    let mut order: Vec<usize> = (0..heights.len()).collect();
    order.sort_by(|&a, &b| heights[a].total_cmp(&heights[b]));
    let mut places = heights.to_vec();
    // Push down from the top, then up from the bottom.
    let mut least = f64::NEG_INFINITY;
    for &i in &order {
        places[i] = places[i].max(least);
        least = places[i] + APART;
    }
    let mut most = LOSS[0] + 12.0;
    for &i in order.iter().rev() {
        places[i] = places[i].min(most);
        most = places[i] - APART;
    }
    places
}

/// A running mean over a twentieth of the points, 101 at most.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let whole: Vec<_> = points.iter().copied().filter(|point| drawable(point.1)).collect();
    let mut sums = vec![0.0];
    for point in &whole {
        sums.push(sums[sums.len() - 1] + point.1);
    }
    let means = whole.iter().enumerate().map(|(i, &(step, _))| {
        // Even-sided where the curve falls fast; at its end the mean looks back.
        let radius = (whole.len() / 40).min(50);
        let (from, to) = (i - radius.min(i), (i + radius.min(i.max(2)) + 1).min(whole.len()));
        (step, (sums[to] - sums[from]) / (to - from) as f64)
    });
    means.collect()
}

/// At most about [`POINTS`] points: of each run of neighbours the lowest and the highest, in their order.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let size = points.len().div_ceil(POINTS / 2);
    let mut thin = Vec::with_capacity(POINTS + 2);
    for group in points.chunks(size) {
        let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (Some(&low), Some(&high)) = (group.iter().min_by(by), group.iter().max_by(by)) else { continue };
        thin.extend(if low.0 <= high.0 { [low, high] } else { [high, low] });
    }
    thin.extend(points.last().copied());
    thin
}
