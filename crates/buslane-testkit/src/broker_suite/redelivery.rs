//! Unsettled messages are delivered again, and settled ones are not.

use super::{BrokerFixture, BrokerHarness, Feed, bodies, publish, record, settle};
use buslane_core::{Delivery, Outcome, Topic};

/// Ten messages of one key, taken by a reader of group `g`.
async fn ten<F: BrokerFixture>(harness: &BrokerHarness<F>, topic: &Topic) -> (Feed, Vec<Delivery>) {
    let mut feed = harness.reader("g", topic).await;
    publish(&feed.broker, topic, (0..10).map(|n| record("k", n.to_string())).collect()).await;
    let got = feed.take(10).await;
    assert_eq!(bodies(&got), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    (feed, got)
}

/// The messages that a new member of the group gets, up to a last one that is published as a
/// marker.
async fn again<F: BrokerFixture>(harness: &BrokerHarness<F>, topic: &Topic) -> Vec<String> {
    let mut feed = harness.reader("g", topic).await;
    publish(&feed.broker, topic, vec![record("k", "end")]).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "end") {
        let got = feed.take(1).await;
        seen.extend(bodies(&got));
        settle(got);
    }
    feed.close().await;
    seen.pop();
    seen
}

/// After a restart, only messages that were not settled are delivered again.
pub async fn d1_only_what_is_open_comes_again_after_a_restart<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let (feed, mut got) = ten(&harness, &topic).await;
    drop(got.split_off(6));
    settle(got);
    feed.close().await;
    assert_eq!(again(&harness, &topic).await, ["6", "7", "8", "9"]);
    assert_eq!(again(&harness, &topic).await, [] as [&str; 0], "and then never more");
}

/// A dropped delivery is delivered again within the assignment, without its neighbours.
pub async fn d1_a_message_given_back_comes_again_while_reading_goes_on<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let (mut feed, mut got) = ten(&harness, &topic).await;
    let open = got.split_off(5);
    drop(got.remove(3));
    drop(got.remove(1));
    settle(got);
    let back = feed.take(2).await;
    assert_eq!(bodies(&back), ["1", "3"]);
    publish(&feed.broker, &topic, vec![record("k", "new")]).await;
    let new = feed.take(1).await;
    assert_eq!(bodies(&new), ["new"]);
    settle(back.into_iter().chain(open).chain(new));
    feed.close().await;
    assert_eq!(again(&harness, &topic).await, [] as [&str; 0]);
}

/// Failed and panicked deliveries are settled; only an abandoned one is given back.
pub async fn d1_a_failed_or_panicked_message_is_over<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let (feed, got) = ten(&harness, &topic).await;
    for (n, delivery) in got.into_iter().enumerate() {
        delivery.settlement.settle(match n % 3 {
            0 => Outcome::Ok,
            1 => Outcome::Failed("no".into()),
            _ => Outcome::Panicked("boom".to_owned()),
        });
    }
    feed.close().await;
    assert_eq!(again(&harness, &topic).await, [] as [&str; 0]);
}

/// The first message stays open and all others are settled: the first is delivered again.
pub async fn d2_a_later_settlement_never_settles_an_earlier_one<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let (feed, mut got) = ten(&harness, &topic).await;
    let first = got.remove(0);
    settle(got);
    drop(first);
    feed.close().await;
    assert!(again(&harness, &topic).await.contains(&"0".to_owned()), "the open one is not settled");
}

/// Messages that were settled above an open one are not delivered again.
pub async fn d2_what_is_done_above_a_gap_does_not_run_again<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let (feed, got) = ten(&harness, &topic).await;
    let (open, done): (Vec<_>, Vec<_>) = got
        .into_iter()
        .partition(|delivery| matches!(&delivery.message.payload[..], b"0" | b"4" | b"9"));
    settle(done);
    drop(open);
    feed.close().await;
    assert_eq!(again(&harness, &topic).await, ["0", "4", "9"]);
}

/// Deliveries are settled from the last to the first.
pub async fn d2_settling_out_of_order_settles_everything<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let (feed, got) = ten(&harness, &topic).await;
    settle(got.into_iter().rev());
    feed.close().await;
    assert_eq!(again(&harness, &topic).await, [] as [&str; 0]);
}
