//! What is said of a setting beside its type and its default: rules, kind, variables.

use crate::Value;
use buslane_core::Topic;
use std::time::Duration;

/// One thing that is said of a setting whose values are `T`.
#[non_exhaustive]
pub enum Detail<T> {
    /// A rule that a value must keep.
    Rule(Rule<T>),
    /// What may stand there, where the type does not say it.
    Kind(&'static str),
    /// The default as the reference shows it, where it is not the same everywhere.
    DefaultText(&'static str),
    /// Environment variables that set it, the one that wins first.
    Variables(&'static [&'static str]),
}

/// Says whether a value keeps the rule; the error is the rule in words.
type Holds<T> = Box<dyn Fn(&T) -> Result<(), String>>;

/// A rule that a value must keep.
pub struct Rule<T> {
    /// The rule for the reference, where it has no bounds; may be empty.
    pub(crate) words: String,
    /// The least and the largest value, where there are such.
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

/// From `least` to `most`.
pub fn range<T: Value + PartialOrd + 'static>(least: T, most: T) -> Detail<T> {
    let rule = format!("must be from {} to {}", least.show(), most.show());
    bounded(Some(least), Some(most), rule)
}

/// `least` or more.
pub fn at_least<T: Value + PartialOrd + 'static>(least: T) -> Detail<T> {
    let rule = format!("must be at least {}", least.show());
    bounded(Some(least), None, rule)
}

/// `most` or less.
pub fn at_most<T: Value + PartialOrd + 'static>(most: T) -> Detail<T> {
    let rule = format!("must be at most {}", most.show());
    bounded(None, Some(most), rule)
}

/// Any rule; `words` stand in the reference, and the error of `holds` is the rule.
pub fn check<T>(words: &str, holds: impl Fn(&T) -> Result<(), String> + 'static) -> Detail<T> {
    let (words, bounds) = (words.to_owned(), (None, None));
    Detail::Rule(Rule { words, bounds, holds: Box::new(holds) })
}

/// More than 0, and at most `most`: NaN is neither.
#[must_use]
pub fn share(most: f64) -> Detail<f64> {
    check(&format!("above 0, at most {most}"), move |value| {
        let holds = *value > 0.0 && *value <= most;
        if holds { Ok(()) } else { Err(format!("must be more than 0 and at most {most}")) }
    })
}

/// A time that is not 0.
#[must_use]
pub fn above_zero() -> Detail<Duration> {
    check("above zero", |time: &Duration| {
        if time.is_zero() { Err("must be more than zero".to_owned()) } else { Ok(()) }
    })
}

/// A time that librdkafka, for one, would not have to round.
#[must_use]
pub fn whole_millis() -> Detail<Duration> {
    check("", |time: &Duration| {
        let is_whole = time.subsec_nanos().is_multiple_of(1_000_000);
        if is_whole { Ok(()) } else { Err("must be whole milliseconds".to_owned()) }
    })
}

/// A text with something in it.
#[must_use]
pub fn not_blank() -> Detail<String> {
    check(
        "",
        |text: &String| {
            if text.trim().is_empty() { Err("must not be blank".to_owned()) } else { Ok(()) }
        },
    )
}

/// The name of a topic.
#[must_use]
pub fn topic_name() -> Detail<String> {
    check("", |name: &String| match Topic::new(name) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("must be a topic name: {}", error.rule)),
    })
}

/// What may stand there, where the type does not say it.
#[must_use]
pub const fn kind<T>(kind: &'static str) -> Detail<T> {
    Detail::Kind(kind)
}

/// The default in the reference, where it is not the same everywhere.
#[must_use]
pub const fn default_text<T>(text: &'static str) -> Detail<T> {
    Detail::DefaultText(text)
}

/// Environment variables that set it, the one that wins first.
#[must_use]
pub const fn variables<T>(names: &'static [&'static str]) -> Detail<T> {
    Detail::Variables(names)
}
