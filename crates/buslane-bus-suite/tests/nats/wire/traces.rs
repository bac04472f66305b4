//! Trace contexts between a bus and a foreign client. SPEC: O5

use super::kit::{PATIENCE, bare, bus, config, name};
use async_nats::HeaderMap;
use buslane::{Message, trace};
use buslane_testkit::deadline::within;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";

/// The header names have the case of many Go programs, whose header type changes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o5_another_client_begins_a_trace_and_finds_it_again() {
    let (bus, topic, next) = (bus(config()).await, name("begun"), name("continued"));
    let (done, mut receipts) = tokio::sync::mpsc::channel(2);
    let (publisher, to) = (bus.clone(), next.clone());
    let handler = move |message: Message| {
        let (bus, to, done) = (publisher.clone(), to.clone(), done.clone());
        async move {
            let expected =
                message.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("traceparent"));
            assert_eq!(
                trace::current().is_some(),
                expected.is_some_and(|(_, value)| value == PARENT.as_bytes())
            );
            let receipt = bus.publish(&to, message.payload).await.expect("published");
            done.send(receipt).await.expect("the test waits for it");
        }
    };
    bus.subscribe(&topic, handler).await.expect("subscribes");
    let jetstream = bare().await;
    for (body, parent, expected) in [("begun", PARENT, true), ("torn", "00-torn", false)] {
        let mut headers = HeaderMap::new();
        headers.insert("Traceparent", parent);
        headers.insert("Tracestate", STATE);
        let sent = jetstream
            .publish_with_headers(topic.to_string(), headers, body.into())
            .await
            .expect("sent");
        sent.await.expect("stored");
        let receipt = within(PATIENCE, "the handler has published", receipts.recv())
            .await
            .expect("a receipt");
        let continued = jetstream.get_stream_no_info(next.as_str()).await.expect("a handle");
        let message = continued.get_raw_message(receipt.offset).await.expect("it is there");
        assert_eq!(message.payload, body);
        let header = |name: &str| message.headers.get(name).map(|value| value.as_str().to_owned());
        let value = |value: &str| expected.then(|| value.to_owned());
        assert_eq!((header("traceparent"), header("tracestate")), (value(PARENT), value(STATE)));
    }
    bus.shutdown(PATIENCE).await.expect("it reports");
}
