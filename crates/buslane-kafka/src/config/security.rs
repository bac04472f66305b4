//! Who may listen on the wire, and who the client says it is.

use crate::Tokens;
use buslane_core::Secret;
use buslane_settings::{BrokenRule, choices, kind, not_blank, settings};
use serde::{Deserialize, Serialize};

const FILE: &str = "path of a PEM file";

settings! {
    /// Encryption of the connection, and proof of who the client is.
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
        /// What the key is encrypted with.
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

/// How a user proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Mechanism {
    /// User and password, as they are: only over TLS is that safe.
    #[serde(rename = "plain")]
    Plain,
    /// SCRAM-SHA-256; needs the cargo feature `tls`.
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    /// SCRAM-SHA-512; needs the cargo feature `tls`.
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
    /// OAUTHBEARER with JSON Web Tokens; needs the cargo feature `tls`. They are sent as they are:
    /// only over TLS is that safe.
    #[serde(rename = "oauthbearer")]
    OAuthBearer,
}

choices!(Mechanism);

settings! {
    /// A login by SASL.
    #[derive(Eq)]
    pub struct Login {
        /// How the user proves who it is; required with `login`. `plain` and `oauthbearer` are safe
        /// over TLS alone.
        mechanism: Option<Mechanism>;
        /// The user; needed but for `oauthbearer`.
        user: Option<String>, not_blank();
        /// The password; needed but for `oauthbearer`.
        password: Option<Secret>;
        /// A JSON Web Token, needed for `oauthbearer`; read again when four fifths of its time are
        /// over.
        token_file: Option<String>, kind(FILE), not_blank();
    }
    given {
        /// Where tokens come from in place of `token_file`: a function of yours.
        pub tokens: Option<Tokens>;
    }
    also Self::has_what_its_mechanism_needs;
}

impl Login {
    /// A login with a password, for settings that are made in code.
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

    /// A login with tokens from a function of yours.
    #[must_use]
    pub fn with_tokens(tokens: Tokens) -> Self {
        Self { mechanism: Some(Mechanism::OAuthBearer), tokens: Some(tokens), ..Self::default() }
    }

    /// Where tokens come from, when it logs in with such.
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
