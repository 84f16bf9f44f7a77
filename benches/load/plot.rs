//! Plots as SVG: lines over two axes, and bars. Colours are classes that the page defines, so that they follow its scheme.
//!
//! Promises: well-formed XML whatever the labels are. Must not know: what is plotted.

use std::fmt::Write;

/// How many colours the page has.
pub const COLOURS: usize = 6;

const WIDTH: f64 = 580.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// One line of a [`Chart`].
#[derive(Clone, Debug)]
pub struct Line {
    /// Of [`COLOURS`].
    pub colour: usize,
    pub dashed: bool,
    /// As if drawn by hand between points, or in steps to the next one's height.
    pub points: Vec<(f64, f64)>,
    /// A dot a point, with this said of it where the pointer rests.
    pub tips: Vec<String>,
}

/// An axis: its range, whether it is logarithmic, what stands at it.
#[derive(Clone, Debug)]
pub struct Axis {
    pub title: String,
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to at least `high`, with round steps.
    pub fn linear(title: &str, high: f64, label: impl Fn(f64) -> String) -> Axis {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = round_step(high / 5.0);
        let steps = (high / step - 1e-9).ceil().max(1.0);
        let ticks = (0..=steps as u32)
            .map(|index| f64::from(index) * step)
            .map(|value| (value, label(value)))
            .collect();
        Axis {
            title: title.to_owned(),
            low: 0.0,
            high: steps * step,
            logarithmic: false,
            ticks,
        }
    }

    /// From zero to exactly `high`: for time.
    pub fn exact(title: &str, high: f64, label: impl Fn(f64) -> String) -> Axis {
        let mut axis = Axis::linear(title, high, label);
        axis.high = if high > 0.0 { high } else { 1.0 };
        let end = axis.high * (1.0 + 1e-9);
        axis.ticks.retain(|tick| tick.0 <= end);
        axis
    }

    /// Both ends are positive.
    pub fn logarithmic(title: &str, low: f64, high: f64, label: impl Fn(f64) -> String) -> Axis {
        let low = low.max(1e-9);
        let high = high.max(low * 1.01);
        let all: Vec<f64> = (low.log10().floor() as i32..=high.log10().ceil() as i32)
            .flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)))
            .collect();
        let first = all
            .iter()
            .copied()
            .rfind(|&tick| tick <= low * 1.000_001)
            .unwrap_or(low);
        let last = all
            .iter()
            .copied()
            .find(|&tick| tick >= high * 0.999_999)
            .unwrap_or(high);
        // Over three decades and more each has one label.
        let every = if (high / low).log10() < 3.0 { 1 } else { 3 };
        let ticks = all
            .into_iter()
            .step_by(every)
            .filter(|&tick| tick >= first && tick <= last)
            .map(|tick| (tick, label(tick)))
            .collect();
        Axis {
            title: title.to_owned(),
            low: first,
            high: last,
            logarithmic: true,
            ticks,
        }
    }

    /// From 0 to `high` with the ticks given, those past `high` left out.
    pub fn with_ticks(title: &str, high: f64, ticks: Vec<(f64, String)>) -> Axis {
        let ticks = ticks.into_iter().filter(|tick| tick.0 <= high * (1.0 + 1e-9)).collect();
        Axis {
            title: title.to_owned(),
            low: 0.0,
            high: high.max(1e-9),
            logarithmic: false,
            ticks,
        }
    }

    /// 0 to 1 along the axis.
    fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, at least `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|&step| step >= rough * (1.0 - 1e-9))
        .unwrap_or(power)
}

/// Lines over two axes. `marks` are vertical lines with a text.
#[derive(Clone, Debug)]
pub struct Chart {
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    pub marks: Vec<(f64, String)>,
}

impl Chart {
    pub fn svg(&self, description: &str) -> String {
        let (inner_width, inner_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let across = |value: f64| LEFT + self.x.place(value) * inner_width;
        let up = |value: f64| TOP + (1.0 - self.y.place(value)) * inner_height;
        let floor = TOP + inner_height;
        let mut svg = open("chart", HEIGHT, description);
        for (value, label) in &self.y.ticks {
            let y = up(*value);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {y:.1}H{:.1}"/><text class="tick end" x="{:.1}" y="{:.1}">{}</text>"#,
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                escape(label)
            );
        }
        for (value, label) in &self.x.ticks {
            let x = across(*value);
            let _ = write!(
                svg,
                r#"<path class="axis" d="M{x:.1} {floor:.1}v5"/><text class="tick middle" x="{x:.1}" y="{:.1}">{}</text>"#,
                floor + 18.0,
                escape(label)
            );
        }
        let _ = write!(
            svg,
            r#"<path class="axis" d="M{LEFT} {floor:.1}H{:.1}"/><text class="title middle" x="{:.1}" y="{:.1}">{}</text><text class="title middle" transform="translate(13 {:.1}) rotate(-90)">{}</text>"#,
            WIDTH - RIGHT,
            LEFT + inner_width / 2.0,
            HEIGHT - 8.0,
            escape(&self.x.title),
            TOP + inner_height / 2.0,
            escape(&self.y.title),
        );
        for (value, label) in &self.marks {
            let x = across(*value);
            let _ = write!(
                svg,
                r#"<path class="mark" d="M{x:.1} {TOP}V{floor:.1}"/><text class="tick" x="{:.1}" y="{:.1}">{}</text>"#,
                x + 5.0,
                TOP + 11.0,
                escape(label)
            );
        }
        for line in &self.lines {
            let mut path = String::new();
            for (index, &(x, y)) in line.points.iter().enumerate() {
                let _ = write!(
                    path,
                    "{}{:.1} {:.1}",
                    if index == 0 { "M" } else { "L" },
                    across(x),
                    up(y)
                );
            }
            let dashed = if line.dashed { " dashed" } else { "" };
            let _ = write!(
                svg,
                r#"<path class="line s{}{dashed}" d="{path}"/>"#,
                line.colour % COLOURS
            );
            for (&(x, y), tip) in line.points.iter().zip(&line.tips) {
                let _ = write!(
                    svg,
                    r#"<circle class="dot f{}" cx="{:.1}" cy="{:.1}" r="2.5"><title>{}</title></circle>"#,
                    line.colour % COLOURS,
                    across(x),
                    up(y),
                    escape(tip)
                );
            }
        }
        svg + "</svg>"
    }
}

/// A bar: what it is of, how long, what stands at its end.
#[derive(Clone, Debug)]
pub struct Bar {
    pub label: String,
    pub colour: usize,
    pub value: f64,
    pub text: String,
}

/// Horizontal bars from zero.
pub fn bars(bars: &[Bar], description: &str) -> String {
    const ROW: f64 = 30.0;
    const LABELS: f64 = 200.0;
    let longest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let mut svg = open("bars", ROW * bars.len() as f64 + 8.0, description);
    for (index, bar) in bars.iter().enumerate() {
        let y = 4.0 + ROW * index as f64;
        let length = if longest > 0.0 {
            bar.value / longest * (WIDTH - LABELS - 130.0)
        } else {
            0.0
        };
        let _ = write!(
            svg,
            r#"<text class="label end" x="{:.1}" y="{:.1}">{}</text><rect class="f{}" x="{LABELS}" y="{:.1}" width="{:.1}" height="20" rx="2"/><text class="label" x="{:.1}" y="{:.1}">{}</text>"#,
            LABELS - 10.0,
            y + 19.0,
            escape(&bar.label),
            bar.colour % COLOURS,
            y + 4.0,
            length.max(1.0),
            LABELS + length + 8.0,
            y + 19.0,
            escape(&bar.text)
        );
    }
    svg + "</svg>"
}

fn open(class: &str, height: f64, description: &str) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="{class}" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{}">"#,
        escape(description)
    )
}

/// Text as XML takes it, in attributes too; control characters have no form in it.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => escaped.push('\u{FFFD}'),
            char if char.is_control() => escaped.push('\u{FFFD}'),
            char => escaped.push(char),
        }
    }
    escaped
}
