//! Who may listen on the wire, and who the bus says it is.

use super::super::{Secret, optional};
use serde::{Deserialize, Serialize};

/// Encryption of the connection, and proof of who the client is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsSecurityConfig {
    /// Encryption, on as soon as the key is there, even when it is empty. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub tls: Option<NatsTlsConfig>,
    /// Login. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub login: Option<NatsLoginConfig>,
}

/// Encryption. Files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsTlsConfig {
    /// Certificates of authorities that are trusted beside those of the system. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The client's certificate, for servers that ask for one. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<String>,
    /// The key of that certificate. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

/// A login in one of four ways: user and password, a token, an nkey, or a file of credentials.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NatsLoginConfig {
    /// The user. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password of that user. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A token. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// The seed of an nkey; it never leaves this process. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub nkey_seed: Option<Secret>,
    /// A file with a JWT and the seed of its nkey. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<String>,
}
