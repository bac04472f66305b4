//! Names the brokers to a client once more when it knows of none that it could ask.
//!
//! A broker that has only just started may answer that its cluster has no brokers. librdkafka, from
//! 2.10 on, then forgets all that it knows, those of its configuration too, and never asks anybody
//! again: confluentinc/librdkafka#5301. Nothing would be read or published until the process is
//! started anew.

use crate::native::add_brokers;
use parking_lot::Mutex;
use rdkafka::{
    client::{Client, ClientContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    metadata::Metadata,
};
use std::time::{Duration, Instant};

/// A topic that every cluster with groups has: for questions that any broker can answer.
pub(crate) const ANY_TOPIC: &str = "__consumer_offsets";
/// So long nobody could be asked before the brokers are named; each time twice as long as the last.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
/// librdkafka keeps each naming, so there may not be many of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// For one client.
pub(crate) struct Bootstrap {
    brokers: String,
    silence: Mutex<Silence>,
}

impl Bootstrap {
    pub(crate) fn new(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned(), silence: Mutex::new(Silence(None)) }
    }

    /// Asks any broker about a topic, and names the brokers to the client when there has been
    /// nobody to ask for long. Blocks for at most `patience`.
    pub(crate) fn ask<C: ClientContext>(
        &self,
        client: &Client<C>,
        topic: &str,
        patience: Duration,
    ) -> KafkaResult<Metadata> {
        let answer = client.fetch_metadata(Some(topic), patience);
        if self.silence.lock().is_due(has_nobody(&answer), Instant::now()) {
            let known = add_brokers(client, &self.brokers);
            tracing::info!(
                brokers = self.brokers,
                known,
                "the client has no broker to ask: it is told of them again"
            );
        }
        answer
    }
}

fn has_nobody<T>(answer: &KafkaResult<T>) -> bool {
    let code = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code);
    code == Some(RDKafkaErrorCode::BrokerTransportFailure)
}

/// Since when there is nobody: when to name the brokers next, and how long to wait after that.
#[derive(Debug)]
struct Silence(Option<(Instant, Duration)>);

impl Silence {
    fn is_due(&mut self, has_nobody: bool, now: Instant) -> bool {
        match self.0 {
            _ if !has_nobody => self.0 = None,
            None => self.0 = Some((now + FIRST_PAUSE, FIRST_PAUSE)),
            Some((at, pause)) if now >= at => {
                let next = (pause * 2).min(LONGEST_PAUSE);
                self.0 = Some((now + next, next));
                return true;
            }
            Some(_) => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{ANY_TOPIC, Bootstrap, Silence};
    use rdkafka::{
        ClientConfig,
        mocking::MockCluster,
        producer::{BaseProducer, Producer},
    };
    use std::time::{Duration, Instant};

    #[test]
    fn k7_brokers_are_named_by_and_by_while_there_is_nobody() {
        let begin = Instant::now();
        let mut silence = Silence(None);
        let mut named = Vec::new();
        for second in 0..600 {
            // Somebody answers in between.
            let has_nobody = second != 60;
            if silence.is_due(has_nobody, begin + Duration::from_secs(second)) {
                named.push(second);
            }
        }
        assert_eq!(named, [3, 9, 21, 45, 64, 70, 82, 106, 154, 250, 370, 490]);
    }

    #[test]
    fn k7_a_client_that_has_nobody_is_told_of_its_brokers() {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        // What it knows is nobody.
        let client: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().expect("a client");
        let bootstrap = Bootstrap::new(&cluster.bootstrap_servers());
        let begin = Instant::now();
        loop {
            let answer = bootstrap.ask(client.client(), ANY_TOPIC, Duration::from_millis(100));
            if answer.is_ok() {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", answer.err());
        }
        assert!(begin.elapsed() >= super::FIRST_PAUSE);
    }
}
