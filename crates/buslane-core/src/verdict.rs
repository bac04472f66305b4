//! What a handler says of a message.

use std::{convert::Infallible, error::Error};

/// Any error that a handler gives.
pub type HandlerError = Box<dyn Error + Send + Sync + 'static>;

/// A handler's judgement of one attempt.
#[derive(Debug)]
pub enum Verdict {
    /// Handled.
    Done,
    /// Failed; the error classifier of the subscription decides whether another attempt makes
    /// sense.
    Failed(HandlerError),
    /// Failed; try again, whatever the classifier says.
    Retry(HandlerError),
    /// This message can never be handled: no further attempt, terminal policy at once.
    Reject(HandlerError),
}

impl Verdict {
    /// [`Verdict::Retry`] from anything that is an error or a text.
    pub fn retry(error: impl Into<HandlerError>) -> Self {
        Self::Retry(error.into())
    }

    /// [`Verdict::Reject`] from anything that is an error or a text.
    pub fn reject(error: impl Into<HandlerError>) -> Self {
        Self::Reject(error.into())
    }
}

/// What a handler may return: `()`, a [`Verdict`], or a `Result` of either with any error.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "return `()`, `Verdict`, or `Result<(), E>` / `Result<Verdict, E>` where `E` converts into a boxed error"
)]
pub trait IntoVerdict {
    /// The judgement.
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
