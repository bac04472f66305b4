//! Messages on a real NATS whose headers the client library cannot read. They end in the policy of
//! their topic or in its handler, with their raw bytes. Their topic and all others continue.
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod denied;
mod limited;
mod raw;

use buslane::{Config, Envelope, Event, EventBus, Message, Topic, config::NatsPartitions};
use buslane_core::broker::header;
use buslane_testkit::{
    deadline::{until, within},
    server,
    signal::Count,
};
use parking_lot::Mutex;
use raw::{BROKEN, ODD, Raw};
use std::{
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;

fn name(what: &str) -> Topic {
    Topic::new(&server::unique(what)).expect("a good name")
}

/// A configuration of `group` for topics with this number of partitions; `None` shares the topics.
fn config(group: &str, partitions: Option<u32>) -> Config {
    config_at(&server::address("NATS_URL"), group, partitions)
}

fn config_at(url: &str, group: &str, partitions: Option<u32>) -> Config {
    let mut config = Config::new(url).expect("a URL");
    group.clone_into(&mut config.group);
    config.nats.stream.partitions =
        partitions.map_or(NatsPartitions::Shared, NatsPartitions::Exactly);
    config.nats.consumer.ack_wait = Duration::from_secs(5);
    config.nats.consumer.lease = Duration::from_secs(5);
    config.retry.initial = Duration::from_millis(1);
    config.retry.max = Duration::from_millis(20);
    config
}

async fn bus(config: Config) -> EventBus {
    EventBus::connect(config).await.expect("a server that answers")
}

/// The key and the body of each handled message, in order.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

fn notes(seen: &Seen) -> impl Fn(Event) -> Ready<()> + Send + Sync + 'static {
    let into = Arc::clone(seen);
    move |event| {
        into.lock().push((
            event.aggregate_id.to_string(),
            String::from_utf8_lossy(event.payload.as_bytes()).into_owned(),
        ));
        ready(())
    }
}

fn collects(
    into: &Arc<Mutex<Vec<Message>>>,
) -> impl Fn(Message) -> Ready<()> + Send + Sync + 'static {
    let into = Arc::clone(into);
    move |message| {
        into.lock().push(message);
        ready(())
    }
}

/// Publishes good envelopes of three keys.
async fn good(bus: &EventBus, topic: &Topic, numbers: std::ops::Range<usize>) {
    let envelopes: Vec<_> =
        numbers.map(|n| Envelope::new(format!("k{}", n % 3), "Counted", &n).unwrap()).collect();
    for answer in bus.publish_envelopes(topic, &envelopes).await.expect("taken") {
        answer.expect("stored");
    }
}

/// The time of the last failure, from a dead letter.
fn failed_at(letter: &Message) -> OffsetDateTime {
    let text = std::str::from_utf8(letter.headers.get(header::LAST_FAILURE).unwrap()).unwrap();
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

fn body(key: &str) -> Vec<u8> {
    Envelope::new(key, "Counted", &7).unwrap().encode().unwrap().to_vec()
}

/// The subject of a topic, or of one of its partitions.
fn subject(topic: &Topic, partitions: Option<u32>, at: usize) -> String {
    partitions.map_or_else(|| topic.to_string(), |count| format!("{topic}.{}", at % count as usize))
}

fn raw_header(message: &Message) -> Option<&[u8]> {
    message.headers.get(header::RAW_HEADERS)
}

/// Another topic on the same bus, with a constant flow of messages.
struct Neighbour {
    stop: CancellationToken,
    publishing: JoinHandle<usize>,
    count: Arc<Count>,
}

impl Neighbour {
    async fn begin(bus: &EventBus) -> Self {
        let (topic, count, stop) =
            (name("neighbour"), Arc::new(Count::default()), CancellationToken::new());
        let into = Arc::clone(&count);
        let handler = move |_: Event| {
            into.add();
            ready(())
        };
        bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
        let (publisher, stopped) = (bus.clone(), stop.clone());
        let publishing = tokio::spawn(async move {
            let mut sent = 0;
            while !stopped.is_cancelled() {
                let envelope = Envelope::new(format!("n{}", sent % 5), "Counted", &sent).unwrap();
                publisher.publish_envelope(&topic, envelope).await.expect("stored");
                sent += 1;
            }
            sent
        });
        let it = Self { stop, publishing, count };
        it.goes_on().await;
        it
    }

    async fn goes_on(&self) {
        within(PATIENCE, "the other topic goes on", self.count.reached(self.count.get() + 20))
            .await;
    }

    async fn end(self) {
        self.goes_on().await;
        self.stop.cancel();
        let sent = self.publishing.await.expect("no publish failed");
        within(PATIENCE, "everything of the other topic", self.count.reached(sent)).await;
        assert_eq!(self.count.get(), sent, "each once");
    }
}

/// Checks that the messages of each key were handled once and in order.
fn in_order(seen: &Seen, count: usize) {
    for key in 0..3 {
        let of_key: Vec<usize> = seen
            .lock()
            .iter()
            .filter(|(of, _)| *of == format!("k{key}"))
            .map(|(_, body)| body.parse().unwrap())
            .collect();
        let expected: Vec<usize> = (0..count).filter(|n| n % 3 == key).collect();
        assert_eq!(of_key, expected, "k{key}");
    }
}

/// Good messages surround the bad ones. Each bad message leaves a dead letter with its raw bytes.
async fn dead_letters(partitions: Option<u32>) {
    let (topic, dead, group) = (name("orders"), name("dead"), server::unique("g"));
    let (seen, letters) = (Seen::default(), Arc::default());
    let bus = bus(config(&group, partitions)).await;
    bus.subscribe(&dead, collects(&letters)).await.expect("subscribes");
    bus.subscription(&topic).dead_letter(&dead).envelopes(notes(&seen)).await.expect("subscribes");
    let neighbour = Neighbour::begin(&bus).await;
    let mut raw = Raw::connect().await;
    good(&bus, &topic, 0..10).await;
    for (at, (_, block)) in BROKEN.iter().enumerate() {
        raw.publish(&subject(&topic, partitions, at), block, &body(&format!("bad{at}"))).await;
        good(&bus, &topic, 10 + at..11 + at).await;
    }
    for (at, (_, block)) in ODD.iter().enumerate() {
        raw.publish(&subject(&topic, partitions, at), block, &body(&format!("odd{at}"))).await;
    }
    let count = 10 + BROKEN.len();
    until("all good ones", || seen.lock().len() >= count + ODD.len()).await;
    until("all letters", || letters.lock().len() >= BROKEN.len()).await;
    in_order(&seen, count);
    let mut found: Vec<Vec<u8>> =
        letters.lock().iter().map(|letter| raw_header(letter).unwrap().to_vec()).collect();
    found.sort();
    let mut sent: Vec<Vec<u8>> = BROKEN.iter().map(|(_, block)| block.to_vec()).collect();
    sent.sort();
    assert_eq!(found, sent, "each once, byte by byte");
    for letter in &*letters.lock() {
        let error = String::from_utf8_lossy(letter.headers.get(header::ERROR_MESSAGE).unwrap());
        assert!(error.contains("headers cannot be read"), "{error}");
    }
    neighbour.end().await;
    assert!(bus.health().live && seen.lock().len() == count + ODD.len());
    bus.shutdown(PATIENCE).await.expect("in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_envelopes_with_unreadable_headers_become_dead_letters() {
    Box::pin(dead_letters(None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_envelopes_with_unreadable_headers_become_dead_letters_with_partitions() {
    Box::pin(dead_letters(Some(2))).await;
}

/// Publishes a message with each of the broken blocks.
async fn all_broken(topic: &Topic, partitions: Option<u32>, key: &str) {
    let mut raw = Raw::connect().await;
    for (at, (_, block)) in BROKEN.iter().enumerate() {
        raw.publish(&subject(topic, partitions, at), block, &body(key)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_envelopes_with_unreadable_headers_are_skipped_and_counted() {
    for partitions in [None, Some(2)] {
        let (topic, seen) = (name("orders"), Seen::default());
        let bus = bus(config(&server::unique("g"), partitions)).await;
        bus.subscription(&topic).skip_failed().envelopes(notes(&seen)).await.expect("subscribes");
        good(&bus, &topic, 0..10).await;
        all_broken(&topic, partitions, "bad").await;
        good(&bus, &topic, 10..20).await;
        until("all good ones", || seen.lock().len() >= 20).await;
        until("the others are skipped", || bus.pool_stats().failed >= BROKEN.len() as u64).await;
        in_order(&seen, 20);
        bus.shutdown(PATIENCE).await.expect("in order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_regular_messages_with_unreadable_headers_go_to_their_handler() {
    for partitions in [None, Some(2)] {
        let (topic, taken) = (name("raw"), Arc::default());
        let bus = bus(config(&server::unique("g"), partitions)).await;
        bus.subscribe(&topic, collects(&taken)).await.expect("subscribes");
        all_broken(&topic, partitions, "any").await;
        Raw::connect().await.publish(&subject(&topic, partitions, 0), ODD[0].1, b"good").await;
        until("all of them", || taken.lock().len() > BROKEN.len()).await;
        let blocks: Vec<_> =
            taken.lock().iter().filter_map(|one| raw_header(one).map(<[u8]>::to_vec)).collect();
        assert_eq!(blocks.len(), BROKEN.len());
        for (what, block) in BROKEN {
            assert_eq!(blocks.iter().filter(|found| *found == block).count(), 1, "{what}");
        }
        let tenants =
            taken.lock().iter().any(|one| one.headers.get("X-Tenant") == Some(&b"M\xfcller"[..]));
        assert!(tenants, "what is readable is kept");
        bus.shutdown(PATIENCE).await.expect("in order");
    }
}

/// Messages stay blocked while their ack wait is extended, and come first after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_a_key_with_unreadable_headers_is_blocked_and_goes_on_after_a_restart() {
    for partitions in [None, Some(2)] {
        let (topic, dead, group) = (name("orders"), name("dead"), server::unique("g"));
        let (seen, again, letters) = (Seen::default(), Seen::default(), Arc::default());
        let mut own = config(&group, partitions);
        own.nats.consumer.ack_wait = Duration::from_secs(1);
        let first = bus(own.clone()).await;
        first
            .subscription(&topic)
            .block_failed()
            .envelopes(notes(&seen))
            .await
            .expect("subscribes");
        let mut raw = Raw::connect().await;
        for (_, block) in &BROKEN[..2] {
            raw.publish(&subject(&topic, partitions, 1), block, &body("bad")).await;
        }
        raw.publish(&subject(&topic, partitions, 1), ODD[0].1, &body("bad")).await;
        good(&first, &topic, 0..10).await;
        until("the good ones", || seen.lock().len() >= 10).await;
        until("the key is blocked", || first.pool_stats().blocked_lanes == 1).await;
        let tries = first.pool_stats().retried;
        until("it is tried for longer than the server waits", || {
            first.pool_stats().retried > tries + 80
        })
        .await;
        in_order(&seen, 10);
        assert_eq!(seen.lock().len(), 10, "what is behind it in its key waits");
        first.shutdown(Duration::from_secs(1)).await.expect("it reports");

        let second = bus(own).await;
        second.subscribe(&dead, collects(&letters)).await.expect("subscribes");
        second
            .subscription(&topic)
            .dead_letter(&dead)
            .envelopes(notes(&again))
            .await
            .expect("subscribes");
        until("the key goes on", || again.lock().iter().any(|(key, _)| key == "bad")).await;
        until("two letters", || letters.lock().len() >= 2).await;
        // Letters without a key spread over the partitions of their topic, so they arrive in any
        // order. The times of the failures are in order.
        let mut found: Vec<_> = letters
            .lock()
            .iter()
            .map(|letter| (failed_at(letter), raw_header(letter).unwrap().to_vec()))
            .collect();
        found.sort();
        let found: Vec<_> = found.into_iter().map(|(_, raw)| raw).collect();
        assert_eq!(found, [BROKEN[0].1, BROKEN[1].1], "in order, each once");
        assert_eq!(again.lock().len(), 1, "nothing else comes again");
        second.shutdown(PATIENCE).await.expect("in order");
    }
}

/// Any member of a shared topic may receive an unreadable message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_members_that_share_a_topic_lose_none_to_unreadable_headers() {
    let (topic, dead, group) = (name("orders"), name("dead"), server::unique("g"));
    let (seen, letters) = (Seen::default(), Arc::default());
    let mut own = config(&group, None);
    own.nats.consumer.ack_wait = Duration::from_secs(1);
    let members = [bus(own.clone()).await, bus(own).await];
    members[0].subscribe(&dead, collects(&letters)).await.expect("subscribes");
    for member in &members {
        member
            .subscription(&topic)
            .dead_letter(&dead)
            .envelopes(notes(&seen))
            .await
            .expect("subscribes");
    }
    good(&members[0], &topic, 0..20).await;
    all_broken(&topic, None, "bad").await;
    good(&members[0], &topic, 20..40).await;
    let numbers = || {
        seen.lock().iter().map(|(_, body)| body.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    until("all good ones", || numbers().len() >= 40).await;
    let blocks = || {
        let letters = letters.lock();
        letters
            .iter()
            .map(|letter: &Message| raw_header(letter).unwrap().to_vec())
            .collect::<std::collections::BTreeSet<_>>()
    };
    until("all letters", || blocks().len() >= BROKEN.len()).await;
    for member in members {
        member.shutdown(PATIENCE).await.expect("in order");
    }
}

/// Core NATS stores no message: an unreadable one is lost, and listening resumes by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n6_listening_goes_on_after_unreadable_headers() {
    let (topic, taken) = (name("ticks"), Arc::<Mutex<Vec<Message>>>::default());
    let mut own = config(&server::unique("g"), None);
    own.nats.ephemeral = vec![topic.to_string()];
    let bus = bus(own).await;
    bus.subscribe(&topic, collects(&taken)).await.expect("subscribes");
    let mut raw = Raw::connect().await;
    for (what, block) in BROKEN {
        raw.publish(&topic, block, b"lost").await;
        let came =
            |text: &str| taken.lock().iter().any(|message| message.payload == text.as_bytes());
        let publishing = async {
            while !came(what) {
                // A publish that the client loses with its task returns an error, and is repeated.
                let _ = bus.publish(&topic, what.as_bytes().to_vec()).await;
                tokio::task::yield_now().await;
            }
        };
        within(PATIENCE, what, publishing).await;
    }
    bus.shutdown(PATIENCE).await.expect("in order");
}
