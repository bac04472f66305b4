//! Probes: messages that the bus publishes to itself. An acknowledged probe shows that publishing
//! works, and a probe that comes back shows that reading works.
//!
//! Probes go through the bus's own group and leave nothing behind. Each member sends to a partition
//! that it reads itself; the receipts of the first probes show which key leads there. A member that
//! reads no partition is checked by its publishing alone. Where members share a source, another
//! member may take a probe; a settled probe is enough.

use super::signals::ProbeStatus;
use crate::{config::ProbeConfig, process::now, state::BusState};
use buslane_core::{Broker, Handler, Lag, Message, Receipt, Record, Topic};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Headers of a probe.
const INSTANCE: &str = "X-Probe-Instance";
const NUMBER: &str = "X-Probe-Number";
/// Keys tried in a row until one leads to a partition of this member.
const TRIES: u32 = 64;
/// Probes remembered. One that comes back later than that shows nothing.
const REMEMBERED: usize = 256;

/// The probes of one bus.
pub(crate) struct Probe {
    instance: String,
    topic: Topic,
    state: Mutex<State>,
}

struct State {
    /// When the last acknowledged probe was sent, and its partition.
    acknowledged: (Instant, Option<u32>),
    /// When the last probe that came back was sent.
    returned: Instant,
    is_read: bool,
    reason: String,
    /// When each probe was sent, by its number.
    sent: VecDeque<(u64, Instant)>,
    next: u64,
    /// A key for each partition that a probe has reached.
    keys: HashMap<u32, u32>,
    next_key: u32,
}

impl Probe {
    pub(crate) fn new(topic: Topic) -> Self {
        let now = now();
        let state = State {
            acknowledged: (now, None),
            returned: now,
            is_read: false,
            reason: String::new(),
            sent: VecDeque::new(),
            next: 0,
            keys: HashMap::new(),
            next_key: 0,
        };
        Self { instance: uuid::Uuid::now_v7().to_string(), topic, state: Mutex::new(state) }
    }

    /// The topic of the probes.
    pub(crate) const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Handles the messages of the topic.
    pub(crate) fn handler(self: &Arc<Self>) -> impl Handler<Message> + use<> {
        let probe = Arc::clone(self);
        move |message: Message| {
            probe.received(&message);
            std::future::ready(())
        }
    }

    /// Sends probes until reading ends.
    pub(crate) async fn send_all(
        self: Arc<Self>,
        broker: Arc<dyn Broker>,
        state: Arc<BusState>,
        config: ProbeConfig,
    ) {
        let mut ticks = interval(config.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sending = async {
            loop {
                ticks.tick().await;
                for _ in 0..TRIES {
                    let own = self.own_partitions(&state);
                    let sent = timeout(config.limit, send(&*broker, &self, &own)).await;
                    match sent.ok().flatten() {
                        // A partition of another member: another key may lead to an own one.
                        Some(receipt) if !own.is_empty() && !own.contains(&receipt.partition) => {}
                        _ => break,
                    }
                }
            }
        };
        state.reading.run_until_cancelled(sending).await;
    }

    /// The present state of the probes.
    pub(super) fn status(&self, state: &BusState) -> ProbeStatus {
        self.status_of(!self.own_partitions(state).is_empty())
    }

    fn status_of(&self, is_read: bool) -> ProbeStatus {
        let mut state = self.state.lock();
        if is_read && !std::mem::replace(&mut state.is_read, is_read) {
            // From now on probes can come back.
            state.returned = now().max(state.returned);
        }
        state.is_read = is_read;
        ProbeStatus {
            acknowledged: Some(state.acknowledged.0),
            returned: is_read.then_some(state.returned),
            reason: state.reason.clone(),
        }
    }

    /// Partitions of the topic that this member reads.
    fn own_partitions(&self, state: &BusState) -> Vec<u32> {
        let sources = state.sources.all();
        let own = sources
            .iter()
            .filter(|state| state.source.topic == self.topic && !state.source.has_ended());
        own.map(|state| state.source.partition).collect()
    }

    /// The next probe with its number and key: for one of these partitions, where a key for it is
    /// known.
    fn next(&self, own: &[u32], now: Instant) -> (Record, u64, u32) {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.sent.push_back((number, now));
        if state.sent.len() > REMEMBERED {
            state.sent.pop_front();
        }
        let turn = usize::try_from(number).unwrap_or(0);
        let known: Vec<u32> =
            own.iter().filter_map(|partition| state.keys.get(partition).copied()).collect();
        let key = known.get(turn % known.len().max(1)).copied().unwrap_or_else(|| {
            state.next_key = state.next_key.wrapping_add(1);
            state.next_key
        });
        state.reason = "the broker has not answered".to_owned();
        let headers = [(INSTANCE, self.instance.clone()), (NUMBER, number.to_string())];
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let payload = format!(r#"{{"instance":"{}","number":{number}}}"#, self.instance);
        (
            Record::new(payload).with_key(format!("{}-{key}", self.instance)).with_headers(headers),
            number,
            key,
        )
    }

    fn sent_at(state: &State, number: u64) -> Option<Instant> {
        state.sent.iter().find(|(sent, _)| *sent == number).map(|(_, at)| *at)
    }

    fn acknowledged(&self, number: u64, key: u32, partition: u32) {
        let mut state = self.state.lock();
        state.keys.insert(partition, key);
        if let Some(at) = Self::sent_at(&state, number) {
            state.acknowledged = (at.max(state.acknowledged.0), Some(partition));
        }
    }

    fn refused(&self, reason: String) {
        self.state.lock().reason = reason;
    }

    /// Takes a message of the topic. Probes of other instances show nothing.
    fn received(&self, message: &Message) {
        let header =
            |name| message.headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
        let is_own = header(INSTANCE) == Some(&self.instance);
        let Some(number) = header(NUMBER).filter(|_| is_own).and_then(|number| number.parse().ok())
        else {
            return;
        };
        self.returned(number);
    }

    fn returned(&self, number: u64) {
        let mut state = self.state.lock();
        if let Some(at) = Self::sent_at(&state, number) {
            state.returned = state.returned.max(at);
        }
    }

    /// Takes the lag that was asked for at `asked`. Where a probe's partition has no open message,
    /// a member has handled the probe.
    pub(super) fn take_lag(&self, lags: &[Lag], asked: Instant) {
        let mut state = self.state.lock();
        let (at, partition) = state.acknowledged;
        let is_done = |lag: &Lag| {
            lag.topic == self.topic && Some(lag.partition) == partition && lag.open == 0
        };
        if at < asked && lags.iter().any(is_done) {
            state.returned = state.returned.max(at);
        }
    }
}

/// Sends one probe; `None` where it was not acknowledged.
async fn send(broker: &dyn Broker, probe: &Probe, own: &[u32]) -> Option<Receipt> {
    let (record, number, key) = probe.next(own, now());
    let answers = broker.publish(&probe.topic, vec![record]).get().await;
    match answers.into_iter().next()? {
        Ok(receipt) => {
            probe.acknowledged(number, key, receipt.partition);
            Some(receipt)
        }
        Err(error) => {
            probe.refused(error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o4_a_probe_goes_to_a_partition_that_is_read_here() {
        let probe = Probe::new(Topic::new("buslane.health").unwrap());
        let start = now();
        let send = |own: &[u32], partition| {
            let (record, number, key) = probe.next(own, start);
            probe.acknowledged(number, key, partition);
            String::from_utf8(record.key.unwrap().to_vec())
                .unwrap()
                .rsplit_once('-')
                .unwrap()
                .1
                .parse::<u32>()
                .unwrap()
        };
        // Keys are tried until one leads to an own partition; that key is kept.
        assert_eq!([send(&[3], 0), send(&[3], 1), send(&[3], 3)], [1, 2, 3]);
        assert_eq!([send(&[3], 3), send(&[3], 3), send(&[1, 3], 1), send(&[5], 5)], [3, 3, 3, 4]);
        assert!(probe.state.lock().sent.len() == 7);
    }

    #[test]
    fn o4_only_its_own_probes_count_and_settled_ones_too() {
        let probe = Probe::new(Topic::new("buslane.health").unwrap());
        assert_eq!(probe.status_of(false).returned, None, "who reads nothing is not judged by it");
        let began = probe.status_of(true).returned.unwrap();
        let later = |seconds| began + std::time::Duration::from_secs(seconds);
        let (_, first, key) = probe.next(&[0], later(30));
        probe.acknowledged(first, key, 0);
        assert!(probe.status_of(true).acknowledged > probe.status_of(true).returned);
        probe.returned(first + 7);
        assert_eq!(probe.status_of(true).returned, Some(began));
        probe.returned(first);
        assert_eq!(probe.status_of(true).returned, Some(later(30)));
        let (_, second, key) = probe.next(&[0], later(60));
        probe.acknowledged(second, key, 0);
        let lag = |partition, open| {
            [Lag {
                topic: probe.topic.clone(),
                partition,
                messages: open,
                open,
                unread: None,
                age: None,
            }]
        };
        // Asked before it was sent, another partition, and not settled.
        for (lags, asked) in [(lag(0, 0), 60), (lag(1, 0), 61), (lag(0, 1), 61)] {
            probe.take_lag(&lags, later(asked));
            assert_eq!(probe.status_of(true).returned, Some(later(30)));
        }
        probe.take_lag(&lag(0, 0), later(61));
        assert_eq!(probe.status_of(true).returned, Some(later(60)));
    }
}
