//! A handler's judgement of a message.

use std::{convert::Infallible, error::Error};

/// Any error of a handler.
///
/// `Box<dyn Error>` without `Send + Sync` is not one: return `Result<(), HandlerError>`, and `?`
/// converts every error that is `Send + Sync`.
pub type HandlerError = Box<dyn Error + Send + Sync + 'static>;

/// The result of one attempt.
///
/// ```
/// use buslane_core::{HandlerError, IntoVerdict, Verdict};
///
/// fn charge(cents: &str) -> Result<Verdict, HandlerError> {
///     let cents: i64 = cents.parse()?; // an error: the classifier decides
///     Ok(match cents {
///         ..=0 => Verdict::reject("no amount"),
///         1_000_000.. => Verdict::retry("over today's limit"),
///         _ => Verdict::Done,
///     })
/// }
/// assert!(matches!(charge("100").into_verdict(), Verdict::Done));
/// assert!(matches!(charge("-1").into_verdict(), Verdict::Reject(_)));
/// assert!(matches!(charge("2000000").into_verdict(), Verdict::Retry(_)));
/// assert!(matches!(charge("x").into_verdict(), Verdict::Failed(_)));
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
    note = "return `()`, `Verdict`, or `Result<(), E>` / `Result<Verdict, E>` where `E` converts into `HandlerError`",
    note = "`Box<dyn Error>` does not: use `HandlerError`, which is `Box<dyn Error + Send + Sync>`"
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
