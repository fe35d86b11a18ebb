//! Cost against trust: one line a backend, under the head of those who must be trusted, one
//! mark a network.

use super::plot::{Axis, BOTTOM, GAP, LEFT, STEP, TOP, WIDTH, legend, plain_tick};
use super::svg::{escape, line, mark, text};
use super::{distinct, is_plain};
use crate::backends::Via;
use crate::compare::survey::network;
use subrosa_core::{Row, Trust};

/// The `<figure>`, over the rows of the smallest batch; nothing if none is protected.
pub(super) fn figure(rows: &[Row]) -> String {
    let protected: Vec<_> = rows.iter().filter(|r| !is_plain(r)).collect();
    let Some(batch) = protected.iter().map(|r| r.batch).min() else { return String::new() };
    let shown: Vec<_> = protected.into_iter().filter(|r| r.batch == batch).collect();
    let networks = distinct(shown.iter().map(|r| network(r)));
    let series: Vec<_> = networks.iter().enumerate().map(|(i, name)| (*name, i)).collect();
    format!(
        "<figure id=\"trust\">\n<h2>Cost against trust</h2>\n<p class=\"unit\">times the plain latency, batch {batch}; \
         logarithmic axis</p>\n{}{}<figcaption>Under each head: who must be trusted for the input to stay private, \
         roughly from the most trust to the least. Bold: Subrosa. A network's polynomial twin counts as the network.</figcaption>\n\
         </figure>\n",
        legend(&series),
        drawing(&shown, &networks)
    )
}

fn drawing(rows: &[&Row], networks: &[&str]) -> String {
    let slowdowns = || rows.iter().map(|r| r.slowdown_vs_plain).filter(|x| x.is_finite());
    let axis = Axis::log(1.0, slowdowns().fold(10.0, f64::max), plain_tick);
    let mut y = TOP;
    let mut marks = String::new();
    for trust in Trust::ALL {
        let here: Vec<_> = rows.iter().filter(|r| r.terms.trust == trust).copied().collect();
        if here.is_empty() {
            continue;
        }
        marks += &text("band", (12.0, y + STEP * 0.7), trust.short());
        y += STEP;
        for backend in distinct(here.iter().map(|r| r.backend.as_str())) {
            marks += &lane(&here, backend, networks, &axis, y + STEP * 0.5);
            y += STEP;
        }
        y += GAP;
    }
    let height = y + BOTTOM;
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">\n{}{marks}</svg>\n",
        escape("Cost against trust: times the plain latency"),
        axis.grid(y)
    )
}

/// One backend's marks, and a line from the first to the last.
fn lane(rows: &[&Row], backend: &str, networks: &[&str], axis: &Axis, y: f64) -> String {
    let own = rows.iter().filter(|r| r.backend == backend);
    let places: Vec<_> = own
        .map(|r| (networks.iter().position(|n| *n == network(r)).unwrap_or(0), axis.place(r.slowdown_vs_plain)))
        .collect();
    let ends = places.iter().fold((f64::MAX, f64::MIN), |(lo, hi), (_, x)| (lo.min(*x), hi.max(*x)));
    let class = if backend.parse::<Via>().is_ok() { "label ours" } else { "label" };
    let mut out = text(class, (LEFT - 12.0, y + 4.0), backend);
    out += &line("grid", (ends.0, y), (ends.1, y));
    out + &places.iter().map(|(network, x)| mark(*network, (*x, y))).collect::<String>()
}
