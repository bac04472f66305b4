//! A broker that the environment names already: it is used as it is, never started and never
//! stopped.

use super::probe;
use super::state::Kind;
use xtask_base::process::Result;

/// What the variable of a kind holds.
pub(super) struct External {
    kind: Kind,
    text: String,
    /// Who says it.
    source: &'static str,
}

impl External {
    /// `None` when the variable is not set or empty.
    pub(super) fn of_environment(kind: Kind) -> Option<Self> {
        let text = std::env::var_os(kind.variable())?.to_string_lossy().trim().to_owned();
        (!text.is_empty()).then_some(Self { kind, text, source: kind.variable() })
    }

    /// What a URL on the command line names.
    pub(super) fn named(kind: Kind, servers: &str) -> Self {
        Self { kind, text: servers.to_owned(), source: "--url" }
    }

    /// As the variable has them.
    pub(super) fn addresses(&self) -> &str {
        &self.text
    }

    /// Fails when none of the addresses answers. One that accepts connections and stays silent may
    /// want TLS first: that is said.
    pub(super) fn check(&self) -> Result<()> {
        let hosts = hosts(self.kind, &self.text);
        let answers = |host: &String| match self.kind {
            Kind::Kafka => probe::kafka(host),
            Kind::Nats => probe::nats(host),
        };
        if hosts.iter().any(answers) {
            return Ok(());
        }
        let source = self.source;
        if let Some(host) = hosts.iter().find(|host| probe::connect(host).is_some()) {
            eprintln!(
                "{source}: {host} accepts connections but gives no plain answer; it may want TLS"
            );
            return Ok(());
        }
        Err(format!(
            "{source} is set to {}, and nothing answers there: start that broker, or leave it out to have one started",
            self.text
        )
        .into())
    }
}

/// `host:port` of each server, without scheme, login and path.
fn hosts(kind: Kind, text: &str) -> Vec<String> {
    let default_port = match kind {
        Kind::Kafka => 9092,
        Kind::Nats => 4222,
    };
    let servers = text.split(',').map(str::trim).filter(|server| !server.is_empty());
    servers
        .map(|server| {
            let server = server.split_once("://").map_or(server, |(_, rest)| rest);
            let server = server.split('/').next().unwrap_or(server);
            let server = server.rsplit_once('@').map_or(server, |(_, rest)| rest);
            let has_port = server.rsplit_once(':').is_some_and(|(host, port)| {
                port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
            });
            if has_port { server.to_owned() } else { format!("{server}:{default_port}") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::hosts;
    use crate::state::Kind;

    #[test]
    fn servers_are_read_from_lists_and_urls() {
        assert_eq!(hosts(Kind::Kafka, "a:1, b ,,[::1]:3"), ["a:1", "b:9092", "[::1]:3"]);
        assert_eq!(hosts(Kind::Nats, "nats://me:secret@a:1/x,tls://b"), ["a:1", "b:4222"]);
        assert!(hosts(Kind::Kafka, " ").is_empty());
    }
}
