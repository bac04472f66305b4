//! Lines over time as SVG, several panels in one picture.

use std::fmt::Write as _;

use crate::process::Result;

const COLUMNS: usize = 2;
const WIDTH: f64 = 450.0;
const HEIGHT: f64 = 210.0;
/// The plot inside a panel.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 430.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 172.0;
/// Blue and orange as in the other charts; a second line of each kind is dashed.
const STYLES: [(&str, &str); 4] = [
    ("#1f6fb4", ""),
    ("#d9730d", " stroke-dasharray=\"7 4\""),
    ("#4a8f3c", ""),
    ("#8a4fa0", " stroke-dasharray=\"3 3\""),
];
/// Lines named in the legend.
const NAMED: usize = 6;

/// One chart of the picture.
pub struct Panel<'a> {
    /// What it shows.
    pub title: &'a str,
    /// Grafana's `s`, `percentunit` and `short`, or the text behind the numbers.
    pub unit: &'a str,
    /// The lines, each in a style of its own.
    pub lines: Vec<Line>,
    /// Seconds at which something happened.
    pub marks: &'a [f64],
}

/// One of its lines.
pub struct Line {
    /// As the legend has it.
    pub name: String,
    /// Seconds since the picture's begin, and values.
    pub points: Vec<(f64, f64)>,
}

/// Draws the panels; each shows this many seconds.
pub fn render(panels: &[Panel<'_>], seconds: f64) -> Result<String> {
    let (width, height) =
        (WIDTH * COLUMNS as f64, HEIGHT * panels.len().div_ceil(COLUMNS) as f64 + 24.0);
    let mut svg = String::new();
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#222">"##
    )?;
    writeln!(svg, r#"<rect width="100%" height="100%" fill="white"/>"#)?;
    for (number, drawn) in panels.iter().enumerate() {
        let (x, y) = ((number % COLUMNS) as f64 * WIDTH, (number / COLUMNS) as f64 * HEIGHT + 12.0);
        writeln!(svg, r#"<g transform="translate({x} {y})">"#)?;
        panel(&mut svg, drawn, seconds)?;
        writeln!(svg, "</g>")?;
    }
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

fn panel(svg: &mut String, panel: &Panel<'_>, seconds: f64) -> Result<()> {
    let Panel { title, unit, lines, marks } = panel;
    writeln!(
        svg,
        r#"<text x="{LEFT}" y="18" font-size="14" font-weight="bold">{}</text>"#,
        escape(title)
    )?;
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let most = ceiling(values.fold(0.0, f64::max));
    for share in [0.0, 0.5, 1.0] {
        let at = BOTTOM - share * (BOTTOM - TOP);
        writeln!(
            svg,
            r##"<path d="M{LEFT} {at:.1}H{RIGHT}" stroke="#ddd"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"##,
            LEFT - 6.0,
            at + 4.0,
            shown(share * most, unit)
        )?;
    }
    let mut last = f64::MIN;
    for mark in *marks {
        let at = LEFT + mark / seconds * (RIGHT - LEFT);
        // Closer marks would be indistinguishable.
        if at - last < 1.0 {
            continue;
        }
        last = at;
        writeln!(
            svg,
            r##"<path d="M{at:.1} {TOP}V{BOTTOM}" stroke="#d33" stroke-opacity="0.35"/>"##
        )?;
    }
    for (share, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
        let (at, label) = (LEFT + share * (RIGHT - LEFT), share * seconds);
        writeln!(
            svg,
            r#"<text x="{at:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            BOTTOM + 16.0,
            time(label)
        )?;
    }
    let mut legend_at = LEFT;
    for (number, (line, (color, dash))) in lines.iter().zip(STYLES.iter().cycle()).enumerate() {
        let mut path = String::new();
        for (at, value) in &line.points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let x = LEFT + at / seconds * (RIGHT - LEFT);
            write!(path, "{command}{x:.1} {:.1}", BOTTOM - value / most * (BOTTOM - TOP))?;
        }
        writeln!(svg, r#"<path d="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>"#)?;
        if number >= NAMED {
            continue;
        }
        writeln!(
            svg,
            r#"<path d="M{legend_at:.1} 36h18" stroke="{color}" stroke-width="2"{dash}/><text x="{:.1}" y="40">{}</text>"#,
            legend_at + 23.0,
            escape(&line.name)
        )?;
        legend_at += 38.0 + 6.5 * line.name.chars().count() as f64;
    }
    Ok(())
}

/// The next of 1, 2, 5, 10, ... that is not below a value; 1 for nothing at all.
pub fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value)
        .unwrap_or(10.0 * power)
}

fn time(seconds: f64) -> String {
    match seconds {
        long if long >= 7_200.0 => format!("{:.1} h", long / 3_600.0),
        long if long >= 600.0 => format!("{:.0} min", long / 60.0),
        short => format!("{short:.0} s"),
    }
}

fn shown(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "s" if value < 1.0 => (value * 1000.0, " ms".to_owned()),
        "s" => (value, " s".to_owned()),
        "percentunit" => (value * 100.0, " %".to_owned()),
        "short" | "" => (value, String::new()),
        unit => (value, format!(" {unit}")),
    };
    let digits = if value < 0.1 { 4 } else { 2 };
    let text = format!("{value:.digits$}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Text as XML wants it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Line, Panel, ceiling, render, shown};

    #[test]
    fn axes_end_at_round_values() {
        for (value, end) in [(0.0, 1.0), (1.0, 1.0), (3.0, 5.0), (0.012, 0.02), (70.0, 100.0)] {
            assert!((ceiling(value) - end).abs() < 1e-12, "{value}");
        }
        assert_eq!(
            [
                shown(0.25, "s"),
                shown(0.000_05, "percentunit"),
                shown(0.5, "percentunit"),
                shown(400.0, "short")
            ],
            ["250 ms", "0.005 %", "50 %", "400"]
        );
        assert_eq!([shown(40.0, "MiB"), shown(50.0, "%")], ["40 MiB", "50 %"]);
    }

    #[test]
    fn a_panel_has_its_lines_and_marks() {
        let line = Line { name: "keyed".to_owned(), points: vec![(0.0, 1.0), (10.0, 2.0)] };
        let rate = Panel { title: "Rate", unit: "short", lines: vec![line], marks: &[5.0] };
        let nothing = Panel { title: "Nothing", unit: "s", lines: vec![], marks: &[] };
        let svg = render(&[rate, nothing], 10.0).expect("drawn");
        assert!(
            svg.contains(">keyed</text>")
                && svg.contains("M64.0 114.0L430.0 56.0")
                && svg.ends_with("</svg>\n")
        );
        assert!(svg.contains("M247.0 56V172"), "{svg}");
    }
}
