//! Encryption of the connection, and the client's login.

use buslane_core::Secret;
use buslane_settings::{BrokenRule, kind, not_blank, settings};

const FILE: &str = "path of a PEM file";

settings! {
    /// Encryption of the connection, and the client's login.
    #[derive(Eq)]
    pub struct Security {
        /// Encryption, on as soon as the key is there, even when it is empty.
        tls: Option<Tls>;
        /// A login in one of its four ways: user and password, a token, an nkey, or a file of
        /// credentials.
        login: Option<Login>;
    }
}

settings! {
    /// Encryption of the connection. Files are PEM.
    #[derive(Eq)]
    pub struct Tls {
        /// Authorities that are trusted beside those of the system.
        ca_file: Option<String>, kind(FILE), not_blank();
        /// The client's certificate, for servers that ask for one.
        certificate_file: Option<String>, kind(FILE), not_blank();
        /// The key of that certificate.
        key_file: Option<String>, kind(FILE), not_blank();
    }
    also Self::key_and_certificate;
}

impl Tls {
    fn key_and_certificate(&self, key: &str) -> Result<(), BrokenRule> {
        let (name, other) = match (&self.certificate_file, &self.key_file) {
            (None, Some(_)) => ("key_file", "certificate_file"),
            (Some(_), None) => ("certificate_file", "key_file"),
            _ => return Ok(()),
        };
        BrokenRule::because(format!("{key}.{name}"), format!("needs {other} beside it"), "none")
    }
}

settings! {
    /// A login, in one of four ways.
    #[derive(Eq)]
    pub struct Login {
        /// The user.
        user: Option<String>;
        /// The password of that user.
        password: Option<Secret>;
        /// A token.
        token: Option<Secret>;
        /// The seed of an nkey; it never leaves this process: the server gets a signature.
        nkey_seed: Option<Secret>;
        /// A file with a JWT and the seed of its nkey.
        credentials_file: Option<String>, kind("path of a file"), not_blank();
    }
    also Self::is_one_way;
}

/// The way in which a client logs in.
#[cfg_attr(not(feature = "client"), allow(dead_code, reason = "the client alone reads them"))]
pub(crate) enum Credentials<'a> {
    User(&'a str, &'a Secret),
    Token(&'a Secret),
    Nkey(&'a Secret),
    File(&'a str),
}

impl Login {
    /// User and password.
    pub fn user(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { user: Some(user.into()), password: Some(password.into()), ..Self::default() }
    }

    /// A token.
    pub fn token(token: impl Into<Secret>) -> Self {
        Self { token: Some(token.into()), ..Self::default() }
    }

    /// The seed of an nkey.
    pub fn nkey(seed: impl Into<Secret>) -> Self {
        Self { nkey_seed: Some(seed.into()), ..Self::default() }
    }

    /// A file with a JWT and the seed of its nkey.
    pub fn credentials_file(file: impl Into<String>) -> Self {
        Self { credentials_file: Some(file.into()), ..Self::default() }
    }

    pub(crate) fn credentials(&self) -> impl Iterator<Item = Credentials<'_>> {
        let user = self.user.as_deref().zip(self.password.as_ref());
        let user = user.map(|(user, password)| Credentials::User(user, password));
        let file = self.credentials_file.as_deref().map(Credentials::File);
        user.into_iter()
            .chain(self.token.as_ref().map(Credentials::Token))
            .chain(self.nkey_seed.as_ref().map(Credentials::Nkey))
            .chain(file)
    }

    fn is_one_way(&self, key: &str) -> Result<(), BrokenRule> {
        let missing = match (&self.user, &self.password) {
            (Some(_), None) => Some(("user", "password")),
            (None, Some(_)) => Some(("password", "user")),
            _ => None,
        };
        if let Some((name, other)) = missing {
            let rule = format!("needs {other} beside it");
            return BrokenRule::because(format!("{key}.{name}"), rule, "none");
        }
        match self.credentials().count() {
            1 => Ok(()),
            found => {
                let rule = "must be one of user and password, token, nkey_seed, credentials_file";
                BrokenRule::because(key, rule, format!("{found} of them"))
            }
        }
    }
}
