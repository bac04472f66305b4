//! Streams that a power failure may shorten. SPEC: N2

use buslane::{Config, Event, EventBus, TopicSettings, TopicStorage, TopicStrategy};
use buslane_bus_suite::LogCapture;
use buslane_testkit::{
    deadline::LIMIT,
    server::{address, unique},
};

#[tokio::test]
async fn n2_a_stream_of_envelopes_with_one_copy_is_told_of_once() {
    let journal = LogCapture::default();
    let _log = tracing::subscriber::set_default(journal.clone());
    let config = Config::new(&address("NATS_URL")).expect("a URL");
    let bus = EventBus::connect(config).await.expect("a server");
    let text = "a power failure of the server may lose acknowledged messages: one replica";
    let told = || journal.saying(text);
    let handler = async |_: Event| ();

    let in_memory = unique("in-memory");
    let settings = TopicSettings { storage: Some(TopicStorage::Memory), ..Default::default() };
    let made = bus.configure_topic(&in_memory, &settings, TopicStrategy::CreateOnly).await;
    made.expect("a stream");
    bus.subscribe_envelopes(&in_memory, handler).await.expect("subscribes");
    assert!(told().is_empty(), "it is lost with the process already");

    let first = unique("first");
    bus.subscribe_envelopes(&first, handler).await.expect("subscribes");
    bus.subscribe_envelopes(&unique("second"), handler).await.expect("subscribes");
    let lines = told();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0].field("stream"), first);
    bus.shutdown(LIMIT).await.expect("in order");
}
