//! Which errors are worth another attempt.

use buslane_core::{EnvelopeError, HandlerError};
use std::{error::Error, io, sync::Arc};

/// Whether another attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may: transport errors, timeouts, and every error that is not known to be final.
    Transient,
    /// It cannot: the message itself is wrong.
    Permanent,
}

/// Decides the class of a handler's error.
pub type Classifier = Arc<dyn Fn(&HandlerError) -> Class + Send + Sync>;

/// The default classifier: errors of decoding and validation, anywhere in the chain of sources, are
/// permanent; all others are transient.
///
/// ```
/// use buslane::{Class, classify};
///
/// let decoding = serde_json::from_str::<u32>("no").unwrap_err();
/// assert_eq!(classify(&decoding.into()), Class::Permanent);
/// assert_eq!(classify(&"the bank did not answer".into()), Class::Transient);
/// ```
#[must_use]
pub fn classify(error: &HandlerError) -> Class {
    let mut next: Option<&(dyn Error + 'static)> = Some(&**error);
    while let Some(error) = next {
        let decoding =
            error.downcast_ref::<serde_json::Error>().is_some_and(|error| !error.is_io());
        if decoding || error.is::<EnvelopeError>() || error.is::<std::str::Utf8Error>() {
            return Class::Permanent;
        }
        // The source of an IO error skips the error that it was made from.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    Class::Transient
}

#[cfg(test)]
mod tests {
    use super::*;
    use thiserror::Error;

    #[derive(Debug, Error)]
    #[error("order cannot be read")]
    struct Wrapped(#[source] serde_json::Error);

    #[test]
    fn d5_decoding_and_validation_are_permanent_transport_and_timeouts_are_not() {
        let json = || serde_json::from_str::<u32>("no").unwrap_err();
        let utf8 = || String::from_utf8(vec![0xff]).unwrap_err().utf8_error();
        let permanent: [HandlerError; 5] = [
            json().into(),
            Wrapped(json()).into(),
            EnvelopeError::PayloadRequired.into(),
            utf8().into(),
            io::Error::from(json()).into(),
        ];
        for error in &permanent {
            assert_eq!(classify(error), Class::Permanent, "{error}");
        }
        let transient: [HandlerError; 3] = [
            io::Error::from(io::ErrorKind::ConnectionReset).into(),
            io::Error::from(io::ErrorKind::TimedOut).into(),
            "whatever".into(),
        ];
        for error in &transient {
            assert_eq!(classify(error), Class::Transient, "{error}");
        }
    }
}
