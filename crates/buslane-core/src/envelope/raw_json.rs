//! JSON text that is carried as it is.

use super::EnvelopeError;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// One JSON value as text, or nothing. Its bytes are never re-encoded and never escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Serialises `value`.
    ///
    /// # Errors
    /// [`EnvelopeError::PayloadNotJson`] when `value` has no JSON form.
    pub fn encode(value: &(impl Serialize + ?Sized)) -> Result<Self, EnvelopeError> {
        serde_json::to_vec(value).map(|text| Self(text.into())).map_err(not_json)
    }

    /// Takes text that is JSON already, and checks that it is one value.
    ///
    /// # Errors
    /// [`EnvelopeError::PayloadRequired`] for no bytes, [`EnvelopeError::PayloadNotJson`] for
    /// anything but one JSON value in UTF-8.
    pub fn from_bytes(text: impl Into<Bytes>) -> Result<Self, EnvelopeError> {
        let text = text.into();
        if text.is_empty() {
            return Err(EnvelopeError::PayloadRequired);
        }
        serde_json::from_slice::<&RawValue>(&text).map_err(not_json)?;
        Ok(Self(text))
    }

    /// Text that a JSON parser has already taken for one value.
    pub(super) const fn trusted(text: Bytes) -> Self {
        Self(text)
    }

    /// Reads the value into a type.
    ///
    /// # Errors
    /// The parser's error, which says what was expected and where.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// The text.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn not_json(error: serde_json::Error) -> EnvelopeError {
    EnvelopeError::PayloadNotJson { reason: crate::excerpt::error(&error).to_string() }
}
