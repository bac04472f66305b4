//! Adds the configured brokers to a client again after the client has lost all brokers.
//!
//! A broker that has only just started may answer that its cluster has no brokers. librdkafka,
//! since 2.10, then removes all brokers, including the configured ones, and never connects again:
//! confluentinc/librdkafka#5301. Without this module, the process reads and publishes nothing until
//! its next start.

use crate::native::add_brokers;
use parking_lot::Mutex;
use rdkafka::{
    client::{Client, ClientContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    metadata::Metadata,
};
use std::time::{Duration, Instant};

/// A topic that every cluster with groups has, for requests that any broker can answer.
pub(crate) const ANY_TOPIC: &str = "__consumer_offsets";
/// Time without a broker after which the configured brokers are added. The time doubles with each
/// addition.
const FIRST_PAUSE: Duration = Duration::from_secs(3);
/// librdkafka keeps each added broker, so additions are rare.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// The configured brokers of one client.
pub(crate) struct Bootstrap {
    brokers: String,
    outage: Mutex<Outage>,
}

impl Bootstrap {
    pub(crate) fn new(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned(), outage: Mutex::new(Outage(None)) }
    }

    /// Fetches the metadata of a topic from any broker. Adds the brokers to the client again after
    /// a long time without one. Blocks for at most `timeout`.
    pub(crate) fn fetch_metadata<C: ClientContext>(
        &self,
        client: &Client<C>,
        topic: &str,
        timeout: Duration,
    ) -> KafkaResult<Metadata> {
        let answer = client.fetch_metadata(Some(topic), timeout);
        if self.outage.lock().is_due(has_no_broker(&answer), Instant::now()) {
            let known = add_brokers(client, &self.brokers);
            tracing::info!(
                brokers = self.brokers,
                known,
                "the client has lost all brokers: they are added again"
            );
        }
        answer
    }
}

fn has_no_broker<T>(answer: &KafkaResult<T>) -> bool {
    let code = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code);
    code == Some(RDKafkaErrorCode::BrokerTransportFailure)
}

/// A time without brokers: when to add the brokers next, and the pause before that.
#[derive(Debug)]
struct Outage(Option<(Instant, Duration)>);

impl Outage {
    fn is_due(&mut self, has_no_broker: bool, now: Instant) -> bool {
        match self.0 {
            _ if !has_no_broker => self.0 = None,
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
    use super::{ANY_TOPIC, Bootstrap, Outage};
    use rdkafka::{
        ClientConfig,
        mocking::MockCluster,
        producer::{BaseProducer, Producer},
    };
    use std::time::{Duration, Instant};

    #[test]
    fn k7_brokers_are_added_again_at_growing_intervals() {
        let begin = Instant::now();
        let mut outage = Outage(None);
        let mut added = Vec::new();
        for second in 0..600 {
            // One answer in between begins a new outage.
            let has_no_broker = second != 60;
            if outage.is_due(has_no_broker, begin + Duration::from_secs(second)) {
                added.push(second);
            }
        }
        assert_eq!(added, [3, 9, 21, 45, 64, 70, 82, 106, 154, 250, 370, 490]);
    }

    #[test]
    fn k7_a_client_without_brokers_gets_them_again() {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        // No broker listens on this port.
        let client: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().expect("a client");
        let bootstrap = Bootstrap::new(&cluster.bootstrap_servers());
        let begin = Instant::now();
        loop {
            let answer =
                bootstrap.fetch_metadata(client.client(), ANY_TOPIC, Duration::from_millis(100));
            if answer.is_ok() {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", answer.err());
        }
        assert!(begin.elapsed() >= super::FIRST_PAUSE);
    }
}
