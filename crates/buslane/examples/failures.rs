//! What becomes of failures: a retry, a rejection, a dead letter. Needs no broker.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use buslane::{Config, Envelope, Event, EventBus, Message, Retry, Verdict};
use std::{error::Error, time::Duration};

async fn on_payment(event: Event) -> Verdict {
    println!("{}: attempt {}", event.event_type, event.message.attempt);
    match &*event.event_type {
        // The next attempt comes after a wait, at the head of the same lane.
        "Declined" if event.message.attempt == 1 => Verdict::retry("the bank did not answer"),
        // No attempt can help.
        "Garbled" => Verdict::reject("no amount"),
        _ => Verdict::Done,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = EventBus::connect(Config::load()?).await?;
    bus.subscribe("payments.dead", async |letter: Message| {
        println!("dead letter: {}", String::from_utf8_lossy(&letter.payload));
    })
    .await?;

    // Without `dead_letter` or `skip_failed`, a failing payment blocks its lane until it succeeds.
    let retry = Retry::attempts(3).backoff(Duration::from_millis(50), Duration::from_secs(1));
    let payments = bus.subscription("payments").retry(retry).dead_letter("payments.dead");
    payments.envelopes(on_payment).await?;

    for event_type in ["Declined", "Garbled", "Paid"] {
        let event = Envelope::new("payment-1", event_type, &serde_json::json!({}))?;
        bus.publish_envelope("payments", event).await?;
    }

    assert!(bus.drained(Duration::from_secs(10)).await?.is_complete());
    bus.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
