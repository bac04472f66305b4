//! The memory of running attempts: reuse, release, panics.

use buslane_core::{AttemptSlot, Local, Outcome, Step};
use std::{
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

fn poll(slot: &mut AttemptSlot) -> Poll<Step> {
    slot.poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs the current attempt to its end and tells its text.
fn text(slot: &mut AttemptSlot) -> String {
    match poll(slot) {
        Poll::Ready(Step::Done(Outcome::Failed(error))) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn says(text: impl Into<String>) -> Step {
    Step::Done(Outcome::Failed(text.into().into()))
}

#[test]
fn an_empty_slot_waits_for_ever() {
    let mut slot = AttemptSlot::new();
    assert!(poll(&mut slot).is_pending());
    slot.clear();
    slot.rest();
    assert!(poll(&mut slot).is_pending());
}

#[test]
fn an_attempt_ends_once() {
    let mut slot = AttemptSlot::new();
    slot.start(&Arc::new("handler"), 7, |handler: Local<&str>, input: i32| async move {
        says(format!("{} {input}", *handler))
    });
    assert_eq!(text(&mut slot), "handler 7");
    assert!(poll(&mut slot).is_pending(), "nothing runs any more");
}

#[test]
fn an_attempt_goes_on_where_it_waited() {
    let mut slot = AttemptSlot::new();
    slot.start(&Arc::new(()), 2, |_, waits: i32| {
        let mut left = waits;
        poll_fn(move |_| {
            left -= 1;
            if left < 0 { Poll::Ready(says("over")) } else { Poll::Pending }
        })
    });
    assert!(poll(&mut slot).is_pending());
    assert!(poll(&mut slot).is_pending());
    assert_eq!(text(&mut slot), "over");
}

#[test]
fn attempts_of_many_handlers_of_one_type_do_not_mix() {
    let mut slot = AttemptSlot::new();
    let handlers: Vec<_> = (0..40).map(|number| Arc::new(format!("h{number}"))).collect();
    for round in 0..3 {
        for handler in &handlers {
            slot.start(handler, round, |handler: Local<String>, round: i32| async move {
                says(format!("{} {round}", *handler))
            });
            assert_eq!(text(&mut slot), format!("{handler} {round}"));
        }
    }
}

struct Numbered<const N: usize>;

fn numbered<const N: usize>(slot: &mut AttemptSlot) {
    slot.start(&Arc::new(Numbered::<N>), (), |_: Local<Numbered<N>>, ()| async {
        says(N.to_string())
    });
    assert_eq!(text(slot), N.to_string());
}

#[test]
fn more_handler_types_than_the_slot_keeps() {
    let all = [
        numbered::<0>,
        numbered::<1>,
        numbered::<2>,
        numbered::<3>,
        numbered::<4>,
        numbered::<5>,
        numbered::<6>,
        numbered::<7>,
        numbered::<8>,
        numbered::<9>,
        numbered::<10>,
        numbered::<11>,
        numbered::<12>,
        numbered::<13>,
        numbered::<14>,
        numbered::<15>,
        numbered::<16>,
        numbered::<17>,
        numbered::<18>,
        numbered::<19>,
    ];
    let mut slot = AttemptSlot::new();
    for stride in [1, 3, 7, 11, 19] {
        for step in 0..all.len() {
            all[step * stride % all.len()](&mut slot);
        }
    }
}

#[test]
fn same_handler_with_other_input_or_code_is_another_attempt() {
    let mut slot = AttemptSlot::new();
    let handler = Arc::new(());
    for _ in 0..3 {
        slot.start(&handler, 1_u8, |_, input: u8| async move { says(format!("u8 {input}")) });
        assert_eq!(text(&mut slot), "u8 1");
        slot.start(&handler, 1_u16, |_, input: u16| async move { says(format!("u16 {input}")) });
        assert_eq!(text(&mut slot), "u16 1");
        slot.start(&handler, 1_u8, |_, input: u8| async move { says(format!("again {input}")) });
        assert_eq!(text(&mut slot), "again 1");
    }
}

#[test]
fn p10_an_idle_slot_lets_go_of_its_handlers() {
    let mut slot = AttemptSlot::new();
    let (one, two) = (Arc::new(1_u8), Arc::new(2_u16));
    slot.start(&one, (), |handler, ()| async move { says(handler.to_string()) });
    assert_eq!(text(&mut slot), "1");
    slot.start(&two, (), |handler, ()| async move { says(handler.to_string()) });
    assert_eq!(text(&mut slot), "2");
    assert_eq!((Arc::strong_count(&one), Arc::strong_count(&two)), (2, 2));
    slot.rest();
    assert_eq!((Arc::strong_count(&one), Arc::strong_count(&two)), (1, 1));

    // One that runs is kept until it ends.
    slot.start(&one, (), |handler, ()| async move {
        let _held = handler;
        pending().await
    });
    assert!(poll(&mut slot).is_pending());
    slot.rest();
    assert_eq!(Arc::strong_count(&one), 2);
    slot.clear();
    assert_eq!(Arc::strong_count(&one), 1);

    // Another handler of the same type replaces the first.
    let other = Arc::new(3_u8);
    let make = |handler: Local<u8>, ()| async move { says(handler.to_string()) };
    slot.start(&one, (), make);
    slot.start(&other, (), make);
    assert_eq!((Arc::strong_count(&one), Arc::strong_count(&other)), (1, 2));
    assert_eq!(text(&mut slot), "3");
    drop(slot);
    assert_eq!(Arc::strong_count(&other), 1);
}

/// Counts how often it is dropped.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn p5_a_cancelled_or_replaced_attempt_drops_its_input_once() {
    let mut slot = AttemptSlot::new();
    let dropped = Arc::new(AtomicUsize::new(0));
    let handler = Arc::new(());
    let start = |slot: &mut AttemptSlot| {
        slot.start(&handler, Held(Arc::clone(&dropped)), |_, held: Held| async move {
            let _held = held;
            pending().await
        });
    };
    start(&mut slot);
    assert!(poll(&mut slot).is_pending());
    slot.clear();
    assert_eq!(dropped.load(Ordering::Relaxed), 1, "cancelled while it waits");
    start(&mut slot);
    slot.clear();
    assert_eq!(dropped.load(Ordering::Relaxed), 2, "cancelled before it began");
    start(&mut slot);
    start(&mut slot);
    assert_eq!(dropped.load(Ordering::Relaxed), 3, "replaced");
    drop(slot);
    assert_eq!(dropped.load(Ordering::Relaxed), 4, "dropped with the slot");
}

#[test]
fn p7_a_slot_survives_panics() {
    #[derive(Clone, Copy)]
    enum When {
        Never,
        Starting,
        Running,
        Dropping,
    }
    struct Bomb(When);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!matches!(self.0, When::Dropping), "dropping");
        }
    }
    let handler = Arc::new(Mutex::new(0));
    let start = |slot: &mut AttemptSlot, when: When| {
        slot.start(&handler, when, |handler: Local<Mutex<i32>>, when: When| {
            assert!(!matches!(when, When::Starting), "starting");
            async move {
                let _bomb = Bomb(when);
                match when {
                    When::Running => panic!("running"),
                    When::Dropping => pending().await,
                    _ => {
                        *handler.lock().unwrap() += 1;
                        says("fine")
                    }
                }
            }
        });
    };
    let mut slot = AttemptSlot::new();
    for warm in [false, true] {
        let caught = catch_unwind(AssertUnwindSafe(|| start(&mut slot, When::Starting)));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"starting"), "{warm}");
        slot.clear();
        start(&mut slot, When::Never);
        assert_eq!(text(&mut slot), "fine");

        start(&mut slot, When::Running);
        let caught = catch_unwind(AssertUnwindSafe(|| poll(&mut slot)));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"running"));
        slot.clear();
        assert!(poll(&mut slot).is_pending());
        start(&mut slot, When::Never);
        assert_eq!(text(&mut slot), "fine");

        start(&mut slot, When::Dropping);
        assert!(poll(&mut slot).is_pending());
        let caught = catch_unwind(AssertUnwindSafe(|| slot.clear()));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"dropping"));
        start(&mut slot, When::Never);
        assert_eq!(text(&mut slot), "fine");
    }
    assert_eq!(*handler.lock().unwrap(), 6);
    drop(slot);
    assert_eq!(Arc::strong_count(&handler), 1);
}
