//! Which errors are worth another attempt.

use buslane_core::{EnvelopeError, HandlerError};
use buslane_settings::{BrokenRule, judge, kind, not_blank, settings};
use std::{error::Error, io, iter::successors, sync::Arc};

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

settings! {
    /// The class of errors by their texts: the section `errors` of a [`Config`](crate::Config).
    ///
    /// A text is compared with the error of a handler and all its sources; it may be a part of
    /// theirs, and upper and lower case differ. These texts decide first, `permanent` before
    /// `transient`. All other errors are left to the classifier of the
    /// [subscription](crate::SubscriptionBuilder::classifier) or the
    /// [bus](crate::BusBuilder::classifier), which is [`classify`] by default.
    ///
    /// ```
    /// use buslane::Config;
    ///
    /// let config = Config::parse_yaml("errors: { permanent: [no such customer] }")?;
    /// assert_eq!(config.errors.permanent, ["no such customer"]);
    /// # Ok::<(), buslane::ConfigError>(())
    /// ```
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct ErrorClasses {
        /// Texts of errors that another attempt cannot mend.
        permanent: Vec<String>, kind("list of texts");
        /// Texts of errors that another attempt may mend.
        transient: Vec<String>, kind("list of texts");
    }
    also Self::texts_say_something;
}

impl ErrorClasses {
    /// An empty text would be a part of every error.
    fn texts_say_something(&self, key: &str) -> Result<(), BrokenRule> {
        for (name, texts) in [("permanent", &self.permanent), ("transient", &self.transient)] {
            for (index, text) in texts.iter().enumerate() {
                judge(text, format!("{key}.{name}[{index}]"), vec![not_blank()])?;
            }
        }
        Ok(())
    }

    /// A classifier that looks for these texts first.
    pub(crate) fn before(&self, classifier: Classifier) -> Classifier {
        if self.permanent.is_empty() && self.transient.is_empty() {
            return classifier;
        }
        let classes = self.clone();
        Arc::new(move |error| classes.of(error).unwrap_or_else(|| classifier(error)))
    }

    fn of(&self, error: &HandlerError) -> Option<Class> {
        let texts: Vec<_> = chain(error).map(ToString::to_string).collect();
        let has_one = |wanted: &[String]| {
            wanted.iter().any(|wanted| texts.iter().any(|text| text.contains(wanted)))
        };
        if has_one(&self.permanent) {
            Some(Class::Permanent)
        } else {
            has_one(&self.transient).then_some(Class::Transient)
        }
    }
}

/// An error, then the chain of its sources.
fn chain(error: &HandlerError) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = &**error;
    // The source of an IO error skips the error that it was made from.
    successors(Some(first), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

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
    let is_permanent = |error: &(dyn Error + 'static)| {
        error.downcast_ref::<serde_json::Error>().is_some_and(|error| !error.is_io())
            || error.is::<EnvelopeError>()
            || error.is::<std::str::Utf8Error>()
    };
    if chain(error).any(is_permanent) { Class::Permanent } else { Class::Transient }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thiserror::Error;

    #[derive(Debug, Error)]
    #[error("order cannot be read")]
    struct Wrapped(#[source] serde_json::Error);

    #[test]
    fn d5_texts_of_the_configuration_decide_first() {
        let classes = ErrorClasses {
            permanent: vec!["no such customer".to_owned(), "EOF".to_owned()],
            transient: vec!["expected".to_owned()],
        };
        let class = classes.before(Arc::new(classify));
        let json = |text| serde_json::from_str::<Vec<u32>>(text).unwrap_err();
        for (error, expected) in [
            ("no such customer: 42".into(), Class::Permanent),
            ("No such customer".into(), Class::Transient),
            // By default an error of decoding is permanent.
            (json("x").into(), Class::Transient),
            (Wrapped(json("x")).into(), Class::Transient),
            (io::Error::from(json("x")).into(), Class::Transient),
            // Both lists have a text of it.
            (HandlerError::from("expected more, found EOF"), Class::Permanent),
            (Wrapped(json("[")).into(), Class::Permanent),
            // Neither has.
            (EnvelopeError::PayloadRequired.into(), Class::Permanent),
            (io::Error::from(io::ErrorKind::TimedOut).into(), Class::Transient),
        ] {
            assert_eq!(class(&error), expected, "{error}");
        }
    }

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
