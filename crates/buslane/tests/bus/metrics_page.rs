//! `docs/metrics.md` is made from the catalogue.

use buslane::metrics::reference_markdown;
use std::path::Path;

#[test]
fn o1_the_documentation_page_is_generated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    // Set by `cargo xtask pages`.
    if std::env::var_os("BUSLANE_WRITE_PAGES").is_some() {
        std::fs::write(&path, reference_markdown()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == reference_markdown(), "docs/metrics.md is out of date: cargo xtask pages");
}
