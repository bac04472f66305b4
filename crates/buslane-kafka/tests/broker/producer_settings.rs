//! The producer's settings have their effect: on stored batches, and on the partitions of keys.

use super::{
    batches::{StoredBatch, stored_batches},
    kit,
};
use buslane_core::{Record, Topic};
use buslane_kafka::{Compression, KafkaConfig, Partitioner, ProducerConfig};
use buslane_testkit::{
    broker_suite::{publish, record},
    server::unique,
};
use std::time::Duration;

/// A producer with this linger puts records of one call into few batches.
const LINGER: Duration = Duration::from_secs(1);

/// Publishes records in one call to a new topic with one partition, and returns the batches.
async fn batches_of(producer: ProducerConfig, records: Vec<Record>) -> Vec<StoredBatch> {
    let topic = kit::topic("batches", 1, &[]).await;
    publish_with(producer, &topic, records).await;
    tokio::task::spawn_blocking(move || stored_batches(&topic)).await.expect("no panic")
}

/// Publishes records with these settings, and returns their partitions.
async fn publish_with(producer: ProducerConfig, topic: &Topic, records: Vec<Record>) -> Vec<u32> {
    let member = kit::connect(KafkaConfig { producer, ..kit::config(&unique("g")) }).await;
    let receipts = publish(&member.broker, topic, records).await;
    member.close().await;
    receipts.iter().map(|receipt| receipt.partition).collect()
}

/// Records of 500 bytes, which compress well.
fn records(count: usize) -> Vec<Record> {
    (0..count).map(|n| record("k", format!("{n:0500}"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_compression_is_that_of_stored_batches() {
    let each = [
        (Compression::None, 0),
        (Compression::Gzip, 1),
        (Compression::Snappy, 2),
        (Compression::Lz4, 3),
        (Compression::Zstd, 4),
    ];
    for (compression, number) in each {
        let producer = ProducerConfig { compression, linger: LINGER, ..ProducerConfig::default() };
        let batches = batches_of(producer, records(100)).await;
        assert!(
            batches.iter().all(|batch| batch.compression == number),
            "{compression:?}: {batches:?}"
        );
        let bytes: usize = batches.iter().map(|batch| batch.bytes).sum();
        assert_eq!(bytes < 20_000, number != 0, "{compression:?}: {bytes} of 50,000 bytes");
    }
}

/// A record that comes later is still in time for the batch of an earlier one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_records_that_linger_share_a_batch() {
    let topic = kit::topic("batches", 1, &[]).await;
    let producer = ProducerConfig { linger: Duration::from_secs(5), ..ProducerConfig::default() };
    let member = kit::connect(KafkaConfig { producer, ..kit::config(&unique("g")) }).await;
    member.broker.ensure_topic(&topic).await.expect("a topic");
    let later = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        publish(&member.broker, &topic, records(1)).await
    };
    tokio::join!(publish(&member.broker, &topic, records(1)), later);
    member.close().await;
    let batches = tokio::task::spawn_blocking(move || stored_batches(&topic)).await;
    let batches = batches.expect("no panic");
    assert_eq!(batches.iter().map(|batch| batch.records).collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_batch_bytes_bound_a_batch() {
    let producer =
        ProducerConfig { batch_bytes: 2_000, linger: LINGER, ..ProducerConfig::default() };
    let batches = batches_of(producer, records(100)).await;
    assert_eq!(batches.iter().map(|batch| batch.records).sum::<usize>(), 100);
    assert!(batches.iter().all(|batch| batch.bytes <= 2_000), "{batches:?}");
    assert!(batches.iter().any(|batch| batch.records > 1), "{batches:?}");
}

/// `Utils.murmur2` of Kafka's Java client.
fn murmur2(key: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let mix = |word: u32| {
        let word = word.wrapping_mul(MIX);
        (word ^ word >> 24).wrapping_mul(MIX)
    };
    let length = u32::try_from(key.len()).expect("a short key");
    let (words, rest) = key.as_chunks();
    let mut hash = words.iter().fold(0x9747_b28c ^ length, |hash, word| {
        hash.wrapping_mul(MIX) ^ mix(u32::from_le_bytes(*word))
    });
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(MIX);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MIX);
    hash ^ hash >> 15
}

/// FNV-1a as Go producers use it: the sign of the hash is lost after the division.
fn fnv1a(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The values of the Java client's own test.
#[test]
fn k5_murmur2_has_the_values_of_java() {
    let golden: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    for (key, hash) in golden {
        assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
    }
}

/// The partitioner decides as the producers of the language that it names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_keys_have_the_partitions_of_other_languages() {
    const PARTITIONS: i32 = 7;
    let keys: Vec<String> = (0..200).map(|n| format!("order-{n}")).collect();
    let java = |key: &String| (murmur2(key.as_bytes()) & 0x7fff_ffff) % PARTITIONS.unsigned_abs();
    let go = |key: &String| (fnv1a(key.as_bytes()).cast_signed() % PARTITIONS).unsigned_abs();
    let expected: [(Partitioner, Vec<u32>); 2] = [
        (Partitioner::Murmur2, keys.iter().map(java).collect()),
        (Partitioner::Fnv1a, keys.iter().map(go).collect()),
    ];
    let topic = kit::topic("keys", PARTITIONS, &[]).await;
    for (partitioner, expected) in expected {
        let producer = ProducerConfig { partitioner, ..ProducerConfig::default() };
        let records = keys.iter().map(|key| record(key, "x")).collect();
        assert_eq!(publish_with(producer, &topic, records).await, expected, "{partitioner:?}");
    }
}
