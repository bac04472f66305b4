//! A released version of Confluent's Parallel Consumer takes a group over and gives it back, with
//! open gaps each time: no message that either side has finished runs again.

use super::kit;
use buslane_core::{Delivery, Topic};
use buslane_testkit::{
    broker_suite::{Feed, publish, record, settle},
    server::{address, unique},
};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

const PARTITIONS: i32 = 3;
const KEYS: usize = 12;
const ROUND: usize = 3_000;
/// Compiling, starting and joining take some seconds, and more beside a build.
const JAVA_PATIENCE: Duration = buslane_testkit::deadline::LIMIT;

/// Partition and offset.
type Place = (u32, u64);

fn place(delivery: &Delivery) -> Place {
    (delivery.message.partition(), delivery.message.offset)
}

/// Publishes one record of each key in turn. Returns the places of each key.
async fn round(member: &Feed, topic: &Topic) -> Vec<BTreeSet<Place>> {
    let records = (0..ROUND).map(|n| record(&format!("k{}", n % KEYS), n.to_string())).collect();
    let mut places = vec![BTreeSet::new(); KEYS];
    for (n, receipt) in publish(&member.broker, topic, records).await.into_iter().enumerate() {
        places[n % KEYS].insert((receipt.partition, receipt.offset));
    }
    places
}

/// The places of the given keys.
fn of(places: &[BTreeSet<Place>], keys: &[usize]) -> BTreeSet<Place> {
    keys.iter().flat_map(|key| places[*key].iter().copied()).collect()
}

fn all_but(places: &[BTreeSet<Place>], keys: &[usize]) -> BTreeSet<Place> {
    places.iter().flatten().copied().filter(|place| !of(places, keys).contains(place)).collect()
}

fn is_of(delivery: &Delivery, keys: &[usize]) -> bool {
    let key = delivery.message.key.as_deref().expect("a key");
    keys.iter().any(|open| key == format!("k{open}").as_bytes())
}

/// Closes a member and leaves these open.
async fn leave(mut member: Feed, open: Vec<Delivery>) {
    let broker = Arc::clone(&member.broker);
    let leaving = tokio::spawn(async move { broker.close(kit::PATIENCE).await });
    member.until("the end of the intakes", |feed| feed.closed && feed.intakes.is_empty()).await;
    drop(open);
    assert_eq!(leaving.await.expect("no panic"), Ok(()));
}

/// A member that is a Java program.
struct Theirs {
    child: Child,
    lines: Receiver<String>,
    done: Vec<Place>,
    failed: BTreeSet<Place>,
}

impl Drop for Theirs {
    fn drop(&mut self) {
        // The program ends with its input, even when the test has failed.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Theirs {
    fn join(group: &str, topic: &Topic, failing: &[usize]) -> Self {
        let keys: Vec<_> = failing.iter().map(|key| format!("k{key}")).collect();
        let mut child = Command::new(address("BUSLANE_TEST_XTASK"))
            .args(["brokers", "parallel-consumer", &kit::servers(), group, topic, &keys.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program that starts others");
        let (said, lines) = sync_channel(1_000);
        let output = BufReader::new(child.stdout.take().expect("piped"));
        // The thread ends with the output of the program, or with the receiver.
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        Self { child, lines, done: Vec::new(), failed: BTreeSet::new() }
    }

    /// Reads a line; false at the last one.
    fn hear(&mut self) -> bool {
        let line =
            self.lines.recv_timeout(JAVA_PATIENCE).expect("a word now and then, and a last one");
        if line == "closed" {
            return false;
        }
        let words: Vec<_> = line.split(' ').collect();
        let [what, partition, offset] = words[..] else { panic!("{line}") };
        let place = (partition.parse().expect("a partition"), offset.parse().expect("an offset"));
        match what {
            "done" => self.done.push(place),
            "failed" => drop(self.failed.insert(place)),
            _ => panic!("{line}"),
        }
        true
    }

    /// Waits until it has finished this many messages and failed one, and lets it leave.
    fn done_after(mut self, count: usize) -> (Vec<Place>, BTreeSet<Place>) {
        while self.done.len() < count || self.failed.is_empty() {
            assert!(self.hear(), "closed too soon");
        }
        drop(self.child.stdin.take());
        while self.hear() {}
        assert!(self.child.wait().expect("an end").success());
        (std::mem::take(&mut self.done), std::mem::take(&mut self.failed))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_parallel_consumer_takes_a_group_over_and_gives_it_back() {
    let (topic, group) = (kit::topic("takeover", PARTITIONS, &[]).await, unique("g"));
    // First buslane: keys 1 and 2 stay open.
    let mut member = kit::member(kit::config(&group), &topic).await;
    let first = round(&member, &topic).await;
    let (open, done): (Vec<_>, Vec<_>) =
        member.take(ROUND).await.into_iter().partition(|one| is_of(one, &[1, 2]));
    assert_eq!(done.iter().map(place).collect::<BTreeSet<_>>(), all_but(&first, &[1, 2]));
    settle(done);
    leave(member, open).await;

    // Then the Parallel Consumer, with a second round: keys 2 and 3 stay open.
    let publisher = kit::connect(kit::config(&unique("g"))).await;
    let second = round(&publisher, &topic).await;
    publisher.close().await;
    let expected: BTreeSet<_> =
        of(&first, &[1]).union(&all_but(&second, &[2, 3])).copied().collect();
    let (theirs, count) = (Theirs::join(&group, &topic, &[2, 3]), expected.len());
    let (done, failed) = tokio::task::block_in_place(|| theirs.done_after(count));
    assert_eq!(done.len(), count, "something ran twice");
    assert_eq!(done.into_iter().collect::<BTreeSet<_>>(), expected);
    let left: BTreeSet<_> = of(&first, &[2]).union(&of(&second, &[2, 3])).copied().collect();
    assert!(failed.is_subset(&left), "{:?}", failed.difference(&left));

    // And buslane again, up to a last record in each partition.
    let mut member = kit::member(kit::config(&group), &topic).await;
    let third = round(&member, &topic).await;
    let left: BTreeSet<_> = left.union(&of(&third, &Vec::from_iter(0..KEYS))).copied().collect();
    let got = member.take(left.len()).await;
    assert_eq!(
        got.iter().map(place).collect::<BTreeSet<_>>(),
        left,
        "what they had done came again, or something went lost"
    );
    settle(got);
    member.close().await;
    for (partition, end) in kit::ends(&topic, PARTITIONS) {
        assert_eq!(
            kit::committed_of(&group, &topic, partition),
            Some(end),
            "partition {partition}"
        );
    }
}
