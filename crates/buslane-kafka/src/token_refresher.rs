//! Refreshes the token of a login before the token expires. librdkafka decides when a client logs
//! in, and does so repeatedly on a connection that outlives its token.
//!
//! One task serves all clients of a bus. librdkafka would request a token for each client on the
//! thread that polls it: a slow token server would block the group member, and the admin client,
//! which is never polled, would get no token.

use crate::token::{Token, Tokens};
use buslane_core::{SymptomKind, Symptoms, excerpt};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::sleep};
use tracing::warn;

/// Time until a failed refresh is repeated; half of the token's remaining time if that is less.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The shortest pause, which prevents a busy loop on a source of nearly expired tokens.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// The present token, for clients that are created later.
#[derive(Clone)]
pub(crate) struct CurrentToken(Arc<Mutex<Token>>);

impl CurrentToken {
    pub(crate) fn new(token: Token) -> Self {
        Self(Arc::new(Mutex::new(token)))
    }

    pub(crate) fn get(&self) -> Token {
        self.0.lock().clone()
    }
}

/// The task that refreshes the token.
///
/// # Drop behaviour
/// Ends the task at its next await.
pub(crate) struct TokenRefresher(JoinHandle<()>);

impl TokenRefresher {
    /// Refreshes `current` and gives each new token to `distribute`.
    pub(crate) fn start<F>(
        tokens: Tokens,
        current: CurrentToken,
        symptoms: Arc<Symptoms>,
        distribute: impl Fn(Token) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(tokio::spawn(async move {
            loop {
                sleep(current.get().left().mul_f64(0.8).max(MIN_INTERVAL)).await;
                let token = loop {
                    match tokens.fetch().await {
                        Ok(token) => break token,
                        Err(error) => {
                            let left = current.get().left();
                            warn!(
                                error = %excerpt::error(&error),
                                still_good_seconds = left.as_secs_f64(),
                                "the token of the login was not renewed"
                            );
                            if left.is_zero() {
                                symptoms.note(
                                    SymptomKind::LoginRefused,
                                    None,
                                    format!("the token has expired: {error}"),
                                );
                            }
                            let half = if left.is_zero() { RETRY_INTERVAL } else { left / 2 };
                            sleep(half.clamp(MIN_INTERVAL, RETRY_INTERVAL)).await;
                        }
                    }
                };
                *current.0.lock() = token.clone();
                symptoms.clear(SymptomKind::LoginRefused, None);
                distribute(token).await;
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

impl Drop for TokenRefresher {
    fn drop(&mut self) {
        self.0.abort();
    }
}
