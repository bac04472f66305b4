//! Who may listen on the wire, and who the bus says it is.

use super::super::{Secret, optional};
use serde::{Deserialize, Serialize};

/// Encryption of the connection, and proof of who the client is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaSecurityConfig {
    /// Encryption, on as soon as the key is there, even when it is empty. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTlsConfig>,
    /// Login by SASL. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub login: Option<KafkaLoginConfig>,
}

/// Encryption; needs the cargo feature `kafka-tls`. Files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaTlsConfig {
    /// Certificates of the authorities that are trusted. Default: none, those of the system.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The client's certificate, for brokers that ask for one. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<String>,
    /// The key of that certificate. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// What the key is encrypted with. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub key_password: Option<Secret>,
}

/// How a user proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KafkaMechanism {
    /// User and password, as they are: only over TLS is that safe.
    #[serde(rename = "plain")]
    Plain,
    /// SCRAM-SHA-256; needs the cargo feature `kafka-tls`.
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    /// SCRAM-SHA-512; needs the cargo feature `kafka-tls`.
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
    /// OAUTHBEARER with JSON Web Tokens from a file; needs the cargo feature `kafka-tls`. They are
    /// sent as they are: only over TLS is that safe.
    #[serde(rename = "oauthbearer")]
    OAuthBearer,
}

/// A login by SASL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaLoginConfig {
    /// How the user proves who it is. Required.
    pub mechanism: KafkaMechanism,
    /// The user. Default: none; needed but for `oauthbearer`.
    #[serde(
        default,
        deserialize_with = "optional::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub user: Option<String>,
    /// The password. Default: none; needed but for `oauthbearer`.
    #[serde(
        default,
        deserialize_with = "optional::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub password: Option<Secret>,
    /// The file that the token is read from, again when four fifths of its time are over. Default:
    /// none; needed for `oauthbearer`.
    #[serde(
        default,
        deserialize_with = "optional::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub token_file: Option<String>,
}

impl KafkaLoginConfig {
    /// A login with a password, for settings that are made in code.
    pub fn new(
        mechanism: KafkaMechanism,
        user: impl Into<String>,
        password: impl Into<Secret>,
    ) -> Self {
        Self {
            mechanism,
            user: Some(user.into()),
            password: Some(password.into()),
            token_file: None,
        }
    }

    /// A login with tokens from a file. For tokens from a function of yours, connect a
    /// `KafkaBroker` of `buslane-kafka` and give it to
    /// [`EventBus::with_broker`](crate::EventBus::with_broker).
    pub fn with_token_file(path: impl Into<String>) -> Self {
        Self {
            mechanism: KafkaMechanism::OAuthBearer,
            user: None,
            password: None,
            token_file: Some(path.into()),
        }
    }
}
