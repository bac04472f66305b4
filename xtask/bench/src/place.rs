//! Where `bench-compare` compares: the pools alone, or buses on a broker with a topic that stands
//! as long as this value.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use super::build_worker;
use xtask_base::process::{Result, command};
use xtask_brokers::Kind;

pub(crate) struct Place {
    /// What the workers are told.
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<(&'static str, String)>,
    topic: Option<Child>,
    /// Ends after the topic does.
    _broker: Option<xtask_brokers::Held>,
}

/// What the URL names.
#[derive(Debug, PartialEq, Eq)]
enum Backend<'a> {
    Memory,
    Kafka(&'a str),
    Nats(&'a str),
}

impl Place {
    /// Starts what the URL asks for.
    pub(crate) fn of(url: &str) -> Result<Self> {
        match parse(url)? {
            Backend::Memory => Ok(Self {
                arguments: Vec::new(),
                variables: Vec::new(),
                topic: None,
                _broker: None,
            }),
            Backend::Kafka(servers) => {
                let broker =
                    if servers.is_empty() { xtask_brokers::kafka_for_tests()? } else { None };
                Self::with_topic(Kind::Kafka, servers, broker)
            }
            Backend::Nats(servers) => {
                let broker =
                    if servers.is_empty() { xtask_brokers::nats_for_tests()? } else { None };
                Self::with_topic(Kind::Nats, servers, broker)
            }
        }
    }

    /// A topic on the broker at `servers`, or on the one that was started, or on the one that the
    /// environment names.
    fn with_topic(kind: Kind, servers: &str, broker: Option<xtask_brokers::Held>) -> Result<Self> {
        let program = build_worker()?;
        let variables = if servers.is_empty() {
            broker.iter().flat_map(xtask_brokers::Held::variables).collect()
        } else {
            vec![(kind.variable(), xtask_brokers::check(kind, servers)?)]
        };
        eprintln!("filling a topic");
        let kind = kind.to_string();
        let mut topic = command(program);
        topic.args(["topic", "--broker", &kind]).envs(variables.iter().cloned());
        let mut topic = topic.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut name = String::new();
        if let Some(output) = topic.stdout.take() {
            BufReader::new(output).read_line(&mut name)?;
        }
        // From here on it is deleted, whatever comes.
        let place = Self {
            arguments: ["--broker", &kind, "--topic", name.trim()].map(str::to_owned).to_vec(),
            variables,
            topic: Some(topic),
            _broker: broker,
        };
        if name.trim().is_empty() {
            Err("the topic could not be filled; its program has said why".into())
        } else {
            Ok(place)
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut topic) = self.topic.take() {
            drop(topic.stdin.take());
            if !topic.wait().is_ok_and(|status| status.success()) {
                eprintln!("the topic may be left on the broker");
            }
        }
    }
}

fn parse(url: &str) -> Result<Backend<'_>> {
    let rule = "is memory://, kafka://HOST:PORT or nats://HOST:PORT, or kafka:// or nats:// to have a broker started";
    match url.split_once("://") {
        Some(("memory", "")) => Ok(Backend::Memory),
        Some(("kafka", servers)) if !servers.contains('/') => Ok(Backend::Kafka(servers)),
        Some(("nats", servers)) if !servers.contains('/') => Ok(Backend::Nats(servers)),
        _ => Err(format!("--url {url}: the URL {rule}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, parse};

    #[test]
    fn urls_name_a_backend_or_are_refused() {
        assert_eq!(parse("memory://").expect("good"), Backend::Memory);
        assert_eq!(parse("kafka://").expect("good"), Backend::Kafka(""));
        assert_eq!(parse("kafka://a:1,b:2").expect("good"), Backend::Kafka("a:1,b:2"));
        assert_eq!(parse("nats://").expect("good"), Backend::Nats(""));
        assert_eq!(parse("nats://a:1,b:2").expect("good"), Backend::Nats("a:1,b:2"));
        for bad in ["", "kafka", "a:1", "kafka://a:1/x", "nats://a:1/x", "memory://x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
