//! The memory broker's inspection, its retention, and its behaviour under load.

use buslane_core::{Broker, BrokerError, Outcome, PublishError, Record, SubscribeOptions, Topic};
use buslane_memory::{MemberOptions, MemoryBroker, MemoryConfig, OffsetReset, Position};
use buslane_testkit::broker_suite::{Feed, bodies, publish, record, settle};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(10);

fn orders() -> Topic {
    Topic::new("orders").expect("a valid name")
}

fn small(config: MemoryConfig) -> MemoryBroker {
    MemoryBroker::new(MemoryConfig { partitions: 1, ..config }).expect("a valid configuration")
}

async fn reader(broker: &MemoryBroker, options: MemberOptions) -> Feed {
    let feed = Feed::new(Arc::new(broker.member(options)), PATIENCE);
    feed.subscribe(&orders()).await;
    feed
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<Record> {
    numbers.map(|n| record("k", n.to_string())).collect()
}

#[tokio::test]
async fn m1_positions_lag_and_records_can_be_looked_at() {
    let broker = small(MemoryConfig::default());
    let mut feed = reader(&broker, MemberOptions::new("g")).await;
    publish(&feed.broker, &orders(), numbered(0..6)).await;
    let mut got = feed.take(5).await;
    settle([got.remove(3), got.remove(0)]);
    let position =
        Position { partition: 0, start: 1, end: 6, committed: 1, open: 3, done_ahead: 1 };
    assert_eq!(broker.positions("g", "orders"), [position]);
    assert_eq!((position.lag(), broker.lag("g", "orders")), (5, 5));
    let held: Vec<_> = broker.read("orders").iter().map(|message| message.offset).collect();
    assert_eq!(held, [1, 2, 3, 4, 5], "what every group has settled is gone");
    assert_eq!(broker.topics(), [orders()]);
    assert!(broker.positions("other", "orders").is_empty() && broker.read("other").is_empty());
    drop(got);
}

#[tokio::test(start_paused = true)]
async fn b6_a_topic_that_nobody_reads_makes_publishers_wait() {
    let broker = small(MemoryConfig { max_messages: 3, ..Default::default() });
    let options =
        MemberOptions { publish_timeout: Duration::from_secs(2), ..MemberOptions::new("g") };
    let member: Arc<dyn Broker> = Arc::new(broker.member(options));
    let topic = orders();
    let (begin, answers) = (Instant::now(), member.publish(&topic, numbered(0..5)).get().await);
    assert_eq!(begin.elapsed(), Duration::from_secs(2));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert_eq!(
        answers[4].as_ref().unwrap_err().to_string(),
        "publish to orders timed out after 2s: partition 0 is full with 3 records of at most 3, 67108864 bytes; no group reads it, \
         so nothing makes room: subscribe to it, or set a retention"
    );
    let held: Vec<_> = broker.read("orders").into_iter().map(|message| message.payload).collect();
    assert_eq!(held, ["0", "1", "2"], "nothing is overwritten");
    let mut feed = reader(&broker, MemberOptions::new("g")).await;
    let waiting = tokio::spawn({
        let member = Arc::clone(&member);
        async move { publish(&member, &orders(), numbered(5..6)).await }
    });
    let got = feed.take(3).await;
    assert_eq!(bodies(&got), ["0", "1", "2"]);
    settle(got);
    assert_eq!(bodies(&feed.take(1).await), ["5"], "a reader makes room");
    assert_eq!(waiting.await.unwrap()[0].offset, 3);
}

#[tokio::test]
async fn m1_a_retention_that_was_asked_for_makes_room_where_nobody_reads() {
    let broker = small(MemoryConfig::default());
    let settings = buslane_core::TopicSettings { retention_bytes: Some(30), ..Default::default() };
    broker
        .configure_topic(&orders(), &settings, buslane_core::TopicStrategy::CreateOrUpdate)
        .unwrap();
    let member: Arc<dyn Broker> = Arc::new(broker.member(MemberOptions::new("g")));
    let record = |n: usize| Record::new(format!("{n:010}"));
    publish(&member, &orders(), (0..10).map(record).collect()).await;
    let held: Vec<_> = broker.read("orders").iter().map(|message| message.offset).collect();
    assert_eq!(held, [7, 8, 9]);
}

#[tokio::test]
async fn m1_a_strict_broker_refuses_missing_topics_and_large_records() {
    let config =
        MemoryConfig { create_missing: false, max_message_bytes: 10, ..Default::default() };
    let broker = MemoryBroker::new(config).expect("a valid configuration");
    let member: Arc<dyn Broker> = Arc::new(broker.member(MemberOptions::new("g")));
    let topic = orders();
    let answers = member.publish(&topic, vec![Record::new("x")]).get().await;
    let missing =
        PublishError::Refused { topic: orders(), reason: "topic orders does not exist".to_owned() };
    assert_eq!(answers, [Err(missing)]);
    let subscribed = member.subscribe(&[(orders(), SubscribeOptions::default())]).await;
    assert_eq!(subscribed, Err(BrokerError::UnknownTopic { topic: orders() }));
    assert!(broker.topics().is_empty(), "asking creates nothing");
    broker
        .configure_topic(&orders(), &Default::default(), buslane_core::TopicStrategy::CreateOnly)
        .unwrap();
    member.subscribe(&[(orders(), SubscribeOptions::default())]).await.unwrap();
    let answers = member
        .publish(&topic, vec![Record::new("0123456789"), Record::new("0123456789").with_key("k")])
        .get()
        .await;
    assert_eq!(answers[0].as_ref().map(|receipt| receipt.offset), Ok(0));
    let limit = "memory.max_message_bytes, 10".to_owned();
    assert_eq!(answers[1], Err(PublishError::TooLarge { topic: orders(), bytes: 11, limit }));
}

#[tokio::test]
async fn m1_the_limit_of_a_record_is_that_of_kafka_unless_told_otherwise() {
    let broker = MemoryBroker::default();
    let member: Arc<dyn Broker> = Arc::new(broker.member(MemberOptions::new("g")));
    let topic = orders();
    let sized = |bytes: usize| Record::new(vec![0; bytes]);
    let answers = member.publish(&topic, vec![sized(1_048_588), sized(1_048_589)]).get().await;
    assert!(
        answers[0].is_ok() && matches!(answers[1], Err(PublishError::TooLarge { .. })),
        "{answers:?}"
    );
}

#[tokio::test]
async fn m1_latest_starts_behind_what_is_there_and_only_the_first_time() {
    let broker = small(MemoryConfig::default());
    let latest = MemberOptions { offset_reset: OffsetReset::Latest, ..MemberOptions::new("g") };
    let mut feed = Feed::new(Arc::new(broker.member(latest.clone())), PATIENCE);
    publish(&feed.broker, &orders(), numbered(0..2)).await;
    feed.subscribe(&orders()).await;
    publish(&feed.broker, &orders(), numbered(2..4)).await;
    let mut got = feed.take(2).await;
    assert_eq!(bodies(&got), ["2", "3"]);
    drop(got.pop());
    settle(got);
    feed.close().await;
    let mut feed = reader(&broker, latest).await;
    assert_eq!(bodies(&feed.take(1).await), ["3"]);
}

#[tokio::test]
async fn m1_the_slowest_group_holds_records_until_it_is_deleted() {
    let broker = small(MemoryConfig { max_messages: 4, ..Default::default() });
    let mut fast = reader(&broker, MemberOptions::new("fast")).await;
    let slow = reader(&broker, MemberOptions::new("slow")).await;
    publish(&fast.broker, &orders(), numbered(0..4)).await;
    settle(fast.take(4).await);
    assert_eq!(broker.read("orders").len(), 4);
    assert!(!broker.delete_group("slow"), "it has a member");
    slow.close().await;
    let sender = Arc::clone(&fast.broker);
    let topic = orders();
    let waiting = publish(&sender, &topic, numbered(4..5));
    let delete = async {
        tokio::task::yield_now().await;
        assert!(broker.delete_group("slow"));
        assert!(!broker.delete_group("slow"), "it is gone");
    };
    let (receipts, ()) = tokio::join!(waiting, delete);
    assert_eq!(receipts[0].offset, 4);
    settle(fast.take(1).await);
}

#[tokio::test]
async fn p3_a_partition_keeps_its_bound_of_bytes() {
    let broker = small(MemoryConfig { max_bytes: 1_000, ..Default::default() });
    let options =
        MemberOptions { publish_timeout: Duration::from_millis(20), ..MemberOptions::new("g") };
    let mut feed = reader(&broker, options).await;
    let sized = |bytes: usize| vec![Record::new(vec![0; bytes])];
    publish(&feed.broker, &orders(), sized(600)).await;
    let topic = orders();
    let answers = feed.broker.publish(&topic, sized(401)).get().await;
    let Err(PublishError::Timeout { detail, .. }) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!(
        detail,
        "partition 0 is full with 1 records of at most 65536, 1000 bytes; group g has not settled offset 0, 0 open"
    );
    publish(&feed.broker, &orders(), sized(400)).await;
    let answers = feed.broker.publish(&topic, sized(1_001)).get().await;
    assert_eq!(
        answers,
        [Err(PublishError::TooLarge {
            topic: orders(),
            bytes: 1001,
            limit: "max_bytes of a partition, 1000".to_owned()
        })]
    );
    settle(feed.take(2).await);
}

#[tokio::test]
async fn p3_an_intake_hands_out_no_more_than_its_window() {
    let broker = small(MemoryConfig { max_open: 64, ..Default::default() });
    let mut feed = reader(&broker, MemberOptions::new("g")).await;
    publish(&feed.broker, &orders(), numbered(0..100)).await;
    let mut got = feed.take(64).await;
    let first = got.remove(0);
    settle(got);
    let mut out = Vec::new();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(
        feed.intakes[0].poll_next(&mut cx, 10, &mut out).is_pending(),
        "the first one is still open"
    );
    let (got, ()) = tokio::join!(feed.take(36), async { settle([first]) });
    assert_eq!(bodies(&got)[0], "64");
    settle(got);
    assert_eq!(broker.lag("g", "orders"), 0);
}

#[tokio::test]
async fn d1_settle_first_settles_at_the_hand_over() {
    let broker = small(MemoryConfig::default());
    let mut feed = Feed::new(Arc::new(broker.member(MemberOptions::new("g"))), PATIENCE);
    let options = SubscribeOptions { settle_first: true, ..Default::default() };
    feed.broker.subscribe(&[(orders(), options)]).await.unwrap();
    publish(&feed.broker, &orders(), numbered(0..3)).await;
    drop(feed.take(2).await);
    assert_eq!(broker.lag("g", "orders"), 1);
    feed.close().await;
    let mut feed = reader(&broker, MemberOptions::new("g")).await;
    assert_eq!(bodies(&feed.take(1).await), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn k3_a_straggler_is_awaited_up_to_the_deadline_and_then_counted() {
    let broker = small(MemoryConfig::default());
    let options =
        MemberOptions { drain_deadline: Duration::from_secs(3), ..MemberOptions::new("g") };
    let mut old = reader(&broker, options.clone()).await;
    publish(&old.broker, &orders(), numbered(0..2)).await;
    let late = old.take(2).await;
    let mut new = reader(&broker, options).await;
    let begin = Instant::now();
    broker.faults().rebalance("g");
    let got = new.take(2).await;
    assert_eq!(
        (bodies(&got), begin.elapsed()),
        (vec!["0".to_owned(), "1".to_owned()], Duration::from_secs(3))
    );
    settle(late);
    assert_eq!(broker.late_settlements("g"), 2);
    assert_eq!(broker.positions("g", "orders")[0].open, 2, "they changed nothing");
    settle(got);
    assert_eq!((broker.lag("g", "orders"), broker.late_settlements("g")), (0, 2));
    old.close().await;
}

#[tokio::test]
async fn k6_only_one_copy_is_possible() {
    let broker = MemoryBroker::default();
    let settings = buslane_core::TopicSettings { replication: Some(3), ..Default::default() };
    let strategy = buslane_core::TopicStrategy::CreateOrUpdate;
    let error = broker.configure_topic(&orders(), &settings, strategy).unwrap_err();
    assert_eq!(
        error.to_string(),
        "topic orders: replication: is always 1 on the memory broker, wanted 3"
    );
    broker.configure_topic(&orders(), &Default::default(), strategy).unwrap();
    let error = broker
        .configure_topic(&orders(), &settings, buslane_core::TopicStrategy::ValidateOnly)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "topic orders: replication: is 1, expected 3");
}

/// With waiting publishers, two threads that settle out of order, and members that join and leave,
/// nothing stalls or is lost, and settled messages of a partition that moved in time are not
/// delivered again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m1_nothing_stalls_or_is_lost_under_load() {
    const EACH: usize = 20_000;
    let broker = MemoryBroker::new(MemoryConfig {
        partitions: 3,
        max_messages: 100,
        max_open: 64,
        ..Default::default()
    })
    .unwrap();
    let seen: Arc<Vec<AtomicUsize>> =
        Arc::new((0..2 * EACH).map(|_| AtomicUsize::new(0)).collect());
    let _hold = reader(&broker, MemberOptions::new("g")).await.close().await;
    let publishers: Vec<_> = (0..2)
        .map(|publisher| {
            let member: Arc<dyn Broker> = Arc::new(broker.member(MemberOptions::new("publishers")));
            tokio::spawn(async move {
                for from in (0..EACH).step_by(50) {
                    let body = |n: usize| (publisher * EACH + n).to_string();
                    let batch = (from..from + 50)
                        .map(|n| record(&format!("k{}", n % 17), body(n)))
                        .collect();
                    publish(&member, &orders(), batch).await;
                }
                member.close(PATIENCE).await.unwrap();
            })
        })
        .collect();
    let left = Arc::new(AtomicUsize::new(2 * EACH));
    let readers: Vec<_> = (0..3)
        .map(|n| {
            let (broker, seen, left) = (broker.clone(), Arc::clone(&seen), Arc::clone(&left));
            tokio::spawn(async move {
                while left.load(Ordering::SeqCst) > 0 {
                    let mut feed = reader(&broker, MemberOptions::new("g")).await;
                    // The first reader stays, the others leave and come back.
                    let turns = if n == 0 { usize::MAX } else { 300 };
                    for _ in 0..turns {
                        if left.load(Ordering::SeqCst) == 0 {
                            break;
                        }
                        let next =
                            tokio::time::timeout(Duration::from_millis(20), feed.take(1)).await;
                        for delivery in next.into_iter().flatten() {
                            let number: usize =
                                bodies(std::slice::from_ref(&delivery))[0].parse().unwrap();
                            let (seen, left) = (Arc::clone(&seen), Arc::clone(&left));
                            tokio::spawn(async move {
                                if number.is_multiple_of(7) {
                                    tokio::task::yield_now().await;
                                }
                                seen[number].fetch_add(1, Ordering::SeqCst);
                                delivery.settlement.settle(Outcome::Ok);
                                left.fetch_sub(1, Ordering::SeqCst);
                            });
                        }
                    }
                    feed.close().await;
                }
            })
        })
        .collect();
    let all = async {
        for task in publishers.into_iter().chain(readers) {
            task.await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nothing stalls");
    let wrong = seen.iter().filter(|count| count.load(Ordering::SeqCst) != 1).count();
    assert_eq!((wrong, broker.lag("g", "orders"), broker.late_settlements("g")), (0, 0, 0));
}
