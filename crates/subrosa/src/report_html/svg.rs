//! The few SVG elements a plot needs.

/// Text made safe for HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

pub(super) fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n")
}

pub(super) fn text(class: &str, (x, y): (f64, f64), content: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n", escape(content))
}

/// Marks differ by shape as well as by colour: circle, diamond, square, triangle.
pub(super) fn mark(series: usize, (x, y): (f64, f64)) -> String {
    let r = 5.0;
    let class = format!("mark s{}", series % 4);
    match series % 4 {
        0 => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r:.1}\"/>\n"),
        1 => polygon(&class, &[(x, y - 6.5), (x + 6.5, y), (x, y + 6.5), (x - 6.5, y)]),
        2 => polygon(&class, &[(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]),
        _ => polygon(&class, &[(x, y - 6.0), (x + 6.0, y + 5.0), (x - 6.0, y + 5.0)]),
    }
}

fn polygon(class: &str, points: &[(f64, f64)]) -> String {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!("<polygon class=\"{class}\" points=\"{}\"/>\n", points.join(" "))
}
