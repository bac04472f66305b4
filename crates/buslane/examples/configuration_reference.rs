//! Prints the page `docs/configuration.md`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(buslane::config::Config::reference_markdown().as_bytes())
}
