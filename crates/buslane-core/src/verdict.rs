//! A handler's judgement of a message.

use std::{convert::Infallible, error::Error};

/// Any error of a handler.
pub type HandlerError = Box<dyn Error + Send + Sync + 'static>;

/// A handler's judgement of one attempt.
///
/// ```
/// use buslane_core::{Message, Verdict};
///
/// async fn handle(message: Message) -> Result<Verdict, std::num::ParseIntError> {
///     let text = String::from_utf8_lossy(&message.payload);
///     if text.is_empty() {
///         return Ok(Verdict::reject("an empty body"));
///     }
///     // The classifier of the subscription decides what an error means.
///     let amount: u64 = text.parse()?;
///     Ok(if amount < 1_000 { Verdict::Done } else { Verdict::retry("over the limit") })
/// }
/// ```
#[derive(Debug)]
pub enum Verdict {
    /// The message is handled.
    Done,
    /// The attempt failed. The error classifier of the subscription decides whether another attempt
    /// follows.
    Failed(HandlerError),
    /// The attempt failed and is tried again, whatever the classifier decides.
    Retry(HandlerError),
    /// The message can never be handled: the terminal policy applies without another attempt.
    Reject(HandlerError),
}

impl Verdict {
    /// [`Verdict::Retry`] with an error or a text.
    pub fn retry(error: impl Into<HandlerError>) -> Self {
        Self::Retry(error.into())
    }

    /// [`Verdict::Reject`] with an error or a text.
    pub fn reject(error: impl Into<HandlerError>) -> Self {
        Self::Reject(error.into())
    }
}

/// The output of a handler: `()`, a [`Verdict`], or a `Result` of either with any error.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "return `()`, `Verdict`, or `Result<(), E>` / `Result<Verdict, E>` where `E` converts into a boxed error"
)]
pub trait IntoVerdict {
    /// Converts the output into a verdict.
    fn into_verdict(self) -> Verdict;
}

impl IntoVerdict for () {
    fn into_verdict(self) -> Verdict {
        Verdict::Done
    }
}

impl IntoVerdict for Infallible {
    fn into_verdict(self) -> Verdict {
        match self {}
    }
}

impl IntoVerdict for Verdict {
    fn into_verdict(self) -> Verdict {
        self
    }
}

impl<T: IntoVerdict, E: Into<HandlerError>> IntoVerdict for Result<T, E> {
    fn into_verdict(self) -> Verdict {
        match self {
            Ok(value) => value.into_verdict(),
            Err(error) => Verdict::Failed(error.into()),
        }
    }
}
