//! Messages that the bus publishes to itself: each shows that publishing works, and reading too
//! when it comes back.
//!
//! They go through the bus's own group and leave nothing behind. A group shares its partitions out,
//! so each member sends to a partition that it reads itself: the receipts of the first probes tell
//! which key leads there. A member that reads none is judged by its publishing alone. Where members
//! share a source, another one may take a probe; that it is settled is enough.

use super::{Observed, Watch, observation::Probes};
use crate::{BusError, EventBus, clock::now, config::ProbeConfig, state::BusState};
use buslane_core::{Broker, Lag, Message, Receipt, Record, Topic};
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
/// Keys that are tried at a time until one leads to a partition of this member.
const TRIES: u32 = 64;
/// Probes that are remembered: those that are later are of no use.
const REMEMBERED: usize = 256;

/// The probes of one bus.
pub(crate) struct Probe {
    instance: String,
    pub(super) topic: Topic,
    state: Mutex<State>,
}

struct State {
    /// When the last one was sent that was acknowledged, and where it went.
    acknowledged: (Instant, Option<u32>),
    /// When the last one was sent that came back.
    came_back: Instant,
    is_read: bool,
    reason: String,
    /// When each was sent, by its number.
    sent: VecDeque<(u64, Instant)>,
    next: u64,
    /// A key for each partition that one has led to.
    keys: HashMap<u32, u32>,
    next_key: u32,
}

impl Probe {
    pub(crate) fn new(topic: Topic) -> Self {
        let now = now();
        let state = State {
            acknowledged: (now, None),
            came_back: now,
            is_read: false,
            reason: String::new(),
            sent: VecDeque::new(),
            next: 0,
            keys: HashMap::new(),
            next_key: 0,
        };
        Self { instance: uuid::Uuid::now_v7().to_string(), topic, state: Mutex::new(state) }
    }

    /// How they fare.
    pub(super) fn look(&self, state: &BusState) -> Probes {
        self.look_at(!self.own_partitions(state).is_empty())
    }

    fn look_at(&self, is_read: bool) -> Probes {
        let mut state = self.state.lock();
        if is_read && !std::mem::replace(&mut state.is_read, is_read) {
            // From now on they can come back.
            state.came_back = now().max(state.came_back);
        }
        state.is_read = is_read;
        Probes {
            acknowledged: Some(state.acknowledged.0),
            came_back: is_read.then_some(state.came_back),
            reason: state.reason.clone(),
        }
    }

    /// Partitions of the topic that this member reads.
    fn own_partitions(&self, state: &BusState) -> Vec<u32> {
        let sources = state.sources.all();
        let own = sources
            .iter()
            .filter(|watched| watched.source.topic == self.topic && !watched.source.has_ended());
        own.map(|watched| watched.source.partition).collect()
    }

    /// The next probe, for one of these partitions if a key for it is known; with its number and
    /// key.
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

    /// A message of the topic has come; those of other instances say nothing.
    fn came(&self, message: &Message) {
        let header =
            |name| message.headers.get(name).and_then(|value| std::str::from_utf8(value).ok());
        let is_own = header(INSTANCE) == Some(&self.instance);
        let Some(number) = header(NUMBER).filter(|_| is_own).and_then(|number| number.parse().ok())
        else {
            return;
        };
        self.came_back(number);
    }

    fn came_back(&self, number: u64) {
        let mut state = self.state.lock();
        if let Some(at) = Self::sent_at(&state, number) {
            state.came_back = state.came_back.max(at);
        }
    }

    /// The broker was asked then how far behind this bus is. Nothing is left of a partition that a
    /// probe went to: somebody has handled it.
    pub(super) fn lags(&self, lags: &[Lag], asked: Instant) {
        let mut state = self.state.lock();
        let (at, partition) = state.acknowledged;
        let is_done = |lag: &Lag| {
            lag.topic == self.topic && Some(lag.partition) == partition && lag.open == 0
        };
        if at < asked && lags.iter().any(is_done) {
            state.came_back = state.came_back.max(at);
        }
    }
}

/// Reads the topic of the probes, and begins to send them.
pub(crate) async fn begin_probes(bus: &EventBus, config: ProbeConfig) -> Result<(), BusError> {
    let Some(probe) = &bus.watch().probe else { return Ok(()) };
    let into = Arc::clone(probe);
    let handler = move |message: Message| {
        into.came(&message);
        std::future::ready(())
    };
    bus.subscription(&probe.topic).messages(handler).await?;
    bus.spawn(probing(Arc::clone(bus.watch()), Arc::clone(probe), config));
    Ok(())
}

/// Sends probes until nothing is read any more.
async fn probing(watch: Arc<Watch>, probe: Arc<Probe>, config: ProbeConfig) {
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Observed { broker, state, .. } = &watch.observed;
    let sending = async {
        loop {
            ticks.tick().await;
            for _ in 0..TRIES {
                let own = probe.own_partitions(state);
                let sent = timeout(config.limit, send(&**broker, &probe, &own)).await;
                match sent.ok().flatten() {
                    // On its way to somebody else: another key may lead here.
                    Some(receipt) if !own.is_empty() && !own.contains(&receipt.partition) => {}
                    _ => break,
                }
            }
        }
    };
    state.reading.run_until_cancelled(sending).await;
}

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
        // Keys are tried until one leads to a partition of its own, which is kept.
        assert_eq!([send(&[3], 0), send(&[3], 1), send(&[3], 3)], [1, 2, 3]);
        assert_eq!([send(&[3], 3), send(&[3], 3), send(&[1, 3], 1), send(&[5], 5)], [3, 3, 3, 4]);
        assert!(probe.state.lock().sent.len() == 7);
    }

    #[test]
    fn o4_only_its_own_probes_count_and_settled_ones_too() {
        let probe = Probe::new(Topic::new("buslane.health").unwrap());
        assert_eq!(probe.look_at(false).came_back, None, "who reads nothing is not judged by it");
        let began = probe.look_at(true).came_back.unwrap();
        let later = |seconds| began + std::time::Duration::from_secs(seconds);
        let (_, first, key) = probe.next(&[0], later(30));
        probe.acknowledged(first, key, 0);
        assert!(probe.look_at(true).acknowledged > probe.look_at(true).came_back);
        probe.came_back(first + 7);
        assert_eq!(probe.look_at(true).came_back, Some(began));
        probe.came_back(first);
        assert_eq!(probe.look_at(true).came_back, Some(later(30)));
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
            probe.lags(&lags, later(asked));
            assert_eq!(probe.look_at(true).came_back, Some(later(30)));
        }
        probe.lags(&lag(0, 0), later(61));
        assert_eq!(probe.look_at(true).came_back, Some(later(60)));
    }
}
