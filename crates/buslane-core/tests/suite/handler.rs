//! The types of handlers, their outputs and their outcomes.

use crate::now;
use buslane_core::{
    AttemptSlot, CatchPanic, Handler, Job, Kind, Message, Outcome, Settlement, Step, Topic,
    Verdict, erase, judge,
};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

fn message() -> Message {
    Message::new(Topic::new("orders").unwrap(), "body")
}

/// Takes any handler and says, in a word, how it judged one message.
fn judged(handler: impl Handler<Message>) -> String {
    match now(judge(&handler, message())) {
        Verdict::Done => "done".into(),
        Verdict::Failed(error) => format!("failed: {error}"),
        Verdict::Retry(error) => format!("retry: {error}"),
        Verdict::Reject(error) => format!("reject: {error}"),
    }
}

async fn function(_: Message) {}

async fn fails(message: Message) -> Result<(), io::Error> {
    Err(io::Error::other(format!("no {}", message.topic().as_str())))
}

fn no_async(_: Message) -> Ready<Verdict> {
    ready(Verdict::retry("later"))
}

struct Counter(AtomicUsize);

impl Handler<Message> for Counter {
    type Output = Result<Verdict, &'static str>;

    async fn handle(&self, message: Message) -> Result<Verdict, &'static str> {
        self.0.fetch_add(message.payload.len(), Ordering::Relaxed);
        Ok(Verdict::reject("never"))
    }
}

struct Generic<T>(T);

impl<M: Send + 'static, T: Clone + Send + Sync + 'static> Handler<M> for Generic<T> {
    type Output = ();

    async fn handle(&self, _: M) {
        let kept = self.0.clone();
        std::future::ready(()).await;
        drop(kept);
    }
}

/// Compiles: that is the test. The judgements are checked on the way.
#[test]
fn e6_functions_closures_and_types_are_handlers() {
    assert_eq!(judged(function), "done");
    assert_eq!(judged(fails), "failed: no orders");
    assert_eq!(judged(no_async), "retry: later");
    assert_eq!(judged(Counter(AtomicUsize::new(0))), "reject: never");
    assert_eq!(judged(Generic(String::new())), "done");
    assert_eq!(judged(async |_: Message| {}), "done");
    assert_eq!(
        judged(async |_: Message| -> Result<(), String> { Err("text".into()) }),
        "failed: text"
    );
    assert_eq!(judged(|_: Message| async { Ok::<(), Infallible>(()) }), "done");
    assert_eq!(judged(|_: Message| async { Verdict::Done }), "done");
    assert_eq!(
        judged(|_: Message| async { Err::<Verdict, _>(Box::new(io::Error::other("boxed"))) }),
        "failed: boxed"
    );
    let _never_returns: &dyn Fn() -> String =
        &|| judged(|_: Message| std::future::pending::<Infallible>());
    let shared = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&shared);
    let closure = move |message: Message| {
        let counter = Arc::clone(&counter);
        async move {
            counter.fetch_add(message.payload.len(), Ordering::Relaxed);
        }
    };
    assert_eq!(judged(closure), "done");
    assert_eq!(shared.load(Ordering::Relaxed), 4);
}

fn run(kind: Kind, handler: impl Handler<Message>) -> Outcome {
    let handler = erase(kind, handler);
    assert_eq!(handler.kind(), kind);
    let mut job = Job::new(1, message(), Settlement::ignored());
    let mut slot = AttemptSlot::new();
    handler.start(&mut job, &mut slot);
    match slot.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Step::Done(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn p6_an_error_of_an_erased_handler_is_a_failure_and_no_panic() {
    for kind in [Kind::Regular, Kind::Envelope] {
        assert!(matches!(run(kind, function), Outcome::Ok));
        for outcome in
            [run(kind, fails), run(kind, no_async), run(kind, Counter(AtomicUsize::new(0)))]
        {
            let Outcome::Failed(error) = outcome else { panic!("{outcome:?}") };
            assert!(["no orders", "later", "never"].contains(&&*error.to_string()), "{error}");
        }
    }
}

#[test]
fn e6_an_erased_handler_sees_its_kind_and_the_whole_message() {
    for kind in [Kind::Regular, Kind::Envelope] {
        let outcome = run(kind, move |message: Message| async move {
            assert_eq!(
                (message.kind, &message.payload[..], message.topic().as_str()),
                (kind, &b"body"[..], "orders")
            );
        });
        assert!(matches!(outcome, Outcome::Ok), "{outcome:?}");
    }
}

#[test]
fn p7_a_panic_of_an_envelope_handler_is_caught_and_of_a_regular_one_is_not() {
    let text = |outcome| match outcome {
        Outcome::Panicked(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        text(run(Kind::Envelope, |_: Message| -> Ready<()> { panic!("at once") })),
        "at once"
    );
    assert_eq!(
        text(run(Kind::Envelope, async |_: Message| -> () { panic!("boom {}", 7) })),
        "boom 7"
    );
    assert_eq!(
        text(run(Kind::Envelope, async |_: Message| -> () { std::panic::panic_any(7_u8) })),
        "a value that is not text"
    );
    let escaped = catch_unwind(|| run(Kind::Regular, async |_: Message| -> () { panic!("boom") }));
    assert_eq!(escaped.unwrap_err().downcast_ref(), Some(&"boom"));
}

#[test]
fn p7_a_caught_panic_tells_its_text() {
    assert_eq!(now(CatchPanic::new(async { 7 })), Ok(7));
    assert_eq!(
        now(CatchPanic::new(async { panic!("static") })).map(|(): ()| ()),
        Err("static".into())
    );
    assert_eq!(
        now(CatchPanic::new(async { panic!("{}", 1 + 1) })).map(|(): ()| ()),
        Err("2".into())
    );
    let waits =
        catch_unwind(AssertUnwindSafe(|| now(CatchPanic::new(std::future::pending::<()>()))));
    assert!(waits.is_err(), "a future that waits goes on waiting");
}
