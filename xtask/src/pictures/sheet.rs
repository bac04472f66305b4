//! A sheet to draw on: an SVG with a card as its background and one set of styles, readable on
//! light and dark pages. It knows no data.

use std::fmt::Write as _;

use xtask_base::plot::escape;

pub(super) const WIDTH: f64 = 900.0;
/// Left and right edge of what is drawn.
pub(super) const LEFT: f64 = 28.0;
pub(super) const RIGHT: f64 = WIDTH - 28.0;

/// Blue and orange can be told apart by colour-blind readers; a dashed line is actors' as well.
const STYLE: &str = "\
text{fill:#1f2328}.title{font-size:19px;font-weight:600}.head{font-size:14px;font-weight:600}\
.small{font-size:11.5px;fill:#59636e}.note{font-size:13px}\
.card{fill:#fff;stroke:#d1d9e0}.grid{stroke:#e6eaef}.mark{stroke:#c2410c;stroke-dasharray:3 3}\
.keyed{fill:#1f6fb4}.actor{fill:#d9730d}.peer{fill:#8c959f}.limit{fill:#dde3e9}\
.keyed-line,.actor-line{fill:none;stroke-width:2.5;stroke-linejoin:round}\
.keyed-line{stroke:#1f6fb4}.actor-line{stroke:#d9730d;stroke-dasharray:7 4}\
.area{fill:#d9730d;fill-opacity:.14}.edge{fill:none;stroke:#d9730d;stroke-width:2.5}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9aa4af}\
.card{fill:#161b22;stroke:#30363d}.grid{stroke:#2b3138}.mark{stroke:#ff9b71}\
.keyed{fill:#58a6ff}.actor{fill:#f0883e}.peer{fill:#7d8590}.limit{fill:#343b44}\
.keyed-line{stroke:#58a6ff}.actor-line{stroke:#f0883e}.edge{stroke:#f0883e}.area{fill:#f0883e}}";

/// Where a text begins, ends or has its middle.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// What has been drawn so far.
pub(super) struct Sheet {
    body: String,
}

impl Sheet {
    /// An empty sheet with its title.
    pub(super) fn new(title: &str) -> Self {
        let mut sheet = Self { body: String::new() };
        sheet.text((LEFT, 40.0), "title", Anchor::Start, title);
        sheet
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), class: &str, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let text = escape(text);
        self.push(&format!(r#"<text x="{x:.1}" y="{y:.1}" class="{class}"{anchor}>{text}</text>"#));
    }

    pub(super) fn bar(&mut self, (x, y): (f64, f64), width: f64, height: f64, class: &str) {
        let width = width.max(1.0);
        self.push(&format!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2" class="{class}"/>"#
        ));
    }

    /// A path, given as SVG's `d`.
    pub(super) fn path(&mut self, path: &str, class: &str) {
        self.push(&format!(r#"<path d="{path}" class="{class}"/>"#));
    }

    /// The finished SVG, with its source in two lines of small type at the bottom.
    pub(super) fn finish(mut self, height: f64, source: &[String; 2]) -> String {
        for (line, up) in source.iter().zip([34.0, 18.0]) {
            self.text((LEFT, height - up), "small", Anchor::Start, line);
        }
        let (width, high) = (WIDTH - 1.0, height - 1.0);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif\" \
             font-size=\"13\">\n<style>{STYLE}</style>\n<rect x=\".5\" y=\".5\" width=\"{width}\" \
             height=\"{high}\" rx=\"8\" class=\"card\"/>\n{}</svg>\n",
            self.body
        )
    }

    fn push(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }
}

/// The path of a line through these points.
pub(super) fn line(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (x, y) in points {
        let command = if path.is_empty() { 'M' } else { 'L' };
        // A `String` takes everything.
        let _ = write!(path, "{command}{x:.1} {y:.1}");
    }
    path
}
