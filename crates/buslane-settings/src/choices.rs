//! Settings whose value is one of several words: enums without data, whose words serde defines.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer as _, Visitor, value},
};
use std::fmt;

/// Implements [`Value`](crate::Value) for enums without data.
#[macro_export]
macro_rules! choices {
    ($($type:ty),+) => { $(
        impl $crate::Value for $type {
            $crate::plain_value!();

            fn kind() -> String {
                let words = $crate::words::<Self>();
                $crate::or(&words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>())
            }

            fn show(&self) -> String {
                $crate::word(self)
            }

            fn parse(text: &str) -> Result<Self, String> {
                $crate::from_word(text)
            }
        }
    )+ };
}

/// `a, b or c`.
#[doc(hidden)]
pub fn or<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// The word of a value, as a file writes it.
#[doc(hidden)]
pub fn word<T: Serialize>(value: &T) -> String {
    struct Shown<'a, T>(&'a T);
    impl<T: Serialize> fmt::Display for Shown<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.serialize(f)
        }
    }
    Shown(value).to_string()
}

/// Reads a word from a variable. The error is the rule.
#[doc(hidden)]
pub fn from_word<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
    let source: value::StrDeserializer<'de, value::Error> = text.into_deserializer();
    T::deserialize(source).map_err(|_| format!("must be {}", or(words::<T>())))
}

/// The words that serde defines for an enum.
#[doc(hidden)]
#[must_use]
pub fn words<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    T::deserialize(AskWords).err().map_or(&[], |Words(words)| words)
}

/// A deserializer that returns the words of the enum as an error.
struct AskWords;

#[derive(Debug)]
struct Words(&'static [&'static str]);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&or(self.0))
    }
}

impl std::error::Error for Words {}

impl de::Error for Words {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for AskWords {
    type Error = Words;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Words> {
        Err(Words(&[]))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Words> {
        Err(Words(words))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
