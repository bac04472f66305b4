//! The details of a setting besides type and default: rules, kind and variables.

use crate::Value;
use buslane_core::Topic;
use std::time::Duration;

/// A detail of a setting whose values are `T`.
#[non_exhaustive]
pub enum Detail<T> {
    /// A rule for its values.
    Rule(Rule<T>),
    /// The kind of its values, if the type does not say it.
    Kind(&'static str),
    /// The text of the default in the reference, if the default depends on the environment.
    DefaultText(&'static str),
    /// The environment variables that set it, in order of precedence.
    Variables(&'static [&'static str]),
}

/// Checks a value. The error is the rule in words.
type Holds<T> = Box<dyn Fn(&T) -> Result<(), String>>;

/// A rule for the values of a setting.
pub struct Rule<T> {
    /// The rule in the reference if it has no bounds; may be empty.
    pub(crate) words: String,
    /// The least and the largest value, if the rule has bounds.
    pub(crate) bounds: (Option<String>, Option<String>),
    pub(crate) holds: Holds<T>,
}

fn bounded<T: Value + PartialOrd + 'static>(
    least: Option<T>,
    most: Option<T>,
    rule: String,
) -> Detail<T> {
    let bounds = (least.as_ref().map(Value::show), most.as_ref().map(Value::show));
    let holds = move |value: &T| {
        let holds = least.as_ref().is_none_or(|least| value >= least)
            && most.as_ref().is_none_or(|most| value <= most);
        if holds { Ok(()) } else { Err(rule.clone()) }
    };
    Detail::Rule(Rule { words: String::new(), bounds, holds: Box::new(holds) })
}

/// Requires a value from `least` to `most`.
pub fn range<T: Value + PartialOrd + 'static>(least: T, most: T) -> Detail<T> {
    let rule = format!("must be from {} to {}", least.show(), most.show());
    bounded(Some(least), Some(most), rule)
}

/// Requires `least` or more.
pub fn at_least<T: Value + PartialOrd + 'static>(least: T) -> Detail<T> {
    let rule = format!("must be at least {}", least.show());
    bounded(Some(least), None, rule)
}

/// Requires `most` or less.
pub fn at_most<T: Value + PartialOrd + 'static>(most: T) -> Detail<T> {
    let rule = format!("must be at most {}", most.show());
    bounded(None, Some(most), rule)
}

/// Requires what `holds` checks. The reference shows `words`, and the error of `holds` is the rule.
pub fn check<T>(words: &str, holds: impl Fn(&T) -> Result<(), String> + 'static) -> Detail<T> {
    let (words, bounds) = (words.to_owned(), (None, None));
    Detail::Rule(Rule { words, bounds, holds: Box::new(holds) })
}

/// Requires more than 0 and at most `most`, which excludes NaN.
#[must_use]
pub fn share(most: f64) -> Detail<f64> {
    check(&format!("above 0, at most {most}"), move |value| {
        let holds = *value > 0.0 && *value <= most;
        if holds { Ok(()) } else { Err(format!("must be more than 0 and at most {most}")) }
    })
}

/// Requires a duration above zero.
#[must_use]
pub fn above_zero() -> Detail<Duration> {
    check("above zero", |time: &Duration| {
        if time.is_zero() { Err("must be more than zero".to_owned()) } else { Ok(()) }
    })
}

/// Requires whole milliseconds, the resolution of clients such as librdkafka.
#[must_use]
pub fn whole_millis() -> Detail<Duration> {
    check("", |time: &Duration| {
        let is_whole = time.subsec_nanos().is_multiple_of(1_000_000);
        if is_whole { Ok(()) } else { Err("must be whole milliseconds".to_owned()) }
    })
}

/// Requires text that is not blank.
#[must_use]
pub fn not_blank() -> Detail<String> {
    check(
        "",
        |text: &String| {
            if text.trim().is_empty() { Err("must not be blank".to_owned()) } else { Ok(()) }
        },
    )
}

/// Requires a valid topic name.
#[must_use]
pub fn topic_name() -> Detail<String> {
    check("", |name: &String| match Topic::new(name) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("must be a topic name: {}", error.rule)),
    })
}

/// Names the kind of the values, if the type does not say it.
#[must_use]
pub const fn kind<T>(kind: &'static str) -> Detail<T> {
    Detail::Kind(kind)
}

/// Sets the text of the default in the reference, if the default depends on the environment.
#[must_use]
pub const fn default_text<T>(text: &'static str) -> Detail<T> {
    Detail::DefaultText(text)
}

/// Names the environment variables that set it, in order of precedence.
#[must_use]
pub const fn variables<T>(names: &'static [&'static str]) -> Detail<T> {
    Detail::Variables(names)
}
