//! The URL of a broker, which may hold secrets, and the servers that a NATS URL names.

use super::ConfigError;
use buslane_core::Backend;
use buslane_nats::Login;
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

    /// The text after the scheme.
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
        Backend::Kafka => {
            check_kafka_hosts(rest).map(|()| BusUrl { text: text.to_owned(), backend })
        }
        _ => Ok(BusUrl { text: text.to_owned(), backend }),
    }
}

/// Refuses everything but a list of hosts with ports.
fn check_kafka_hosts(hosts: &str) -> Result<(), String> {
    if hosts.contains('@') {
        // A URL is passed around; a configuration file can be protected.
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

/// The URL without its secrets. It rather hides too much: a password may hold any character.
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

/// The servers of a `nats://` URL as `HOST:PORT,HOST:PORT`, and their login.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NatsServers {
    pub(super) hosts: String,
    pub(super) login: Option<Login>,
}

const NATS_RULE: &str = "must be nats://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]";
const NATS_PORT: u16 = 4222;

/// Reads the text after the scheme. The error is the rule that it breaks.
pub(super) fn nats_servers(text: &str) -> Result<NatsServers, &'static str> {
    let (login, hosts) = match text.split_once('@') {
        None => (None, text.to_owned()),
        Some(_) => nats_login(text)?,
    };
    let hosts: Result<Vec<String>, _> = hosts.split(',').map(nats_host).collect();
    Ok(NatsServers { hosts: hosts?.join(","), login })
}

/// The login, and the hosts without it. Servers that have a login must have the same.
fn nats_login(text: &str) -> Result<(Option<Login>, String), &'static str> {
    let (mut login, mut hosts) = (None, Vec::new());
    for server in text.split(',') {
        let server = server.strip_prefix("nats://").unwrap_or(server);
        // A password may hold any character, so the login ends at the last `@`.
        match server.rsplit_once('@') {
            None => hosts.push(server.to_owned()),
            Some((who, host)) => {
                let found = match who.split_once(':') {
                    Some((user, password)) => {
                        Login::user(percent_decoded(user)?, percent_decoded(password)?)
                    }
                    None => Login::token(percent_decoded(who)?),
                };
                if login.as_ref().is_some_and(|before| *before != found) {
                    return Err("must have the same login for every server");
                }
                login = Some(found);
                hosts.push(host.to_owned());
            }
        }
    }
    Ok((login, hosts.join(",")))
}

fn nats_host(server: &str) -> Result<String, &'static str> {
    let server = server.strip_prefix("nats://").unwrap_or(server);
    if server.is_empty() || server.contains(['/', '?', '#', '@']) {
        return Err(NATS_RULE);
    }
    match server.rsplit_once(':') {
        // The colons inside brackets belong to an IPv6 address.
        Some((name, port)) if !port.contains(']') => match port.parse::<u16>() {
            Ok(1..) if !name.is_empty() => Ok(server.to_owned()),
            _ => Err(NATS_RULE),
        },
        _ => Ok(format!("{server}:{NATS_PORT}")),
    }
}

/// Decodes `%40` and the like.
fn percent_decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let digits = rest.get(at + 1..at + 3).ok_or(NATS_RULE)?;
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| NATS_RULE)?);
        rest = &rest[at + 3..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    match String::from_utf8(bytes) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(NATS_RULE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n3_servers_and_logins_are_read_from_the_url() {
        let hosts = |text: &str| nats_servers(text).map(|servers| servers.hosts);
        assert_eq!(
            hosts("a,b:1,nats://c:2,[::1],[::1]:3").unwrap(),
            "a:4222,b:1,c:2,[::1]:4222,[::1]:3"
        );
        let user = nats_servers("me:p%40ss@a,b").unwrap();
        assert_eq!(user.login, Some(Login::user("me", "p@ss")));
        assert_eq!(user.hosts, "a:4222,b:4222");
        assert_eq!(
            nats_servers("secret@a,nats://secret@b:9").unwrap().login,
            Some(Login::token("secret"))
        );
        for bad in [
            "",
            "a,,b",
            "a:0",
            "a:x",
            ":1",
            "a/b",
            "a?token=x",
            "me:1@a,you:1@b",
            "me:%zz@a",
            ":@a",
        ] {
            assert!(nats_servers(bad).is_err(), "{bad}");
        }
    }
}
