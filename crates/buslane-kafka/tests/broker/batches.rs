//! Record batches as a broker stores them: a Fetch request of its own, because every client takes
//! batches apart.

use super::kit;
use buslane_core::Topic;
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// The head of a stored batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredBatch {
    /// Bytes of the batch.
    pub(crate) bytes: usize,
    /// The number of its compression in the protocol.
    pub(crate) compression: u16,
    pub(crate) records: usize,
}

/// A request for all that partition 0 of a topic stores.
fn fetch(topic: &Topic) -> Vec<u8> {
    const FETCH: i16 = 1;
    const VERSION: i16 = 4;
    let mut body = Vec::new();
    body.extend([FETCH, VERSION].map(i16::to_be_bytes).as_flattened());
    // The correlation id and no client id.
    body.extend([0, 0, 0, 7, 0xff, 0xff]);
    let (replica, max_wait, min_bytes, max_bytes) = (-1, 0, 1, 64 << 20);
    body.extend([replica, max_wait, min_bytes, max_bytes].map(i32::to_be_bytes).as_flattened());
    // Uncommitted records too, and one topic.
    body.extend([0, 0, 0, 0, 1]);
    body.extend(u16::try_from(topic.len()).expect("a short name").to_be_bytes());
    body.extend(topic.as_bytes());
    let (partitions, partition) = (1_i32, 0_i32);
    body.extend([partitions, partition].map(i32::to_be_bytes).as_flattened());
    body.extend(0_i64.to_be_bytes());
    body.extend(max_bytes.to_be_bytes());
    let mut request = u32::try_from(body.len()).expect("short").to_be_bytes().to_vec();
    request.extend(body);
    request
}

/// Takes numbers from the front of an answer.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    /// Reads a big-endian number of `bytes` bytes.
    fn number(&mut self, bytes: usize) -> usize {
        self.take(bytes).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }
}

/// The batches of partition 0, whose leader is the only broker.
pub(crate) fn stored_batches(topic: &Topic) -> Vec<StoredBatch> {
    let mut broker = TcpStream::connect(kit::servers()).expect("a broker that listens");
    broker.set_read_timeout(Some(kit::PATIENCE)).expect("a timeout");
    broker.write_all(&fetch(topic)).expect("sent");
    let mut size = [0; 4];
    broker.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    broker.read_exact(&mut answer).expect("a whole answer");
    let mut answer = Reader(&answer);
    // The correlation id, the throttle time, and the number of topics.
    answer.take(12);
    let name = answer.number(2);
    answer.take(name);
    // The number of partitions, and the partition.
    answer.take(8);
    assert_eq!(answer.number(2), 0, "the error of the partition");
    // The high watermark, the last stable offset, and no list of aborted transactions.
    answer.take(20);
    let bytes = answer.number(4);
    let mut batches = Reader(answer.take(bytes));
    let mut stored = Vec::new();
    while !batches.0.is_empty() {
        // The offset.
        batches.take(8);
        let bytes = batches.number(4);
        let mut batch = Reader(batches.take(bytes));
        // The leader's epoch, the version, and the checksum.
        batch.take(9);
        let compression = u16::try_from(batch.number(2) & 7).expect("three bits");
        // The last offset, two times, and the producer with its epoch and sequence.
        batch.take(34);
        stored.push(StoredBatch { bytes, compression, records: batch.number(4) });
    }
    stored
}
