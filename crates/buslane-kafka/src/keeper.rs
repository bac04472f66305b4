//! Renews the token of a login before it ends. It knows neither how a token is made nor when a
//! client logs in: librdkafka does that, again and again on a connection that lives longer than its
//! token.
//!
//! One task for all clients of a bus. librdkafka would ask for each of them, on the thread that
//! polls it; a token server that is slow would hold up the group member, and the admin client,
//! which nobody polls, would never get one.

use crate::{Token, Tokens};
use buslane_core::{SymptomKind, Symptoms, excerpt};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::sleep};
use tracing::warn;

/// Time until a failed renewal is tried again; half of what the token is still good for when that
/// is less.
const RETRY: Duration = Duration::from_secs(5);
/// Shorter pauses would ask the source without end when it gives tokens that are nearly over.
const SHORTEST: Duration = Duration::from_millis(100);

/// The token of now, for clients that are made later.
#[derive(Clone)]
pub(crate) struct Current(Arc<Mutex<Token>>);

impl Current {
    pub(crate) fn new(token: Token) -> Self {
        Self(Arc::new(Mutex::new(token)))
    }

    pub(crate) fn get(&self) -> Token {
        self.0.lock().clone()
    }
}

/// The task that renews.
///
/// # Drop behaviour
/// Dropping it ends the task at its next await.
pub(crate) struct Keeper(JoinHandle<()>);

impl Keeper {
    /// Renews `current`, and gives each new token to `spread`.
    pub(crate) fn start<F>(
        tokens: Tokens,
        current: Current,
        symptoms: Arc<Symptoms>,
        spread: impl Fn(Token) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(tokio::spawn(async move {
            loop {
                sleep(current.get().left().mul_f64(0.8).max(SHORTEST)).await;
                let token = loop {
                    match tokens.fetch().await {
                        Ok(token) => break token,
                        Err(error) => {
                            let left = current.get().left();
                            warn!(error = %excerpt::error(&error), still_good_seconds = left.as_secs_f64(), "the token of the login was not renewed");
                            if left.is_zero() {
                                symptoms.note(
                                    SymptomKind::LoginRefused,
                                    None,
                                    format!("the token is over: {error}"),
                                );
                            }
                            let half = if left.is_zero() { RETRY } else { left / 2 };
                            sleep(half.clamp(SHORTEST, RETRY)).await;
                        }
                    }
                };
                *current.0.lock() = token.clone();
                symptoms.clear(SymptomKind::LoginRefused, None);
                spread(token).await;
            }
        }))
    }

    pub(crate) async fn end(&self) {
        self.0.abort();
        while !self.0.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
