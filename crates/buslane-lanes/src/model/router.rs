//! Two schedulers whose slots migrate while messages are submitted, run, fail and wait.

use super::{
    Message, Running, World,
    scenarios::{check, messages},
};
use crate::{Bounds, Item, Refused, SLOTS, SlotRouter};
use shuttle::{future::block_on, rand::Rng, thread};
use std::{collections::VecDeque, sync::Arc};

type Both = Arc<SlotRouter<Message>>;

fn both(worlds: [&World; 2], most_held: usize) -> Both {
    let schedulers = worlds.map(|world| Arc::clone(&world.scheduler));
    Arc::new(SlotRouter::new(schedulers, 0, most_held))
}

/// Submits in batches of two; yields where there is no room.
fn submit(router: &Both, messages: Vec<Message>) -> thread::JoinHandle<()> {
    let router = Arc::clone(router);
    thread::spawn(move || {
        let mut rest: VecDeque<Message> = messages.into();
        while !rest.is_empty() {
            let mut batch: VecDeque<Message> = rest.drain(..2.min(rest.len())).collect();
            while let Err(refused) = router.submit_as(&mut batch, |message| message) {
                assert_ne!(refused, Refused::Closed);
                thread::yield_now();
            }
            assert!(batch.is_empty());
        }
    })
}

/// Moves until nothing is on its way, and gives up now and then.
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

/// SPEC: S4. Nothing is lost, nothing runs twice, each key in its order, wherever its slot goes and
/// whatever its handlers do.
#[test]
fn s4_messages_follow_their_slots() {
    check(|| moved_while_busy(&[SLOTS, 0, SLOTS], false, Bounds::default()));
}

/// SPEC: S4. As above, where a slot turns round on its way, and where it stays because its handler
/// does not end.
#[test]
fn s4_slots_that_turn_round_or_stay_keep_their_messages() {
    check(|| moved_while_busy(&[SLOTS, SLOTS / 2, 0, SLOTS / 2], false, Bounds::default()));
    check(|| moved_while_busy(&[SLOTS, 0, SLOTS / 2], true, Bounds::default()));
}

/// SPEC: S4. What fails at the old side after those behind it were taken out is tried again before
/// them.
#[test]
fn s4_a_message_that_fails_meanwhile_stays_in_front() {
    check(|| {
        let work = |seq| if seq == 0 { super::Work::Fail(1) } else { super::Work::Quick };
        let one_key = (0..4).map(|seq| Message { key: 1, seq, work: work(seq) }).collect();
        busy(&[SLOTS], false, Bounds::default(), [one_key, Vec::new()]);
    });
}

/// SPEC: S4. What has been granted room keeps it, also where the other side has none left.
#[test]
fn s4_room_is_not_asked_for_twice() {
    let tight = Bounds { messages: 2, lane_messages: 2, parked_messages: 1, ..Bounds::default() };
    shuttle::check_random(move || moved_while_busy(&[SLOTS, 0, SLOTS], false, tight), 1_500);
}

/// SPEC: S4. Two movers at once, as a roll-back while a stage begins.
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

/// The key hash of a message is its lane: the model would say nothing of slots if all keys shared
/// one.
#[test]
fn s4_the_keys_of_the_model_are_in_different_slots() {
    let slots: std::collections::BTreeSet<_> =
        messages_outside(0..4).iter().map(|message| crate::slot_of(message.lane())).collect();
    assert_eq!(slots.len(), 4);
}

fn messages_outside(keys: std::ops::Range<u64>) -> Vec<Message> {
    keys.map(|key| Message { key, seq: 0, work: super::Work::Quick }).collect()
}
