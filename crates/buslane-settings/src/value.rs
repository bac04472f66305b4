//! The types that a setting may have, and the functions that the macro calls for them.

use crate::{BrokenRule, Detail, Setting, duration};
use buslane_core::{Secret, TopicCompression};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::BTreeMap, time::Duration};

/// The type of a setting, or of a section of settings.
pub trait Value: Sized {
    /// The type that rules check: the type itself, or the content of an `Option`.
    type Judged: Value;

    /// The value that rules check, if there is one.
    fn judged(&self) -> Option<&Self::Judged>;

    /// Reads the value from a file.
    ///
    /// # Errors
    /// The error of the file format.
    fn read<'de, D: Deserializer<'de>>(source: D) -> Result<Self, D::Error>;

    /// Writes the value as in a file, but without secrets.
    ///
    /// # Errors
    /// The error of the target.
    fn write<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error>;

    /// Whether a file expresses the value by omitting the key.
    fn is_absent(&self) -> bool {
        false
    }

    /// The kind of the values in the reference.
    fn kind() -> String {
        String::new()
    }

    /// The value as the reference shows it.
    fn show(&self) -> String {
        String::new()
    }

    /// The value as an error shows it.
    fn found(&self) -> String {
        self.show()
    }

    /// Reads the value from a variable.
    ///
    /// # Errors
    /// The rule that the text breaks.
    fn parse(_: &str) -> Result<Self, String> {
        Err("has no variable".to_owned())
    }

    /// The text of a variable as an error shows it.
    fn refused(text: &str) -> String {
        format!("{text:?}")
    }

    /// The least and the largest value, for whole numbers.
    fn limits() -> Option<(String, String)> {
        None
    }

    /// Appends the rows of the reference: one for a value, or those of all settings of a section.
    fn list(default: Option<&Self>, own: Setting, list: &mut Vec<Setting>) {
        let default = default.map(Self::show).unwrap_or_default();
        list.push(Setting { default, ..own });
    }

    /// Checks every rule below `key`.
    ///
    /// # Errors
    /// The first broken rule.
    fn validate(&self, _key: &str) -> Result<(), BrokenRule> {
        Ok(())
    }

    /// The section in `optional`, which is created with its defaults if it is `None`.
    fn begun(optional: &mut Option<Self>) -> Option<&mut Self> {
        optional.as_mut()
    }

    /// Sets the setting at `key`, below this section, to the text of a variable.
    ///
    /// # Errors
    /// The rule that the text breaks.
    fn set(&mut self, key: &str, text: &str) -> Result<(), BrokenRule> {
        BrokenRule::because(key, "is no setting", format!("{text:?}"))
    }
}

/// Implements reading and writing for values that serde reads and writes as they are.
#[macro_export]
macro_rules! plain_value {
    () => {
        type Judged = Self;

        fn judged(&self) -> Option<&Self> {
            Some(self)
        }

        fn read<'de, Source: $crate::serde::Deserializer<'de>>(
            source: Source,
        ) -> Result<Self, Source::Error> {
            $crate::serde::Deserialize::deserialize(source)
        }

        fn write<Target: $crate::serde::Serializer>(
            &self,
            target: Target,
        ) -> Result<Target::Ok, Target::Error> {
            $crate::serde::Serialize::serialize(self, target)
        }
    };
}

macro_rules! whole_numbers {
    ($($number:ty),*) => { $(
        impl Value for $number {
            plain_value!();

            fn kind() -> String {
                "integer".to_owned()
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn parse(text: &str) -> Result<Self, String> {
                let rule = || format!("must be a whole number from {} to {}", Self::MIN, Self::MAX);
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|_| digits).ok_or_else(rule)
            }

            fn limits() -> Option<(String, String)> {
                Some((Self::MIN.to_string(), Self::MAX.to_string()))
            }
        }
    )* };
}

whole_numbers!(u8, u16, u32, u64, usize);

impl Value for bool {
    plain_value!();

    fn kind() -> String {
        "`true` or `false`".to_owned()
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("must be true, false, 1 or 0".to_owned()),
        }
    }
}

impl Value for f64 {
    plain_value!();

    fn kind() -> String {
        "number".to_owned()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    plain_value!();

    fn kind() -> String {
        "text".to_owned()
    }

    fn show(&self) -> String {
        self.clone()
    }

    fn found(&self) -> String {
        format!("{self:?}")
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for Secret {
    plain_value!();

    fn kind() -> String {
        "text, never shown".to_owned()
    }

    fn found(&self) -> String {
        "something else, which is not shown".to_owned()
    }

    fn refused(_: &str) -> String {
        "something else, which is not shown".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Value for Duration {
    type Judged = Self;

    fn judged(&self) -> Option<&Self> {
        Some(self)
    }

    fn read<'de, D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        duration::deserialize(source)
    }

    fn write<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.serialize_str(&self.show())
    }

    fn kind() -> String {
        "duration".to_owned()
    }

    fn show(&self) -> String {
        duration::show(*self)
    }

    fn parse(text: &str) -> Result<Self, String> {
        duration::parse(text).map_err(str::to_owned)
    }
}

impl Value for Vec<Duration> {
    type Judged = Self;

    fn judged(&self) -> Option<&Self> {
        Some(self)
    }

    fn read<'de, D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(source)?;
        let read = |text: &String| {
            duration::parse(text)
                .map_err(|rule| serde::de::Error::custom(format_args!("{rule}, found {text:?}")))
        };
        texts.iter().map(read).collect()
    }

    fn write<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.collect_seq(self.iter().map(Value::show))
    }

    fn kind() -> String {
        "list of durations".to_owned()
    }

    fn show(&self) -> String {
        format!("{:?}", self.iter().map(Value::show).collect::<Vec<_>>())
    }
}

impl Value for Vec<String> {
    plain_value!();

    fn kind() -> String {
        "list of texts".to_owned()
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl<T: Serialize + for<'de> Deserialize<'de>> Value for BTreeMap<String, T> {
    plain_value!();

    fn kind() -> String {
        "table".to_owned()
    }

    fn show(&self) -> String {
        if self.is_empty() { "{}".to_owned() } else { "a table".to_owned() }
    }
}

/// A key that a file may omit. An empty key is read as if the value were required: with serde
/// alone, `tls:` would equal no key, and encryption would silently be off.
impl<T: Value> Value for Option<T> {
    type Judged = T::Judged;

    fn judged(&self) -> Option<&T::Judged> {
        self.as_ref().and_then(Value::judged)
    }

    fn read<'de, D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        T::read(source).map(Some)
    }

    fn write<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.write(target),
            None => target.serialize_none(),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn kind() -> String {
        T::kind()
    }

    fn show(&self) -> String {
        self.as_ref().map(Value::show).unwrap_or_default()
    }

    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn refused(text: &str) -> String {
        T::refused(text)
    }

    fn limits() -> Option<(String, String)> {
        T::limits()
    }

    fn list(default: Option<&Self>, own: Setting, list: &mut Vec<Setting>) {
        let (first, key) = (list.len(), own.key.clone());
        let (variables, meaning) = (own.variables.clone(), own.meaning.clone());
        T::list(default.and_then(Option::as_ref), own, list);
        // A section has no row of its own, so its first row also states the meaning of the section.
        if let Some(row) = list.get_mut(first).filter(|row| row.key != key) {
            row.meaning = format!("{meaning} {}", row.meaning);
            row.variables = variables;
        }
    }

    fn validate(&self, key: &str) -> Result<(), BrokenRule> {
        self.as_ref().map_or(Ok(()), |value| value.validate(key))
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), BrokenRule> {
        T::begun(self).map_or_else(
            || BrokenRule::because(key, "is no setting", Self::refused(text)),
            |value| value.set(key, text),
        )
    }
}

crate::choices!(TopicCompression);

/// Reads and writes each field of a section for serde.
pub mod field {
    use super::Value;
    use serde::{Deserializer, Serializer};

    #[allow(missing_docs, reason = "serde calls it")]
    pub fn serialize<T: Value, S: Serializer>(value: &T, target: S) -> Result<S::Ok, S::Error> {
        value.write(target)
    }

    #[allow(missing_docs, reason = "serde calls it")]
    pub fn deserialize<'de, T: Value, D: Deserializer<'de>>(source: D) -> Result<T, D::Error> {
        T::read(source)
    }
}

/// Whether a file expresses the value by omitting the key.
pub fn is_absent<T: Value>(value: &T) -> bool {
    value.is_absent()
}

/// The path of a key below `section`.
#[must_use]
pub fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// Appends the rows of one field.
pub fn describe<T: Value>(
    key: String,
    default: Option<&T>,
    docs: &[&str],
    details: Vec<Detail<T::Judged>>,
    list: &mut Vec<Setting>,
) {
    let meaning = docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let mut own = Setting { key, kind: T::kind(), meaning, ..Setting::default() };
    let (mut words, mut default_text) = (Vec::new(), None);
    let (mut least, mut most) = (None, None);
    for detail in details {
        match detail {
            Detail::Kind(kind) => own.kind = kind.to_owned(),
            Detail::Variables(names) => own.variables = names.to_vec(),
            Detail::DefaultText(text) => default_text = Some(text),
            Detail::Rule(rule) => {
                words.push(rule.words);
                (least, most) = (rule.bounds.0.or(least), rule.bounds.1.or(most));
            }
        }
    }
    words.push(match (least, most) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("at least {least}"),
        (None, Some(most)) => format!("at most {most}"),
        (None, None) => String::new(),
    });
    for words in words.iter().filter(|words| !words.is_empty()) {
        own.kind = format!("{}, {words}", own.kind);
    }
    T::list(default, own, list);
    if let Some((row, text)) = list.last_mut().zip(default_text) {
        row.default = text.to_owned();
    }
}

/// Checks the rules of one field, then those below it.
///
/// # Errors
/// The first broken rule.
pub fn judge<T: Value>(
    value: &T,
    key: String,
    details: Vec<Detail<T::Judged>>,
) -> Result<(), BrokenRule> {
    if let Some(judged) = value.judged() {
        for rule in rules(&details) {
            if let Err(rule) = (rule.holds)(judged) {
                return BrokenRule::because(key, rule, judged.found());
            }
        }
    }
    value.validate(&key)
}

/// Sets one field, or what is `below` it, to the text of a variable.
///
/// # Errors
/// The rule that the text breaks.
pub fn set<T: Value>(
    field: &mut T,
    below: &str,
    text: &str,
    details: Vec<Detail<T::Judged>>,
) -> Result<(), BrokenRule> {
    if !below.is_empty() {
        return field.set(below, text);
    }
    let read = T::parse(text).and_then(|value| {
        let judged = value.judged();
        rules(&details)
            .try_for_each(|rule| judged.map_or(Ok(()), |judged| (rule.holds)(judged)))?;
        Ok(value)
    });
    match (read, T::limits()) {
        (Ok(value), _) => {
            *field = value;
            Ok(())
        }
        (Err(rule), None) => BrokenRule::because("", rule, T::refused(text)),
        (Err(_), Some((mut least, mut most))) => {
            for rule in rules(&details) {
                least = rule.bounds.0.clone().unwrap_or(least);
                most = rule.bounds.1.clone().unwrap_or(most);
            }
            let rule = format!("must be a whole number from {least} to {most}");
            BrokenRule::because("", rule, T::refused(text))
        }
    }
}

fn rules<T>(details: &[Detail<T>]) -> impl Iterator<Item = &crate::rule::Rule<T>> {
    details.iter().filter_map(|detail| match detail {
        Detail::Rule(rule) => Some(rule),
        _ => None,
    })
}
