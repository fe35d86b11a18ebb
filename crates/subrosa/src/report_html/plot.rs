//! Dot plots: one line a value, grouped, on a linear or logarithmic axis.

use super::distinct;
use super::svg::{escape, line, mark, text};

/// Units of the drawing.
pub(super) const WIDTH: f64 = 760.0;
pub(super) const LEFT: f64 = 150.0;
const RIGHT: f64 = 110.0;
/// Room for a series' name beside its value.
const NAMED_RIGHT: f64 = 215.0;
pub(super) const TOP: f64 = 12.0;
pub(super) const STEP: f64 = 22.0;
pub(super) const GAP: f64 = 12.0;
pub(super) const BOTTOM: f64 = 28.0;

/// How values become places.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Shares, up to 100 %.
    Linear,
    /// Differences of shares, around 0.
    Points,
    Log,
}

/// A figure.
pub(super) struct Plot {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    scale: Scale,
    tick: fn(f64) -> String,
    note: &'static str,
    /// A value the axis reaches down to in any case.
    floor: Option<f64>,
    /// What each mark stands for, where there are more series than marks.
    kinds: &'static [&'static str],
    groups: Vec<Group>,
}

/// Values under one label.
pub(super) struct Group {
    pub(super) label: String,
    pub(super) points: Vec<Point>,
}

/// One value.
pub(super) struct Point {
    pub(super) series: String,
    /// Its colour and mark, the same for one series in every plot of a page.
    pub(super) mark: usize,
    pub(super) value: f64,
    /// The value as its label says it.
    pub(super) shown: String,
    /// A second, higher value, drawn as a thin mark.
    pub(super) high: Option<f64>,
}

/// The axis: its ends, and its grid lines with their labels.
pub(super) struct Axis {
    scale: Scale,
    lo: f64,
    hi: f64,
    ticks: Vec<(f64, String)>,
    /// Room to the right of it.
    right: f64,
}

impl Plot {
    pub(super) fn of(id: &'static str, title: &'static str, unit: &'static str, scale: Scale) -> Self {
        Self { id, title, unit, scale, tick: plain_tick, note: "", floor: None, kinds: &[], groups: Vec::new() }
    }

    /// How the axis writes its numbers.
    pub(super) fn ticks(self, tick: fn(f64) -> String) -> Self {
        Self { tick, ..self }
    }

    pub(super) fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    /// Names the marks: with more series than marks, each value carries its series' name.
    pub(super) fn kinds(self, kinds: &'static [&'static str]) -> Self {
        Self { kinds, ..self }
    }

    /// Lets the axis begin at `floor` or below.
    pub(super) fn from(self, floor: f64) -> Self {
        Self { floor: Some(floor), ..self }
    }

    pub(super) fn with(self, groups: Vec<Group>) -> Self {
        Self { groups, ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The whole `<figure>`.
    pub(super) fn figure(&self) -> String {
        let points = self.groups.iter().flat_map(|g| &g.points);
        let series = self.legend_entries(points);
        let mut out = format!("<figure id=\"{}\">\n<h2>{}</h2>\n", self.id, escape(self.title));
        let scale = if self.scale == Scale::Log { "; logarithmic axis" } else { "" };
        out += &format!("<p class=\"unit\">{}{scale}</p>\n{}", escape(self.unit), legend(&series));
        out += &self.drawing();
        if !self.note.is_empty() {
            out += &format!("<figcaption>{}</figcaption>\n", escape(self.note));
        }
        out + "</figure>\n"
    }

    /// A series each, or a kind each where marks are shared.
    fn legend_entries<'a>(&'a self, points: impl Iterator<Item = &'a Point> + Clone) -> Vec<(&'a str, usize)> {
        if !self.names_values() {
            return distinct(points.map(|p| (p.series.as_str(), p.mark)));
        }
        let mut marks = distinct(points.map(|p| p.mark));
        marks.sort_unstable();
        marks.into_iter().map(|mark| (self.kinds.get(mark).copied().unwrap_or_default(), mark)).collect()
    }

    /// Whether several series share a mark.
    fn names_values(&self) -> bool {
        let points = || self.groups.iter().flat_map(|g| &g.points);
        distinct(points().map(|p| p.mark)).len() < distinct(points().map(|p| p.series.as_str())).len()
    }

    fn drawing(&self) -> String {
        let named = self.names_values();
        let axis = Axis { right: if named { NAMED_RIGHT } else { RIGHT }, ..Axis::new(self) };
        let height = TOP + self.groups.iter().map(Group::height).sum::<f64>() + BOTTOM;
        let label = format!("{}: {}", self.title, self.unit);
        let mut out =
            format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">\n", escape(&label));
        out += &axis.grid(height - BOTTOM);
        let mut y = TOP;
        for group in &self.groups {
            out += &group.draw(&axis, y, named);
            y += group.height();
        }
        out + "</svg>\n"
    }
}

impl Group {
    fn height(&self) -> f64 {
        STEP * self.points.len() as f64 + GAP
    }

    fn draw(&self, axis: &Axis, top: f64, named: bool) -> String {
        let middle = top + STEP * self.points.len() as f64 / 2.0;
        let mut out = text("label", (LEFT - 12.0, middle + 4.0), &self.label);
        for (i, point) in self.points.iter().enumerate() {
            out += &point.draw(axis, top + STEP * (i as f64 + 0.5), named);
        }
        out
    }
}

impl Point {
    fn draw(&self, axis: &Axis, y: f64, named: bool) -> String {
        let series = self.mark;
        let x = axis.place(self.value);
        let high = self.high.map_or(x, |h| axis.place(h).max(x));
        let mut out = line(&format!("stem s{series}"), (LEFT, y), (high, y));
        if high > x + 1.0 {
            out += &line(&format!("high s{series}"), (high, y - 5.0), (high, y + 5.0));
        }
        out += &mark(series, (x, y));
        let shown = if named { format!("{} {}", self.series, self.shown) } else { self.shown.clone() };
        out + &text("value", (high.max(x) + 11.0, y + 4.0), &shown)
    }
}

impl Axis {
    fn new(plot: &Plot) -> Self {
        let points = plot.groups.iter().flat_map(|g| &g.points);
        let values = points.flat_map(|p| std::iter::once(p.value).chain(p.high)).chain(plot.floor);
        let finite = values.filter(|v| v.is_finite());
        let (lo, hi) = finite.fold((f64::MAX, f64::MIN), |(lo, hi), v| (lo.min(v), hi.max(v)));
        match plot.scale {
            Scale::Log => Self::log(lo, hi, plot.tick),
            Scale::Linear => Self::share(lo, hi),
            Scale::Points => Self::points(lo, hi),
        }
    }

    /// From the power of ten below to the one above.
    pub(super) fn log(lo: f64, hi: f64, tick: fn(f64) -> String) -> Self {
        let first = lo.max(1e-9).log10().floor() as i32;
        let last = (hi.max(1e-9).log10().ceil() as i32).max(first + 1);
        let ticks = (first..=last).map(|e| (10f64.powi(e), tick(10f64.powi(e)))).collect();
        Self { scale: Scale::Log, lo: 10f64.powi(first), hi: 10f64.powi(last), ticks, right: RIGHT }
    }

    /// Shares: from a round percentage below the lowest to 100 %.
    fn share(lo: f64, hi: f64) -> Self {
        let span = (1.0 - lo).max(0.01);
        let step = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25].into_iter().find(|s| span / s <= 6.0).unwrap_or(0.25);
        let first = ((lo / step).floor() - 1.0).max(0.0);
        let last = (1.0f64.max(hi) / step).round();
        let ticks = (first as u32..=last as u32).map(|i| f64::from(i) * step);
        let ticks: Vec<_> = ticks.map(|t| (t, format!("{:.1} %", t * 100.0))).collect();
        Self { scale: Scale::Linear, lo: first * step, hi: last * step, ticks, right: RIGHT }
    }

    /// Differences: from a round percentage below the least, and below 0, to one above.
    fn points(lo: f64, hi: f64) -> Self {
        let (lo, hi) = (lo.min(0.0), hi.max(0.001));
        let step = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25].into_iter();
        let step = step.clone().find(|s| (hi - lo) / s <= 7.0).unwrap_or(0.5);
        let (first, last) = ((lo / step).floor() as i32, (hi / step).ceil() as i32);
        let ticks = (first..=last).map(|i| f64::from(i) * step).map(|t| (t, format!("{:.2}", t * 100.0))).collect();
        Self { scale: Scale::Points, lo: f64::from(first) * step, hi: f64::from(last) * step, ticks, right: RIGHT }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear | Scale::Points => (value - self.lo) / (self.hi - self.lo),
            Scale::Log => (value.max(self.lo) / self.lo).log10() / (self.hi / self.lo).log10(),
        };
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - self.right)
    }

    pub(super) fn grid(&self, bottom: f64) -> String {
        let mut out = String::new();
        for (value, label) in &self.ticks {
            let x = self.place(*value);
            out += &line("grid", (x, TOP - 6.0), (x, bottom));
            out += &text("tick", (x, bottom + 18.0), label);
        }
        out
    }
}

pub(super) fn plain_tick(value: f64) -> String {
    match value {
        v if v >= 999.5e3 => format!("{}M", v / 1e6),
        v if v >= 999.5 => format!("{}k", v / 1e3),
        v => v.to_string(),
    }
}

/// Names every series, a single one too.
pub(super) fn legend(series: &[(&str, usize)]) -> String {
    let item = |(name, i): &(&str, usize)| {
        format!(
            "<li><svg viewBox=\"0 0 16 16\" width=\"16\" height=\"16\" aria-hidden=\"true\">{}</svg> {}</li>\n",
            mark(*i, (8.0, 8.0)),
            escape(name)
        )
    };
    format!("<ul class=\"legend\">\n{}</ul>\n", series.iter().map(item).collect::<String>())
}
