//! Dead letters at the limits of a real cluster.

use buslane::{Config, Event, EventBus, Message, Record, TopicSettings, TopicStrategy};
use buslane_testkit::{deadline::within, server};
use std::time::Duration;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> Config {
    let mut config =
        Config::new(&format!("kafka://{}", server::address("KAFKA_BOOTSTRAP_SERVERS")))
            .expect("a URL");
    config.group = server::unique("letters");
    config
}

async fn new_topic(bus: &EventBus, what: &str) -> String {
    let (topic, settings) =
        (server::unique(what), TopicSettings { partitions: Some(1), ..TopicSettings::default() });
    bus.configure_topic(&topic, &settings, TopicStrategy::CreateOnly).await.expect("a new topic");
    topic
}

/// A message fits its own topic but, with the headers or the base64 of a dead letter, not another
/// topic with the same limit. A reduced letter lets the next message of the lane continue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_a_message_at_the_limit_leaves_a_reduced_letter() {
    let invalid_time = format!(
        r#"{{"event_id":"1","aggregate_id":"k","event_type":"T","event_version":1,"timestamp":"{}","payload":1}}"#,
        "t".repeat(520_000)
    );
    let cases = [
        ("headers", vec![b'x'; 999_800], "body 16384 of 999800"),
        ("headers", invalid_time.into_bytes(), ""),
        ("document", vec![b'x'; 760_000], "body 16384 of 760000"),
    ];
    for (format, body, cut) in cases {
        let bus = EventBus::connect(config()).await.expect("a broker that answers");
        let (topic, dead) = (new_topic(&bus, "orders").await, new_topic(&bus, "dead").await);
        let (into, mut letters) = mpsc::channel::<Message>(4);
        let collect = move |letter: Message| {
            let into = into.clone();
            async move { into.send(letter).await.expect("the test reads them") }
        };
        bus.subscribe(&dead, collect).await.expect("subscribes");
        let subscription = bus.subscription(&topic);
        let subscription = match format {
            "headers" => subscription.dead_letter(&dead),
            _ => subscription.dead_letter_documents(&dead),
        };
        subscription.envelopes(|_: Event| async {}).await.expect("subscribes");
        for body in [body, b"torn".to_vec()] {
            bus.publish(&topic, Record::new(body).with_key("k"))
                .await
                .expect("the origin takes it");
        }
        let letter = within(PATIENCE, "the letter", letters.recv()).await.expect("a letter");
        let said = match letter.headers.get("X-Truncated") {
            Some(said) => String::from_utf8_lossy(said).into_owned(),
            None if format == "headers" => String::new(),
            None => {
                let document: serde_json::Value =
                    serde_json::from_slice(&letter.payload).expect("a document");
                document["truncated"].as_str().expect("a text").to_owned()
            }
        };
        assert!(said.starts_with(cut), "{said}");
        assert!(letter.headers.get("X-Error-Message").is_none_or(|error| error.len() <= 4_096));
        within(PATIENCE, "the next letter", letters.recv()).await.expect("a letter");
        assert_eq!(bus.pool_stats().blocked_lanes, 0);
        bus.shutdown(PATIENCE).await.expect("it reports");
    }
}
