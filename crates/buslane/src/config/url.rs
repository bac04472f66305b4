//! The URL of a broker, which may hold secrets.

use super::ConfigError;
use buslane_core::Backend;
use buslane_settings::{Value, plain_value};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

/// The URL of a broker: `memory://`, `kafka://HOST:PORT,...` or `nats://HOST:PORT,...`. Default:
/// `memory://`.
///
/// Kafka's user and password are settings of their own, `kafka.security.login`; the URL does not
/// take them.
///
/// Printing and serialising it replaces user, password, token and query by `***`;
/// [`BusUrl::expose`] gives all of it.
#[derive(Clone, PartialEq, Eq)]
pub struct BusUrl {
    text: String,
    backend: Backend,
}

impl BusUrl {
    /// The backend that the scheme names.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// What stands behind the scheme.
    pub(super) fn hosts(&self) -> &str {
        self.text.split_once("://").map_or("", |(_, hosts)| hosts)
    }

    /// The whole URL, with its secrets.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl Default for BusUrl {
    fn default() -> Self {
        Self { text: "memory://".to_owned(), backend: Backend::Memory }
    }
}

impl Value for BusUrl {
    plain_value!();

    fn kind() -> String {
        "`memory://`, `kafka://HOST:PORT,...` or `nats://HOST:PORT,...`".to_owned()
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn parse(text: &str) -> Result<Self, String> {
        parse(text)
    }

    fn refused(text: &str) -> String {
        format!("{:?}", hide(text))
    }
}

impl FromStr for BusUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match parse(text) {
            Ok(url) => Ok(url),
            Err(rule) => Err(ConfigError::Rule {
                key: "url".to_owned(),
                rule,
                found: format!("{:?}", hide(text)),
            }),
        }
    }
}

/// The URL, or the rule that `text` breaks.
fn parse(text: &str) -> Result<BusUrl, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
    let backend = match scheme {
        "memory" => Backend::Memory,
        "kafka" => Backend::Kafka,
        "nats" => Backend::Nats,
        _ => return Err("must begin with memory://, kafka:// or nats://".to_owned()),
    };
    match backend {
        Backend::Memory if !rest.is_empty() => Err("memory:// takes nothing behind it".to_owned()),
        Backend::Kafka | Backend::Nats if rest.is_empty() => {
            Err(format!("{scheme}:// needs a host behind it"))
        }
        _ if text.chars().any(|character| character.is_whitespace() || character.is_control()) => {
            Err("must not hold white space or control characters".to_owned())
        }
        Backend::Kafka => kafka(rest).map(|()| BusUrl { text: text.to_owned(), backend }),
        _ => Ok(BusUrl { text: text.to_owned(), backend }),
    }
}

/// Refuses what is not a list of hosts with ports.
fn kafka(hosts: &str) -> Result<(), String> {
    if hosts.contains('@') {
        // A file of settings can be kept from other eyes; a URL is passed about.
        return Err("must not hold user and password: set kafka.security.login".to_owned());
    }
    let good = |host: &str| {
        let port = host.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
        matches!(port, Some((host, Ok(1..))) if !host.is_empty() && !host.contains(['/', '?', '#']))
    };
    if hosts.split(',').all(good) {
        Ok(())
    } else {
        Err("must be kafka://HOST:PORT,HOST:PORT".to_owned())
    }
}

/// The URL without its secrets. Hides too much rather than too little: a password may hold any
/// character.
pub(super) fn hide(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    let (user, rest) = match rest.rfind('@') {
        Some(at) => ("***", &rest[at..]),
        None => ("", rest),
    };
    match rest.split_once('?') {
        Some((host, _)) => format!("{scheme}{user}{host}?***"),
        None => format!("{scheme}{user}{rest}"),
    }
}

impl fmt::Display for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hide(&self.text))
    }
}

impl fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", hide(&self.text))
    }
}

impl Serialize for BusUrl {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BusUrl {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        parse(&text)
            .map_err(|rule| D::Error::custom(format_args!("{rule}, found {:?}", hide(&text))))
    }
}
