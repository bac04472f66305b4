//! A chart of latency distributions as SVG: percentile over latency, both axes stretched so that
//! the tail can be read.
//!
//! One chart with fixed marks, written by hand; not a plotting library.

use std::fmt::Write as _;

use xtask_base::plot::escape;
use xtask_base::process::Result;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 560.0;
/// The plot inside the picture.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 870.0;
const TOP: f64 = 105.0;
const BOTTOM: f64 = 490.0;
/// Blue and orange: told apart by colour-blind readers; the second curve is dashed as well.
const STYLES: [(&str, &str); 2] = [("#1f6fb4", ""), ("#d9730d", " stroke-dasharray=\"7 4\"")];
const PERCENTILES: [(f64, &str); 6] = [
    (0.0, "0 %"),
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
];

/// Draws at most two curves.
pub(crate) fn render(title: &str, curves: &[Curve]) -> Result<String> {
    let latencies = || curves.iter().flat_map(|curve| &curve.points).map(|(latency, _)| *latency);
    let (low, high) = (latencies().fold(f64::MAX, f64::min), latencies().fold(0.0, f64::max));
    if high <= 0.0 {
        return Err("no latencies to draw".into());
    }
    let axis = Axis::new(low, high);
    let mut svg = String::new();
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13" fill="#222">"##
    )?;
    writeln!(svg, r#"<rect width="100%" height="100%" fill="white"/>"#)?;
    writeln!(
        svg,
        r#"<text x="{LEFT}" y="32" font-size="18" font-weight="bold">{}</text>"#,
        escape(title)
    )?;
    grid(&mut svg, &axis)?;
    for (curve, (color, dash)) in curves.iter().zip(STYLES) {
        let path = steps(curve, &axis);
        writeln!(
            svg,
            r#"<path d="{path}" fill="none" stroke="{color}" stroke-width="2.5" stroke-linejoin="round"{dash}/>"#
        )?;
    }
    legend(&mut svg, curves)?;
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

/// The latency axis: whole steps of 1, 2, 5 around the values, logarithmic.
struct Axis {
    ticks: Vec<f64>,
}

impl Axis {
    fn new(low: f64, high: f64) -> Self {
        let all: Vec<f64> = (-1..9)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)))
            .collect();
        let first = all.iter().rposition(|tick| *tick <= low).unwrap_or(0);
        let last =
            all.iter().position(|tick| *tick >= high).unwrap_or(all.len() - 1).max(first + 1);
        Self { ticks: all[first..=last].to_vec() }
    }

    fn x(&self, latency: f64) -> f64 {
        let (low, high) = (self.ticks[0].log10(), self.ticks[self.ticks.len() - 1].log10());
        LEFT + (latency.log10() - low) / (high - low) * (RIGHT - LEFT)
    }
}

/// Percentiles are spaced by their nines: 90 %, 99 % and 99.9 % are equally far apart.
fn y(share: f64) -> f64 {
    let most = PERCENTILES[PERCENTILES.len() - 1].0;
    let nines = |share: f64| -(1.0 - share).log10();
    BOTTOM - nines(share.min(most)) / nines(most) * (BOTTOM - TOP)
}

fn grid(svg: &mut String, axis: &Axis) -> Result<()> {
    for (share, label) in PERCENTILES {
        let at = y(share);
        writeln!(
            svg,
            r##"<path d="M{LEFT} {at:.1}H{RIGHT}" stroke="#ddd"/><text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"##,
            LEFT - 8.0,
            at + 4.5
        )?;
    }
    // Labels need about 60 units each: with many decades only the powers of ten get one.
    let is_wide = axis.ticks.len() <= 13;
    for &tick in &axis.ticks {
        let at = axis.x(tick);
        let is_decade = (tick.log10() - tick.log10().round()).abs() < 1e-9;
        writeln!(
            svg,
            r##"<path d="M{at:.1} {TOP}V{BOTTOM}" stroke="{}"/>"##,
            if is_decade { "#ccc" } else { "#eee" }
        )?;
        if is_decade || is_wide {
            writeln!(
                svg,
                r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                BOTTOM + 20.0,
                latency_label(tick)
            )?;
        }
    }
    writeln!(svg, r##"<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="#888"/>"##)?;
    let middle = f64::midpoint(LEFT, RIGHT);
    writeln!(
        svg,
        r#"<text x="{middle}" y="{:.1}" text-anchor="middle">latency (logarithmic)</text>"#,
        BOTTOM + 48.0
    )?;
    let middle = f64::midpoint(TOP, BOTTOM);
    writeln!(
        svg,
        r#"<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">share of messages no slower</text>"#
    )?;
    Ok(())
}

/// The path of a curve: straight lines between the reached shares, up to the last percentile of the
/// axis.
fn steps(curve: &Curve, axis: &Axis) -> String {
    let mut path = String::new();
    for (number, (latency, share)) in curve.points.iter().enumerate() {
        if number == 0 {
            path = format!("M{:.1} {BOTTOM:.1}", axis.x(*latency));
        }
        path += &format!("L{:.1} {:.1}", axis.x(*latency), y(*share));
        if *share >= PERCENTILES[PERCENTILES.len() - 1].0 {
            break;
        }
    }
    path
}

/// Above the plot, where no curve can run through it.
fn legend(svg: &mut String, curves: &[Curve]) -> Result<()> {
    let mut at = 60.0;
    for (curve, (color, dash)) in curves.iter().zip(STYLES) {
        let figures = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)]
            .map(|(label, share)| format!("{label} {}", latency_label(curve.at(share))));
        writeln!(
            svg,
            r#"<path d="M{:.1} {:.1}h34" stroke="{color}" stroke-width="2.5"{dash}/>"#,
            LEFT,
            at - 4.5
        )?;
        writeln!(
            svg,
            r#"<text x="{:.1}" y="{at:.1}">{}: {}</text>"#,
            LEFT + 46.0,
            escape(&curve.name),
            figures.join(", ")
        )?;
        at += 22.0;
    }
    Ok(())
}

fn latency_label(microseconds: f64) -> String {
    let (value, unit) = match microseconds {
        us if us >= 1e6 => (us / 1e6, "s"),
        us if us >= 1e3 => (us / 1e3, "ms"),
        us => (us, "µs"),
    };
    let digits = if value >= 100.0 { 0 } else { 2 };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

/// One distribution: latencies in microseconds with the share of messages that were no slower.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    /// Sorts and accumulates a histogram of (microseconds, count); equal latencies may stand in it
    /// several times.
    #[allow(clippy::cast_precision_loss, reason = "message counts are far below 2^53")]
    pub(crate) fn new(name: &str, mut histogram: Vec<(f64, u64)>) -> Self {
        histogram.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        histogram.dedup_by(|next, kept| {
            let same = next.0.total_cmp(&kept.0).is_eq();
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        let total: u64 = histogram.iter().map(|(_, count)| count).sum();
        let mut seen = 0;
        let points = histogram
            .into_iter()
            .filter(|&(_, count)| count > 0)
            .map(|(latency, count)| {
                seen += count;
                // A logarithmic axis has no 0: what is below a tenth of a microsecond is drawn
                // there.
                (latency.max(0.1), seen as f64 / total as f64)
            })
            .collect();
        Self { name: name.to_owned(), points }
    }

    /// The latency that this share of the messages kept to.
    pub(crate) fn at(&self, share: f64) -> f64 {
        self.points
            .iter()
            .find(|(_, reached)| *reached >= share)
            .or(self.points.last())
            .map_or(0.0, |(latency, _)| *latency)
    }
}

#[cfg(test)]
mod tests {
    use super::{Axis, BOTTOM, Curve, LEFT, RIGHT, TOP, latency_label, render, y};

    #[test]
    fn axes_hold_every_value() {
        let axis = Axis::new(3.0, 1200.0);
        assert_eq!((axis.ticks[0], axis.ticks.last()), (2.0, Some(&2000.0)));
        assert!((axis.x(2.0) - LEFT).abs() < 1e-9 && (axis.x(2000.0) - RIGHT).abs() < 1e-9);
        assert!((y(0.0) - BOTTOM).abs() < 1e-9 && (y(1.0) - TOP).abs() < 1e-9);
        assert_eq!(Axis::new(7.0, 7.0).ticks, [5.0, 10.0]);
        assert_eq!(Axis::new(0.0, 1e12).ticks.len(), 30);
    }

    #[test]
    fn a_chart_names_both_sides() {
        let curves = [
            Curve::new("keyed <pool>", vec![(10.0, 9), (90.0, 1)]),
            Curve::new("actor", vec![(11.0, 1)]),
        ];
        let svg = render("Latency", &curves).expect("drawn");
        assert!(
            svg.contains("keyed &lt;pool&gt;: p50 10 µs, p99 90 µs")
                && svg.contains("actor: ")
                && svg.ends_with("</svg>\n")
        );
        assert!(render("Latency", &[Curve::new("none", vec![])]).is_err());
    }

    #[test]
    fn labels_have_units() {
        for (us, label) in [
            (0.5, "0.5 µs"),
            (200.0, "200 µs"),
            (1000.0, "1 ms"),
            (1234.0, "1.23 ms"),
            (5e6, "5 s"),
        ] {
            assert_eq!(latency_label(us), label);
        }
    }

    #[test]
    fn a_histogram_becomes_a_distribution() {
        let curve = Curve::new("a", vec![(30.0, 1), (10.0, 5), (20.0, 3), (10.0, 1), (40.0, 0)]);
        assert_eq!(curve.points, [(10.0, 0.6), (20.0, 0.9), (30.0, 1.0)]);
        assert_eq!([0.5, 0.9, 0.99].map(|share| curve.at(share)), [10.0, 20.0, 30.0]);
    }
}
