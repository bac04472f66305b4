//! Handlers: what an application writes, and how the type is erased once per subscription.

mod erased;
mod slot;

pub use erased::{ErasedHandler, NextAttempt, Reattempt, Step, erase};
pub use slot::{AttemptSlot, CatchPanic, Local, panic_text};

use crate::{IntoVerdict, Verdict};
use std::future::Future;

/// Something that handles messages: an async function, a closure, or a type of your own.
///
/// Closures are `Fn(M) -> impl Future + Send`. A type names what it returns and implements the one
/// method as `async fn handle`. Share state through the fields of a type, or through a clone for
/// each call of a closure:
///
/// ```
/// use buslane_core::{Handler, Message};
/// use std::{io, sync::{Arc, Mutex}};
///
/// #[derive(Clone, Default)]
/// struct Cache(Arc<Mutex<Vec<String>>>);
///
/// impl Handler<Message> for Cache {
///     type Output = Result<(), io::Error>;
///
///     async fn handle(&self, message: Message) -> Self::Output {
///         let text = String::from_utf8(message.payload.to_vec()).map_err(io::Error::other)?;
///         self.0.lock().unwrap().push(text);
///         Ok(())
///     }
/// }
///
/// fn takes(_: impl Handler<Message>) {}
/// let cache = Cache::default();
/// takes(cache.clone());
/// takes(move |message: Message| {
///     let cache = cache.clone();
///     async move { cache.handle(message).await }
/// });
/// takes(async |message: Message| println!("{:?}", message.payload));
/// ```
///
/// # Cancel safety
/// The future is dropped when a handler timeout or a shutdown deadline passes: at an `.await`,
/// never between.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle `{M}`",
    note = "a handler is an async function or a closure `Fn({M}) -> impl Future + Send`; one that captures clones into an `async move` block"
)]
pub trait Handler<M>: Send + Sync + 'static {
    /// What it returns: `()`, a [`Verdict`], or a `Result` of either.
    type Output: IntoVerdict;

    /// Handles one message.
    fn handle(&self, message: M) -> impl Future<Output = Self::Output> + Send;
}

impl<M, F, Fut> Handler<M> for F
where
    F: Fn(M) -> Fut + Send + Sync + 'static,
    Fut: Future + Send,
    Fut::Output: IntoVerdict,
{
    type Output = Fut::Output;

    fn handle(&self, message: M) -> impl Future<Output = Fut::Output> + Send {
        self(message)
    }
}

/// Runs a handler and converts what it returns.
pub async fn judge<M, H: Handler<M>>(handler: &H, message: M) -> Verdict {
    handler.handle(message).await.into_verdict()
}
