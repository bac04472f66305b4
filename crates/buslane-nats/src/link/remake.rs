//! Replaces a client whose task has ended. The task panics at some messages, and its client never
//! answers again.

use super::{Link, NewClient, make};
use buslane_core::{BrokerEvent, SymptomKind, Symptoms};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// Guards a task that the broker cannot do without. After a panic of that task, only a new process
/// helps.
pub(crate) struct PanicGuard {
    symptoms: Arc<Symptoms>,
    has_panicked: Arc<AtomicBool>,
    what: &'static str,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.has_panicked.store(true, Ordering::Release);
            self.symptoms.note(
                SymptomKind::ClientEnded,
                None,
                format!("{} has panicked", self.what),
            );
        }
    }
}

impl Link {
    /// Guards the task with this name.
    pub(crate) fn panic_guard(&self, what: &'static str) -> PanicGuard {
        PanicGuard {
            symptoms: Arc::clone(&self.symptoms),
            has_panicked: Arc::clone(&self.has_panicked),
            what,
        }
    }

    /// Replaces the client each time its task ends. Users of the client see a new epoch.
    pub(crate) async fn replace_clients(self: Arc<Self>) {
        let _guard = self.panic_guard("the task that replaces clients");
        loop {
            let ended = self.ended.lock().clone();
            ended.cancelled().await;
            let reason =
                "the client's task has ended, as it does at a message whose headers it cannot read";
            tracing::error!(reason, "connecting with a new client");
            self.symptoms.note(SymptomKind::ClientEnded, None, reason);
            self.listener.events.push(BrokerEvent::Disconnected { reason: reason.to_owned() });
            let (client, ended) = self.make_again().await;
            self.client.store(Arc::new(client));
            *self.ended.lock() = ended;
            // A new client does not restart a panicked task of the adapter.
            if !self.has_panicked.load(Ordering::Acquire) {
                self.symptoms.clear(SymptomKind::ClientEnded, None);
            }
            self.listener.reconnected(true);
        }
    }

    async fn make_again(&self) -> NewClient {
        let mut pause = PAUSE;
        loop {
            match Box::pin(make(&self.config, &self.listener)).await {
                Ok(made) => return made,
                Err(error) => {
                    let reason = format!(
                        "no client could be made in place of one whose task has ended: {error}"
                    );
                    self.symptoms.note(SymptomKind::ClientEnded, None, reason);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o3_only_a_task_that_panics_is_missed() {
        let guard = || PanicGuard {
            symptoms: Arc::default(),
            has_panicked: Arc::default(),
            what: "a task",
        };
        let (ends, panics) = (guard(), guard());
        let (well, ill) = (Arc::clone(&ends.symptoms), Arc::clone(&panics.symptoms));
        drop(ends);
        assert!(well.all().is_empty());
        let task = std::thread::spawn(move || {
            let _guard = panics;
            panic!("on purpose");
        });
        task.join().unwrap_err();
        let noted = ill.all();
        assert_eq!((noted.len(), noted[0].kind), (1, SymptomKind::ClientEnded));
        assert!(noted[0].reason.contains("a task has panicked"), "{noted:?}");
    }
}
