//! The scenarios of the model. Each runs in some thousand interleavings.

use super::{Key, Message, Running, Work, World, spawn};
use crate::{Bounds, Item, RouterRefusal, SLOTS, SlotRouter};
use shuttle::{future::block_on, rand::Rng, thread};
use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

pub(super) fn messages(keys: std::ops::Range<u64>, each: u64) -> Vec<Message> {
    let mut random = shuttle::rand::thread_rng();
    let mut work = || match random.gen_range(0..8) {
        0 | 1 => Work::Wait,
        2 => Work::Fail(random.gen_range(1..3)),
        3 => Work::Crash,
        _ => Work::Quick,
    };
    (0..each)
        .flat_map(|seq| keys.clone().map(move |key| (key, seq)))
        .map(|(key, seq)| Message { key, seq, work: work() })
        .collect()
}

/// The number of schedules that a scenario is tried with; fewer in the quick tests.
#[allow(clippy::disallowed_methods, reason = "it configures this check, not the product")]
fn schedules() -> usize {
    let given = std::env::var("MODEL_SCHEDULES").ok();
    given.map_or(1_500, |number| number.parse().expect("MODEL_SCHEDULES is a number"))
}

pub(super) fn check(scenario: fn()) {
    shuttle::check_random(scenario, schedules());
    shuttle::check_pct(scenario, schedules(), 3);
}

const TIGHT: Bounds = Bounds {
    messages: 4,
    bytes: 100,
    lane_messages: 3,
    failing_messages: 2,
    failing_bytes: 100,
    keys: 2,
    key_idle: Duration::from_millis(1_500),
};

/// SPEC: P5. Every submitted message ends, with every kind of handler, and no worker sleeps for
/// ever.
#[test]
fn p5_everything_that_is_submitted_ends() {
    check(|| {
        let mut running = Running::new(3, 2, Bounds::default());
        running.keep_time();
        let submitters =
            [running.submit(messages(0..2, 2), 3), running.submit(messages(2..4, 2), 1)];
        block_on(running.world.ended(8));
        running.close(|| submitters.map(|thread| thread.join().unwrap()).iter().sum());
    });
}

/// SPEC: P3. Submitters that wait for room are woken.
#[test]
fn p3_who_waits_for_room_gets_it() {
    check(|| {
        let mut running = Running::new(2, 2, TIGHT);
        running.keep_time();
        let submitters =
            [running.submit(messages(0..2, 3), 4), running.submit(messages(2..4, 2), 2)];
        block_on(running.world.ended(10));
        running.close(|| submitters.map(|thread| thread.join().unwrap()).iter().sum());
    });
}

/// SPEC: P9. A handler that blocks its thread delays no other lane while a core is free, even the
/// lanes that its worker has taken: the other worker has to find the message that it waits for.
#[test]
fn p9_nothing_waits_behind_a_handler_that_blocks() {
    check(|| {
        let running = Running::new(2, 4, Bounds::default());
        let until = |key, seq| {
            if shuttle::rand::thread_rng().r#gen() {
                Work::Block(key, seq)
            } else {
                Work::Await(key, seq)
            }
        };
        let work = |key, seq, work| Message { key, seq, work };
        let batch = vec![
            work(0, 0, Work::Quick),
            work(1, 0, until(2, 1)),
            work(0, 1, Work::Quick),
            work(1, 1, Work::Quick),
            work(2, 0, Work::Wait),
            work(2, 1, Work::Quick),
        ];
        let size = [1, 2, 6][shuttle::rand::thread_rng().gen_range(0..3)];
        let submitter = running.submit(batch, size);
        block_on(running.world.ended(6));
        running.close(|| submitter.join().unwrap());
    });
}

/// SPEC: P9. More workers than cores: handlers that wait leave their core to others.
#[test]
fn p9_nothing_waits_behind_handlers_that_wait() {
    check(|| {
        let running = Running::with_cores(3, 1, 4, Bounds::default());
        let work = |key, seq, work| Message { key, seq, work };
        let batch = vec![
            work(0, 0, Work::Await(2, 1)),
            work(1, 0, Work::Await(2, 0)),
            work(1, 1, Work::Quick),
            work(2, 0, Work::Quick),
            work(2, 1, Work::Quick),
        ];
        let size = [1, 2, 5][shuttle::rand::thread_rng().gen_range(0..3)];
        let submitter = running.submit(batch, size);
        block_on(running.world.ended(5));
        running.close(|| submitter.join().unwrap());
    });
}

/// SPEC: P9. A worker that gets a free core finds the messages in a queue behind a blocking
/// handler, even if the core became free because another handler waits.
#[test]
fn p9_nothing_waits_in_a_tray_while_a_core_is_free() {
    check(|| {
        let running = Running::with_cores(3, 2, 1, Bounds::default());
        let work = |key, seq, work| Message { key, seq, work };
        // One worker takes the first two keys; the other one takes the third, which waits.
        let batch = if shuttle::rand::thread_rng().r#gen() {
            vec![
                work(0, 0, Work::Block(1, 0)),
                work(1, 0, Work::Quick),
                work(2, 0, Work::Await(1, 0)),
                work(0, 1, Work::Quick),
            ]
        } else {
            vec![
                work(0, 0, Work::Quick),
                work(1, 0, Work::Block(0, 1)),
                work(2, 0, Work::Await(0, 1)),
                work(0, 1, Work::Quick),
            ]
        };
        let size = shuttle::rand::thread_rng().gen_range(1..5);
        let submitter = running.submit(batch, size);
        block_on(running.world.ended(4));
        running.close(|| submitter.join().unwrap());
    });
}

/// SPEC: P8. A worker that ends for good leaves no message behind.
#[test]
fn p8_the_work_of_a_lost_worker_goes_on() {
    check(|| {
        let running = Running::with_cores(2, 1, 4, Bounds::default());
        let work = |key, seq, work| Message { key, seq, work };
        let batch = vec![
            work(0, 0, Work::Quick),
            work(1, 0, Work::Quit),
            work(1, 1, Work::Quick),
            work(2, 0, Work::Quick),
        ];
        let submitter = running.submit(batch, 4);
        block_on(running.world.ended(4));
        running.close(|| submitter.join().unwrap());
    });
}

/// SPEC: P9. A deferred lane makes room for others at once, and not only when it is due.
#[test]
fn p9_a_deferred_lane_makes_room_for_others() {
    check(|| {
        let mut running = Running::new(2, 4, Bounds { messages: 1, ..Bounds::default() });
        let batch = vec![
            Message { key: 0, seq: 0, work: Work::Fail(1) },
            Message { key: 1, seq: 0, work: Work::Quick },
        ];
        let submitter = running.submit(batch, 2);
        block_on(running.world.ended(1));
        running.keep_time();
        block_on(running.world.ended(2));
        running.close(|| submitter.join().unwrap());
    });
}

/// SPEC: P5, P10. Closing in the middle of the work: started messages end, and none waits for a
/// retry.
#[test]
fn p10_closing_in_the_middle_of_the_work_accounts_for_everything() {
    check(|| {
        let mut running = Running::new(2, 2, TIGHT);
        running.keep_time();
        let submitters =
            [running.submit(messages(0..2, 2), 2), running.submit(messages(2..3, 2), 1)];
        running.close(|| submitters.map(|thread| thread.join().unwrap()).iter().sum());
    });
}

/// SPEC: P5. A purge removes every message that is not running, and wakes submitters that wait for
/// room.
#[test]
fn p5_a_purge_in_the_middle_of_the_work_accounts_for_everything() {
    check(|| {
        let mut running = Running::new(2, 2, TIGHT);
        running.keep_time();
        let submitters =
            [running.submit(messages(0..2, 3), 3), running.submit(messages(2..3, 2), 1)];
        let purger = spawn(&running.world, |world| async move {
            let gone = world.scheduler.purge(&|message| message.seq == 1 || message.key == 0);
            let mut log = world.log.lock().unwrap();
            log.purged += gone.len() as u64;
            log.wake();
        });
        block_on(running.world.ended(8));
        purger.join().unwrap();
        running.close(|| submitters.map(|thread| thread.join().unwrap()).iter().sum());
    });
}

/// SPEC: P10. Closing wakes submitters that wait for room at once, before running handlers end.
#[test]
fn p10_closing_wakes_who_waits_for_room() {
    check(|| {
        let running = Running::new(1, 4, Bounds { messages: 1, ..Bounds::default() });
        let work = |key, seq, work| Message { key, seq, work };
        let submitter =
            running.submit(vec![work(0, 0, Work::Block(9, 0)), work(1, 0, Work::Block(9, 0))], 1);
        let world = std::sync::Arc::clone(&running.world);
        running.close(|| {
            let accepted = submitter.join().unwrap();
            // Only now the handlers may return.
            world.log.lock().unwrap().keys.insert(9, Key { running: false, last: Some(0) });
            world.changed.notify_all();
            accepted
        });
    });
}

/// SPEC: P9. When all workers start while there is work, those without a core leave the lanes to
/// those with one.
#[test]
fn p9_no_more_workers_take_lanes_than_there_are_cores() {
    let scenario = || {
        let world = World::new(8, 2, 4, Bounds::default());
        let mut batch = (0..50).map(|key| Message { key, seq: 0, work: Work::Quick }).collect();
        world.scheduler.submit(&mut batch).unwrap();
        let cx = Context::from_waker(Waker::noop());
        let ready: Vec<bool> = (0..8)
            .map(|worker| world.scheduler.poll_next(worker, &cx, &mut None).is_ready())
            .collect();
        assert_eq!(ready, [true, true, false, false, false, false, false, false]);
        // One that waits leaves its core to another.
        world.scheduler.suspend(0);
        assert_eq!(
            (2..8)
                .filter(|worker| world.scheduler.poll_next(*worker, &cx, &mut None).is_ready())
                .count(),
            1
        );
    };
    shuttle::check_random(scenario, 1);
}

type Both = Arc<SlotRouter<Message>>;

fn both(worlds: [&World; 2], most_held: usize) -> Both {
    let schedulers = worlds.map(|world| Arc::clone(&world.scheduler));
    Arc::new(SlotRouter::new(schedulers, 0, most_held))
}

/// Submits in batches of two, and yields while there is no room.
fn submit(router: &Both, messages: Vec<Message>) -> thread::JoinHandle<()> {
    let router = Arc::clone(router);
    thread::spawn(move || {
        let mut rest: VecDeque<Message> = messages.into();
        while !rest.is_empty() {
            let mut batch: VecDeque<Message> = rest.drain(..2.min(rest.len())).collect();
            while let Err(refused) = router.submit_as(&mut batch, |message| message) {
                assert_ne!(refused, RouterRefusal::Closed);
                thread::yield_now();
            }
            assert!(batch.is_empty());
        }
    })
}

/// Steps the migrations until none is left, and aborts some of them.
fn settle(router: &Both, gives_up: bool) {
    loop {
        let progress = router.step();
        if gives_up && !progress.waiting.is_empty() {
            router.abort(&progress.waiting);
        }
        if router.counts().moving == 0 {
            return;
        }
        thread::yield_now();
    }
}

fn moved_while_busy(boundaries: &'static [usize], gives_up: bool, bounds: Bounds) {
    busy(boundaries, gives_up, bounds, [messages(0..2, 2), messages(2..4, 2)]);
}

fn busy(boundaries: &'static [usize], gives_up: bool, bounds: Bounds, load: [Vec<Message>; 2]) {
    let count = load.iter().map(Vec::len).sum::<usize>() as u64;
    let one = World::new(2, 2, 2, bounds);
    let other = one.beside(2, bounds);
    let router = both([&one, &other], 3);
    let mut running = [Running::in_world(one, 2), Running::in_world(other, 2)];
    running.iter_mut().for_each(Running::keep_time);
    let submitters = load.map(|messages| submit(&router, messages));
    let mover = {
        let router = Arc::clone(&router);
        thread::spawn(move || {
            for boundary in boundaries {
                // Not all at the beginning, before there is something to move.
                for _ in 0..shuttle::rand::thread_rng().gen_range(0..12) {
                    thread::yield_now();
                }
                router.rebalance_to(*boundary);
                router.step();
            }
            settle(&router, gives_up);
        })
    };
    for thread in submitters {
        thread.join().unwrap();
    }
    mover.join().unwrap();
    block_on(running[0].world.ended(count));
    let counts = router.counts();
    assert_eq!((counts.held, counts.moving), (0, 0));
    if !gives_up {
        assert_eq!(counts.at[1], *boundaries.last().unwrap());
    }
    router.close();
    for Running { world, threads } in running {
        drop(world.scheduler.close());
        block_on(std::future::poll_fn(|cx| world.scheduler.poll_drained(cx)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let (lanes, counts) = world.scheduler.stats();
        assert_eq!((lanes.open, lanes.open_bytes, lanes.lanes), (0, 0, 0));
        assert_eq!(counts.accepted, counts.ended() + counts.moved);
    }
}

/// SPEC: S4. No message is lost or runs twice, and each key keeps its order, wherever its slot
/// migrates and whatever its handlers do.
#[test]
fn s4_messages_follow_their_slots() {
    check(|| moved_while_busy(&[SLOTS, 0, SLOTS], false, Bounds::default()));
}

/// SPEC: S4. As above, with a slot that is redirected during its migration, and one that cannot
/// leave because its handler does not end.
#[test]
fn s4_slots_that_turn_round_or_stay_keep_their_messages() {
    check(|| moved_while_busy(&[SLOTS, SLOTS / 2, 0, SLOTS / 2], false, Bounds::default()));
    check(|| moved_while_busy(&[SLOTS, 0, SLOTS / 2], true, Bounds::default()));
}

/// SPEC: S4. A message that fails at the old owner, after the messages behind it were taken out, is
/// tried again before them.
#[test]
fn s4_a_message_that_fails_meanwhile_stays_in_front() {
    check(|| {
        let work = |seq| if seq == 0 { super::Work::Fail(1) } else { super::Work::Quick };
        let one_key = (0..4).map(|seq| Message { key: 1, seq, work: work(seq) }).collect();
        busy(&[SLOTS], false, Bounds::default(), [one_key, Vec::new()]);
    });
}

/// SPEC: S4. An accepted message keeps its room, even if the other scheduler has none left.
#[test]
fn s4_room_is_not_asked_for_twice() {
    let tight = Bounds { messages: 2, lane_messages: 2, failing_messages: 1, ..Bounds::default() };
    shuttle::check_random(move || moved_while_busy(&[SLOTS, 0, SLOTS], false, tight), schedules());
}

/// SPEC: S4. Two rebalances at once, such as a roll-back while a stage begins.
#[test]
fn s4_two_movers_do_not_disturb_each_other() {
    check(|| {
        let one = World::new(1, 1, 2, Bounds::default());
        let other = one.beside(1, Bounds::default());
        let router = both([&one, &other], 8);
        let mut running = [Running::in_world(one, 1), Running::in_world(other, 1)];
        running.iter_mut().for_each(Running::keep_time);
        let submitter = submit(&router, messages(0..3, 2));
        let movers = [SLOTS, SLOTS / 2].map(|boundary| {
            let router = Arc::clone(&router);
            thread::spawn(move || {
                router.rebalance_to(boundary);
                router.step();
                router.rebalance_to(0);
                router.step();
                router.rebalance_to(boundary);
                settle(&router, false);
            })
        });
        submitter.join().unwrap();
        for thread in movers {
            thread.join().unwrap();
        }
        settle(&router, false);
        block_on(running[0].world.ended(6));
        for Running { world, threads } in running {
            drop(world.scheduler.close());
            block_on(std::future::poll_fn(|cx| world.scheduler.poll_drained(cx)));
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
}

/// The model tests slots only if its keys have different ones.
#[test]
fn s4_the_keys_of_the_model_are_in_different_slots() {
    let slots: std::collections::BTreeSet<_> =
        messages_outside(0..4).iter().map(|message| crate::slot_of(message.lane())).collect();
    assert_eq!(slots.len(), 4);
}

fn messages_outside(keys: std::ops::Range<u64>) -> Vec<Message> {
    keys.map(|key| Message { key, seq: 0, work: super::Work::Quick }).collect()
}
