//! The ledgers that order services write, read as they grow, merged and judged. Shares nothing with
//! the program that wrote them.

mod books;
mod line;
mod ranges;
mod tail;

pub(crate) use books::{Books, Excuse, Numbering, Verdict};
pub(crate) use tail::Ledgers;
