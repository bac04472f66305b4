//! Encryption of the connection, and the client's login.

use crate::Tokens;
use buslane_core::Secret;
use buslane_settings::{BrokenRule, choices, kind, not_blank, settings};
use serde::{Deserialize, Serialize};

const FILE: &str = "path of a PEM file";

settings! {
    /// Encryption of the connection, and the client's login.
    #[derive(Eq)]
    pub struct Security {
        /// Encryption, on as soon as the key is there, even when it is empty.
        tls: Option<Tls>;
        /// Login by SASL.
        login: Option<Login>;
    }
}

settings! {
    /// Encryption of the connection. Files are PEM.
    #[derive(Eq)]
    pub struct Tls {
        /// The authorities that are trusted; without it those of the system.
        ca_file: Option<String>, kind(FILE), not_blank();
        /// The client's certificate, for brokers that ask for one.
        certificate_file: Option<String>, kind(FILE), not_blank();
        /// The key of that certificate.
        key_file: Option<String>, kind(FILE), not_blank();
        /// The password of an encrypted key.
        key_password: Option<Secret>;
    }
    also Self::key_and_certificate;
}

impl Tls {
    fn key_and_certificate(&self, key: &str) -> Result<(), BrokenRule> {
        let (certificate, file) = (self.certificate_file.is_some(), self.key_file.is_some());
        for (name, has_it, has_other, other) in [
            ("key_file", file, certificate, "certificate_file"),
            ("certificate_file", certificate, file, "key_file"),
            ("key_password", self.key_password.is_some(), file, "key_file"),
        ] {
            if has_it && !has_other {
                let rule = format!("needs {other} beside it");
                return BrokenRule::because(format!("{key}.{name}"), rule, "none");
            }
        }
        Ok(())
    }
}

/// How a user logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Mechanism {
    /// User and password, sent as they are: safe over TLS alone.
    #[serde(rename = "plain")]
    Plain,
    /// SCRAM-SHA-256; needs the cargo feature `tls`.
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    /// SCRAM-SHA-512; needs the cargo feature `tls`.
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
    /// OAUTHBEARER with JSON Web Tokens, sent as they are: safe over TLS alone. Needs the cargo
    /// feature `tls`.
    #[serde(rename = "oauthbearer")]
    OAuthBearer,
}

choices!(Mechanism);

settings! {
    /// A login by SASL.
    #[derive(Eq)]
    pub struct Login {
        /// How the user logs in; required with `login`. `plain` and `oauthbearer` are safe over TLS
        /// alone.
        mechanism: Option<Mechanism>;
        /// The user; required for each mechanism but `oauthbearer`.
        user: Option<String>, not_blank();
        /// The password; required for each mechanism but `oauthbearer`.
        password: Option<Secret>;
        /// A file with a JSON Web Token, required for `oauthbearer`; read again when four fifths of
        /// the token's time are over.
        token_file: Option<String>, kind(FILE), not_blank();
    }
    given {
        /// A source of tokens in place of `token_file`.
        pub tokens: Option<Tokens>;
    }
    also Self::has_what_its_mechanism_needs;
}

impl Login {
    /// A login with a password.
    pub fn new(mechanism: Mechanism, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self {
            mechanism: Some(mechanism),
            user: Some(user.into()),
            password: Some(password.into()),
            ..Self::default()
        }
    }

    /// A login with tokens from a file.
    pub fn with_token_file(path: impl Into<String>) -> Self {
        Self {
            mechanism: Some(Mechanism::OAuthBearer),
            token_file: Some(path.into()),
            ..Self::default()
        }
    }

    /// A login with tokens from a function.
    #[must_use]
    pub fn with_tokens(tokens: Tokens) -> Self {
        Self { mechanism: Some(Mechanism::OAuthBearer), tokens: Some(tokens), ..Self::default() }
    }

    /// The source of tokens, for a login with tokens.
    #[cfg(feature = "client")]
    pub(crate) fn tokens(&self) -> Option<Tokens> {
        self.tokens.clone().or_else(|| self.token_file.as_ref().map(Tokens::from_file))
    }

    fn has_what_its_mechanism_needs(&self, key: &str) -> Result<(), BrokenRule> {
        let broken =
            |name: &str, rule, found| BrokenRule::because(format!("{key}.{name}"), rule, found);
        let Some(mechanism) = self.mechanism else {
            return broken("mechanism", "is needed", "none");
        };
        let by_token = mechanism == Mechanism::OAuthBearer;
        for (name, is_there, is_needed) in [
            ("user", self.user.is_some(), !by_token),
            ("password", self.password.is_some(), !by_token),
            ("token_file", self.token_file.is_some() || self.tokens.is_some(), by_token),
        ] {
            match (is_there, is_needed) {
                (false, true) => return broken(name, "is needed for this mechanism", "none"),
                (true, false) => {
                    return broken(name, "must be left out for this mechanism", "one");
                }
                _ => {}
            }
        }
        Ok(())
    }
}
