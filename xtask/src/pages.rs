//! `cargo xtask pages`: writes the pages below `docs/` that are generated from the code. The tests
//! that compare these pages with the code write them when a variable asks for it, so page and check
//! cannot disagree.

use xtask_base::process::{Result, cargo, run as run_command};
use xtask_base::tools;

/// The tests that compare a page all end with this.
const TESTS: &str = "the_documentation_page_is_generated";

pub(crate) fn run() -> Result<()> {
    tools::openssl()?;
    let mut tests = cargo(["test", "--workspace", "--all-features", "--test=*", "--", TESTS]);
    run_command(tests.env("BUSLANE_WRITE_PAGES", "1"))
}
