//! Waiting tasks are woken by exactly the event that they wait for. The tests count wakes, so that
//! a chance poll does not hide a lost one.

use buslane_core::{
    Answer, Broker, BrokerEvent, Delivery, Intake, Outcome, PublishError, Receipt, Record,
    SubscribeOptions, Topic,
};
use buslane_memory::{MemberOptions, MemoryBroker, MemoryConfig, MemoryMember};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A waker that counts its wakes.
#[derive(Default)]
struct Bell(Arc<Count>);

impl Bell {
    fn waker(&self) -> Waker {
        Arc::clone(&self.0).into()
    }

    /// The number of wakes since the last call.
    fn rings(&self) -> usize {
        self.0.0.swap(0, Ordering::SeqCst)
    }
}

fn orders() -> Topic {
    Topic::new("orders").expect("a valid name")
}

/// One partition of `max_messages`, and a window of 64.
fn broker(max_messages: usize) -> MemoryBroker {
    let config = MemoryConfig { partitions: 1, max_messages, max_open: 64, ..Default::default() };
    MemoryBroker::new(config).expect("a valid configuration")
}

async fn subscribed(broker: &MemoryBroker) -> MemoryMember {
    let member = broker.member(MemberOptions::new("g"));
    member.subscribe(&[(orders(), SubscribeOptions::default())]).await.expect("subscribes");
    member
}

async fn assigned(member: &MemoryMember) -> Box<dyn Intake> {
    match member.next_event().await {
        Some(BrokerEvent::Assigned(intake)) => intake,
        other => panic!("{other:?}"),
    }
}

type Answers = Vec<Result<Receipt, PublishError>>;
type Waiting<'a> = Pin<Box<dyn Future<Output = Answers> + Send + 'a>>;

fn publish<'a>(member: &'a MemoryMember, topic: &'a Topic, count: usize) -> Answer<'a, Answers> {
    member.publish(topic, vec![Record::new("x"); count])
}

fn stored(member: &MemoryMember, count: usize) {
    match publish(member, &orders(), count) {
        Answer::Now(answers) => assert!(answers.iter().all(Result::is_ok), "{answers:?}"),
        Answer::Later(_) => panic!("there is room"),
    }
}

fn waiting<'a>(
    member: &'a MemoryMember,
    topic: &'a Topic,
    count: usize,
    bell: &Bell,
) -> Waiting<'a> {
    let Answer::Later(mut later) = publish(member, topic, count) else {
        panic!("there is no room")
    };
    assert!(later.as_mut().poll(&mut Context::from_waker(&bell.waker())).is_pending());
    later
}

fn read(intake: &mut Box<dyn Intake>, bell: &Bell) -> Vec<Delivery> {
    let mut out = Vec::new();
    match intake.poll_next(&mut Context::from_waker(&bell.waker()), 1_000, &mut out) {
        Poll::Ready(Some(count)) => assert_eq!(count, out.len()),
        Poll::Ready(None) => panic!("ended"),
        Poll::Pending => assert!(out.is_empty()),
    }
    out
}

fn settle(delivery: Delivery) {
    delivery.settlement.settle(Outcome::Ok);
}

#[tokio::test]
async fn m1_a_waiting_reader_is_woken_by_a_record_and_by_one_given_back() {
    let broker = broker(100);
    let member = subscribed(&broker).await;
    let (mut intake, bell) = (assigned(&member).await, Bell::default());
    assert!(read(&mut intake, &bell).is_empty());
    stored(&member, 3);
    stored(&member, 1);
    assert_eq!(bell.rings(), 1, "once, until it waits again");
    let mut got = read(&mut intake, &bell);
    assert!(read(&mut intake, &bell).is_empty());
    settle(got.remove(0));
    assert_eq!(bell.rings(), 0, "a settlement is nothing to read");
    drop(got.remove(0));
    assert_eq!(bell.rings(), 1);
    assert_eq!(read(&mut intake, &bell).len(), 1);
}

#[tokio::test]
async fn p3_a_reader_with_a_full_window_is_woken_by_the_next_settlement() {
    let broker = broker(1_000);
    let member = subscribed(&broker).await;
    let (mut intake, bell) = (assigned(&member).await, Bell::default());
    stored(&member, 100);
    let got = read(&mut intake, &bell);
    assert_eq!(got.len(), 64);
    assert!(read(&mut intake, &bell).is_empty());
    got.into_iter().for_each(settle);
    assert_eq!(bell.rings(), 1, "the others cost no wake");
    assert_eq!(read(&mut intake, &bell).len(), 36);
}

#[tokio::test]
async fn k4_a_reader_that_waits_for_the_end_is_woken_by_it_alone() {
    let broker = broker(100);
    let member = subscribed(&broker).await;
    let (mut intake, bell) = (assigned(&member).await, Bell::default());
    let waker = bell.waker();
    let mut cx = Context::from_waker(&waker);
    assert!(intake.poll_end(&mut cx).is_pending());
    stored(&member, 1);
    assert_eq!(bell.rings(), 0);
    member.unsubscribe(&orders()).await.expect("unsubscribes");
    assert_eq!(bell.rings(), 1);
    assert!(intake.poll_end(&mut cx).is_ready());
    assert!(matches!(intake.poll_next(&mut cx, 1, &mut Vec::new()), Poll::Ready(None)));
}

#[tokio::test]
async fn b6_a_waiting_publisher_is_woken_by_a_settlement_even_if_nobody_reads() {
    let broker = broker(2);
    let member = subscribed(&broker).await;
    let (mut intake, bell, topic) = (assigned(&member).await, Bell::default(), orders());
    stored(&member, 2);
    let got = read(&mut intake, &Bell::default());
    let mut later = waiting(&member, &topic, 1, &bell);
    got.into_iter().for_each(settle);
    assert_eq!(bell.rings(), 1);
    assert!(later.as_mut().poll(&mut Context::from_waker(&bell.waker())).is_ready());
}

#[tokio::test]
async fn b6_a_newcomer_does_not_overtake_a_waiting_publisher() {
    let broker = broker(2);
    let member = subscribed(&broker).await;
    let (mut intake, topic) = (assigned(&member).await, orders());
    let (first_bell, second_bell) = (Bell::default(), Bell::default());
    stored(&member, 2);
    let got = read(&mut intake, &Bell::default());
    let mut first = waiting(&member, &topic, 1, &first_bell);
    got.into_iter().for_each(settle);
    let mut second = waiting(&member, &topic, 1, &second_bell);
    assert_eq!((first_bell.rings(), second_bell.rings()), (1, 0));
    let Poll::Ready(answers) = first.as_mut().poll(&mut Context::from_waker(&first_bell.waker()))
    else {
        panic!("it is its turn")
    };
    assert_eq!(answers[0].as_ref().map(|receipt| receipt.offset), Ok(2));
    assert_eq!(second_bell.rings(), 1, "leaving the queue wakes the next publisher");
    assert!(second.as_mut().poll(&mut Context::from_waker(&second_bell.waker())).is_ready());
    settle(read(&mut intake, &Bell::default()).remove(0));
    // So does a cancelled publisher, even after it was woken itself.
    stored(&member, 1);
    let got = read(&mut intake, &Bell::default());
    let first = waiting(&member, &topic, 1, &first_bell);
    let mut second = waiting(&member, &topic, 1, &second_bell);
    got.into_iter().for_each(settle);
    assert_eq!((first_bell.rings(), second_bell.rings()), (1, 0));
    drop(first);
    assert_eq!(second_bell.rings(), 1);
    assert!(second.as_mut().poll(&mut Context::from_waker(&second_bell.waker())).is_ready());
}

#[tokio::test]
async fn k3_the_next_owner_is_woken_by_the_last_settlement_of_the_old_one() {
    let broker = broker(100);
    let old = subscribed(&broker).await;
    let (mut intake, bell) = (assigned(&old).await, Bell::default());
    stored(&old, 1);
    let got = read(&mut intake, &Bell::default());
    let new = subscribed(&broker).await;
    broker.faults().rebalance("g");
    let mut event = new.next_event();
    assert!(event.as_mut().poll(&mut Context::from_waker(&bell.waker())).is_pending());
    got.into_iter().for_each(settle);
    assert!(bell.rings() > 0);
    assert!(event.as_mut().poll(&mut Context::from_waker(&bell.waker())).is_ready());
}

#[tokio::test]
async fn b9_a_member_that_has_stopped_keeps_what_it_has_and_gets_nothing_new() {
    let broker = MemoryBroker::default();
    let (one, two) = (subscribed(&broker).await, subscribed(&broker).await);
    for _ in 0..4 {
        assigned(&two).await;
    }
    two.stop_reading().await;
    one.close(Duration::from_secs(1)).await.expect("closes");
    let mut event = two.next_event();
    assert!(
        event.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(),
        "nothing new"
    );
    let three = subscribed(&broker).await;
    let partitions: Vec<u32> = [
        assigned(&three).await,
        assigned(&three).await,
        assigned(&three).await,
        assigned(&three).await,
    ]
    .map(|intake| intake.source().partition)
    .to_vec();
    let mut more = three.next_event();
    assert!(
        more.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(),
        "not what is being settled"
    );
    two.close(Duration::from_secs(1)).await.expect("closes");
    drop(more);
    for _ in 0..4 {
        assert!(!partitions.contains(&assigned(&three).await.source().partition));
    }
}

#[tokio::test]
async fn m2_a_connection_that_comes_back_wakes_readers_and_members() {
    let broker = broker(100);
    let member = subscribed(&broker).await;
    let (mut intake, bell, event_bell) =
        (assigned(&member).await, Bell::default(), Bell::default());
    stored(&member, 1);
    broker.faults().disconnect("cable");
    assert!(matches!(member.next_event().await, Some(BrokerEvent::Disconnected { .. })));
    let mut event = member.next_event();
    assert!(event.as_mut().poll(&mut Context::from_waker(&event_bell.waker())).is_pending());
    assert!(read(&mut intake, &bell).is_empty());
    broker.faults().reconnect();
    assert_eq!((bell.rings(), event_bell.rings()), (1, 1));
    assert_eq!(read(&mut intake, &bell).len(), 1);
}

#[tokio::test]
async fn m1_a_member_dropped_while_its_close_was_cancelled_has_crashed() {
    let broker = broker(100);
    let member = subscribed(&broker).await;
    let mut intake = assigned(&member).await;
    stored(&member, 1);
    let late = read(&mut intake, &Bell::default());
    let mut close = member.close(Duration::from_secs(3_600));
    assert!(close.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(close);
    let next = subscribed(&broker).await;
    let mut event = next.next_event();
    assert!(
        event.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(),
        "its message is awaited"
    );
    drop(event);
    drop(member);
    assert_eq!(read(&mut assigned(&next).await, &Bell::default()).len(), 1);
    late.into_iter().for_each(settle);
    assert_eq!(broker.late_settlements("g"), 1);
}
