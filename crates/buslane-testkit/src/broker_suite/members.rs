//! Groups, members and subscriptions.

use super::{BrokerFixture, BrokerHarness, bodies, publish, record, settle};
use crate::deadline::{LIMIT, within};
use buslane_core::Source;
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

/// Two members share all partitions, and each message arrives once.
pub async fn m1_members_share_the_partitions_and_each_message_comes_once<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let sources = harness.sources();
    let mut one = harness.reader("g", &topic).await;
    one.until_assigned(sources).await;
    let mut two = harness.reader("g", &topic).await;
    let (left, right) = tokio::join!(
        async {
            one.until_assigned(sources.div_ceil(2)).await;
            one
        },
        async {
            two.until_assigned(sources / 2).await;
            two
        }
    );
    let (mut one, mut two) = (left, right);
    let mut partitions: Vec<u32> =
        one.intakes.iter().chain(&two.intakes).map(|intake| intake.source().partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    assert_eq!(partitions.len(), sources, "every partition has one reader");
    let receipts = publish(
        &one.broker,
        &topic,
        (0..200).map(|n| record(&n.to_string(), n.to_string())).collect(),
    )
    .await;
    let of_one: BTreeSet<u32> =
        one.intakes.iter().map(|intake| intake.source().partition).collect();
    let count = receipts.iter().filter(|receipt| of_one.contains(&receipt.partition)).count();
    let (a, b) = tokio::join!(one.take(count), two.take(200 - count));
    let seen: BTreeSet<String> = bodies(&a).into_iter().chain(bodies(&b)).collect();
    assert_eq!(seen.len(), 200);
    settle(a.into_iter().chain(b));
    one.close().await;
    two.close().await;
}

/// Every group gets every message.
pub async fn m1_every_group_gets_every_message<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let mut billing = harness.reader("billing", &topic).await;
    let mut mail = harness.reader("mail", &topic).await;
    publish(&billing.broker, &topic, (0..20).map(|n| record("k", n.to_string())).collect()).await;
    let (a, b) = tokio::join!(billing.take(20), mail.take(20));
    assert_eq!(bodies(&a), bodies(&b));
    settle(a);
    drop(b);
    let again = mail.take(20).await;
    assert_eq!(again.len(), 20, "what one group settles is open for the other");
    settle(again);
    billing.close().await;
    mail.close().await;
}

/// Five messages precede the restart, and five follow it.
pub async fn m1_a_restart_continues_at_what_is_not_settled<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    for round in 0..3 {
        let mut feed = harness.reader("g", &topic).await;
        let sent: Vec<String> = (0..5).map(|n| (round * 5 + n).to_string()).collect();
        publish(&feed.broker, &topic, sent.iter().map(|body| record("k", body.clone())).collect())
            .await;
        let got = feed.take(5).await;
        assert_eq!(bodies(&got), sent);
        settle(got);
        feed.close().await;
    }
}

/// Dropping a member without a close counts as a crash.
pub async fn m1_a_crashed_members_open_messages_go_to_the_others<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut crashing = harness.reader("g", &topic).await;
    publish(&crashing.broker, &topic, (0..6).map(|n| record("k", n.to_string())).collect()).await;
    let mut got = crashing.take(6).await;
    let open = got.split_off(3);
    settle(got);
    let mut other = harness.reader("g", &topic).await;
    drop(crashing);
    let again = other.take(3).await;
    assert_eq!(bodies(&again), ["3", "4", "5"]);
    drop(open);
    settle(again);
    other.until_assigned(harness.sources()).await;
    other.close().await;
}

/// The next owner waits for the handlers of the old one.
pub async fn k3_a_partition_moves_after_its_open_messages_are_settled<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut old = harness.reader("g", &topic).await;
    publish(&old.broker, &topic, vec![record("k", "0"), record("k", "1")]).await;
    let mut got = old.take(1).await;
    let mut new = harness.reader("g", &topic).await;
    let leaving = tokio::spawn({
        let (broker, patience) = (old.broker.clone(), harness.can.patience);
        async move { broker.close(patience).await }
    });
    old.until("the end of the old intakes", |feed| feed.closed && feed.intakes.is_empty()).await;
    // All partitions move at once, except the one with the open message.
    let partition = got[0].message.partition();
    new.until_assigned(harness.sources() - 1).await;
    assert!(
        new.intakes.iter().all(|intake| intake.source().partition != partition),
        "not while a message is open"
    );
    settle(got.drain(..));
    let got = new.take(1).await;
    assert_eq!(bodies(&got), ["1"], "settled in time, so it does not run again");
    leaving.await.expect("no panic").expect("closes well");
    settle(got);
    new.close().await;
}

/// After the deadline the message runs again, and the late settlement changes nothing. The broker
/// counts both.
pub async fn k3_a_settlement_after_the_deadline_is_ignored<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let topic = harness.topic("orders");
    let mut old = harness.reader("g", &topic).await;
    publish(&old.broker, &topic, vec![record("k", "0")]).await;
    let late = old.take(1).await;
    let closed = old.broker.close(Duration::from_millis(50)).await;
    assert!(closed.is_err(), "an open message is named: {closed:?}");
    let counted = || {
        let counts = old.broker.counts();
        (counts.stragglers, counts.late_completions)
    };
    assert_eq!(counted(), (1, 0), "it is handled on");
    let mut new = harness.reader("g", &topic).await;
    let got = new.take(1).await;
    assert_eq!(bodies(&got), ["0"]);
    settle(late);
    assert_eq!(counted(), (0, 1), "its settlement came too late");
    drop(got);
    new.close().await;
    let mut third = harness.reader("g", &topic).await;
    let got = third.take(1).await;
    assert_eq!(bodies(&got), ["0"], "the late settlement did not count");
    settle(got);
    third.close().await;
}

/// The intakes of one subscription end, and the others continue.
pub async fn b3_ending_one_subscription_leaves_the_others<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let (orders, mails) = (harness.topic("orders"), harness.topic("mails"));
    let mut feed = harness.reader("g", &orders).await;
    feed.subscribe(&mails).await;
    feed.until_assigned(harness.sources() * 2).await;
    feed.broker.unsubscribe(&orders).await.expect("unsubscribes");
    feed.until_assigned(harness.sources()).await;
    assert!(feed.ended.iter().all(|source| source.topic == orders), "{:?}", feed.ended);
    publish(&feed.broker, &orders, vec![record("k", "unread")]).await;
    publish(&feed.broker, &mails, vec![record("k", "read")]).await;
    let got = feed.take(1).await;
    assert_eq!(bodies(&got), ["read"]);
    settle(got);
    feed.close().await;
}

/// An ended subscription leaves no message in memory, not even an unread one.
pub async fn t5_an_ended_subscription_leaves_nothing_in_memory<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let (orders, mails) = (harness.topic("orders"), harness.topic("mails"));
    let mut feed = harness.reader("g", &orders).await;
    feed.subscribe(&mails).await;
    feed.until_assigned(harness.sources() * 2).await;
    publish(&feed.broker, &orders, (0..200).map(|n| record(&n.to_string(), "x")).collect()).await;
    let got = feed.take(20).await;
    let sources =
        feed.intakes.iter().map(|intake| intake.source()).filter(|source| source.topic == orders);
    let sources: Vec<Weak<Source>> = sources.map(Arc::downgrade).collect();
    feed.broker.unsubscribe(&orders).await.expect("unsubscribes");
    feed.until_assigned(harness.sources()).await;
    settle(got);
    feed.ended.clear();
    let gone = async {
        while sources.iter().any(|source| source.strong_count() > 0) {
            // Some brokers work only while a caller polls them for events.
            feed.take_for(Duration::from_millis(5)).await;
        }
    };
    within(LIMIT, "nothing holds a source that has ended", gone).await;
    feed.close().await;
}

/// A later subscription leaves an open delivery of the first topic with its intake.
pub async fn b3_subscribing_later_leaves_the_others_running<F: BrokerFixture>(
    harness: BrokerHarness<F>,
) {
    let (orders, mails) = (harness.topic("orders"), harness.topic("mails"));
    let mut feed = harness.reader("g", &orders).await;
    publish(&feed.broker, &orders, vec![record("k", "0"), record("k", "1")]).await;
    let open = feed.take(1).await;
    feed.subscribe(&mails).await;
    publish(&feed.broker, &mails, vec![record("k", "mail")]).await;
    let mut seen = feed.take(2).await;
    seen.sort_by_key(|delivery| delivery.message.payload.clone());
    assert_eq!(bodies(&seen), ["1", "mail"]);
    assert!(feed.ended.is_empty(), "nothing ended: {:?}", feed.ended);
    settle(open.into_iter().chain(seen));
    feed.close().await;
}

/// A new subscription resumes where the previous one stopped.
pub async fn b3_subscribing_again_continues<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    publish(&feed.broker, &topic, vec![record("k", "0")]).await;
    settle(feed.take(1).await);
    feed.broker.unsubscribe(&topic).await.expect("unsubscribes");
    feed.until_assigned(0).await;
    publish(&feed.broker, &topic, vec![record("k", "1")]).await;
    feed.subscribe(&topic).await;
    let got = feed.take(1).await;
    assert_eq!(bodies(&got), ["1"]);
    settle(got);
    feed.close().await;
}

/// A second subscription to the same topic changes nothing.
pub async fn b3_subscribing_twice_changes_nothing<F: BrokerFixture>(harness: BrokerHarness<F>) {
    let topic = harness.topic("orders");
    let mut feed = harness.reader("g", &topic).await;
    feed.until_assigned(harness.sources()).await;
    feed.subscribe(&topic).await;
    publish(&feed.broker, &topic, vec![record("k", "0")]).await;
    let got = feed.take(1).await;
    assert_eq!((feed.intakes.len(), feed.ended.len()), (harness.sources(), 0));
    settle(got);
    feed.close().await;
}
