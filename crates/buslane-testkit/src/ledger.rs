//! Records every settlement of a test: the jobs and their ends, and that each job ended once.

use crate::deadline::{LIMIT, within};
use buslane_core::{Outcome, Settle, Settlement};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::SeqCst},
};
use tokio::sync::watch;

/// The end of a job, in a form that tests can compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// [`Outcome::Ok`].
    Ok,
    /// [`Outcome::Failed`] with this error.
    Failed(String),
    /// [`Outcome::Panicked`] with this text.
    Panicked(String),
    /// [`Outcome::Abandoned`].
    Abandoned,
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Failed(error) => Self::Failed(error.to_string()),
            Outcome::Panicked(text) => Self::Panicked(text),
            Outcome::Abandoned => Self::Abandoned,
        }
    }
}

/// The ends of all jobs, in the order of settlement.
#[derive(Default)]
pub struct Ledger {
    issued: AtomicU64,
    ends: Mutex<Vec<(u64, End)>>,
    settled: watch::Sender<usize>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A settlement that reports to this ledger. Tokens count up from 0.
    #[must_use]
    pub fn settlement(self: &Arc<Self>) -> Settlement {
        Settlement::new(Arc::clone(self) as Arc<dyn Settle>, self.issued.fetch_add(1, SeqCst))
    }

    /// The number of settlements handed out.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.issued.load(SeqCst)
    }

    /// Waits until `count` jobs have ended.
    ///
    /// # Panics
    /// When the jobs take longer than [`LIMIT`].
    pub async fn settled(&self, count: usize) {
        let mut settled = self.settled.subscribe();
        within(LIMIT, "the jobs are settled", settled.wait_for(|now| *now >= count))
            .await
            .expect("the ledger lives");
    }

    /// The ends so far, in the order of settlement.
    #[must_use]
    pub fn ends(&self) -> Vec<(u64, End)> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ends by token.
    ///
    /// # Panics
    /// When a job ended twice, or a settlement was never used.
    #[must_use]
    pub fn by_token(&self) -> Vec<End> {
        let mut ends = self.ends();
        ends.sort_by_key(|(token, _)| *token);
        let tokens: Vec<u64> = ends.iter().map(|(token, _)| *token).collect();
        let expected: Vec<u64> = (0..self.issued()).collect();
        assert_eq!(tokens, expected, "every job settles exactly once");
        ends.into_iter().map(|(_, end)| end).collect()
    }

    /// The number of jobs whose end `matches`.
    #[must_use]
    pub fn count(&self, matches: impl Fn(&End) -> bool) -> usize {
        self.ends().iter().filter(|(_, end)| matches(end)).count()
    }
}

impl Settle for Ledger {
    fn settle(&self, token: u64, outcome: Outcome) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.push((token, outcome.into()));
        self.settled.send_replace(ends.len());
    }
}
