//! Prints the page `docs/metrics.md`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(buslane::metrics::reference_markdown().as_bytes())
}
