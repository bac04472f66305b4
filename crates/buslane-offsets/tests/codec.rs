//! The metadata formats: vectors of the Java classes (T7), and arbitrary text (T6). SPEC: K2.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

use allocation_counter::measure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use buslane_offsets::{
    Disposition, DoneMap, Limits, METADATA_LIMIT, MetadataError, Tracker, codec,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const MAX_SPAN: u64 = 1 << 20;
const THEIRS: &str = include_str!("data/parallel-consumer-0.5.3.3.tsv");
const OURS: &str = include_str!("data/read-by-parallel-consumer-0.5.3.3.tsv");

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

struct Vector<'a> {
    format: &'a str,
    committed: u64,
    end: u64,
    open: BTreeSet<u64>,
    metadata: &'a str,
}

fn vectors(text: &str) -> impl Iterator<Item = Vector<'_>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [format, committed, end, open, metadata] = columns[..] else {
            panic!("five columns: {line}")
        };
        let open = open.split(',').filter(|part| *part != "-").flat_map(offsets).collect();
        Vector {
            format,
            committed: committed.parse().unwrap(),
            end: end.parse().unwrap(),
            open,
            metadata,
        }
    })
}

/// `a`, or `a+s*n`.
fn offsets(part: &str) -> Vec<u64> {
    let number = |text: &str| text.parse::<u64>().unwrap();
    let Some((first, steps)) = part.split_once('+') else { return vec![number(part)] };
    let (step, count) = steps.split_once('*').unwrap();
    (0..number(count)).map(|at| number(first) + at * number(step)).collect()
}

fn open_of(done: &DoneMap, end: u64) -> BTreeSet<u64> {
    (done.committed()..end).filter(|offset| !done.contains(*offset)).collect()
}

#[test]
fn inv_t7_k2_metadata_of_the_java_classes_is_read() {
    let mut formats = BTreeSet::new();
    for vector in vectors(THEIRS) {
        let done = codec::decode(vector.metadata, vector.committed, MAX_SPAN).unwrap();
        assert_eq!(
            open_of(&done, vector.end),
            vector.open,
            "{} {}",
            vector.format,
            vector.metadata
        );
        let last = (vector.committed..vector.end).rfind(|offset| !vector.open.contains(offset));
        assert_eq!(done.end(), last.unwrap() + 1, "{} {}", vector.format, vector.metadata);
        formats.insert(vector.format);
    }
    assert_eq!(formats.into_iter().collect::<String>(), "Jaelnops");
}

/// This crate writes metadata that the Java classes have read: the plain formats byte for byte, and
/// those with zstd in a possibly different frame.
#[test]
fn inv_t7_k2_metadata_of_ours_is_read_by_the_java_classes() {
    let mut formats = BTreeSet::new();
    for vector in vectors(OURS) {
        let mut tracker = Tracker::new(vector.committed, Limits::default());
        (vector.committed..vector.end)
            .for_each(|offset| assert_eq!(tracker.deliver(offset), Disposition::New));
        (vector.committed..vector.end)
            .filter(|at| !vector.open.contains(at))
            .for_each(|at| assert!(tracker.complete(at)));
        let commit = tracker.next_commit(METADATA_LIMIT).unwrap();
        assert_eq!((commit.offset, commit.left_out), (vector.committed, 0));
        let format = codec_format(&commit.metadata);
        assert_eq!(format, vector.format);
        if matches!(format, "e" | "o") {
            assert_eq!(commit.metadata, vector.metadata);
        }
        for text in [&commit.metadata, vector.metadata] {
            assert_eq!(
                open_of(&codec::decode(text, commit.offset, MAX_SPAN).unwrap(), vector.end),
                vector.open
            );
        }
        formats.insert(vector.format);
    }
    assert_eq!(formats.into_iter().collect::<String>(), "eops");
}

fn codec_format(metadata: &str) -> &'static str {
    // Base64 of a first byte shows in the first character and half of the second one.
    match metadata.as_bytes()[..2] {
        [b'Z', _] => "e",
        [b'b', _] => "o",
        [b'c', b'A'..=b'P'] => "p",
        _ => "s",
    }
}

/// The fork's formats, written by hand from its description: of 10 offsets, 0, 3 and 9 are open
/// (and 199 of 200).
#[test]
fn the_fork_is_read() {
    let list = [b'd', 0, 0, 0, 10, 3, 0, 3, 6];
    let far = [b'd', 0, 0, 0, 200, 1, 0xc7, 1];
    let open = |text: &str, end| {
        open_of(&codec::decode(text, 50, MAX_SPAN).unwrap(), end).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(open(&base64(&list), 60), [50, 53, 59]);
    assert_eq!(open(&base64(&far), 250), [249]);
    let mut packed = vec![b'D'];
    packed.extend(zstd::bulk::compress(&list[1..], 3).unwrap());
    assert_eq!(open(&base64(&packed), 60), [50, 53, 59]);
    // Z85 of `e`, 1 open, 7 done.
    assert_eq!(open("%wDhYg0rr912l", 58), [50]);
}

#[test]
fn what_is_not_metadata_is_an_error_that_says_why() {
    let decode = |text: &str| codec::decode(text, 0, 1_000).unwrap_err();
    assert!(codec::decode("", 5, 1_000).unwrap().is_empty());
    assert_eq!(decode("my host"), MetadataError::Text);
    assert_eq!(decode("%,"), MetadataError::Text);
    assert_eq!(decode("%"), MetadataError::Truncated);
    for version in [1, 2] {
        assert_eq!(decode(&base64(&[version, 0, 0])), MetadataError::KafkaStreams { version });
    }
    for format in [b'L', 0xee, b'r', b'z', 0] {
        assert_eq!(decode(&base64(&[format, 0, 0])), MetadataError::UnknownFormat { format });
    }
    for truncated in [
        &b"e\0\0\0"[..],
        b"n\0",
        b"o\0\0",
        b"l\0",
        b"l\0\x09\xff",
        b"o\0\0\0\x01",
        b"d\0\0",
        b"d\0\0\0\x09\x01\x80",
    ] {
        assert_eq!(decode(&base64(truncated)), MetadataError::Truncated, "{truncated:?}");
    }
    for malformed in [
        &b"e\xff\xff\xff\xff"[..],
        b"o\xff\xff\xff\xff",
        b"d\0\0\0\x09\x01\x09",
        b"d\0\0\0\x09\x02\x01\x00",
    ] {
        assert_eq!(decode(&base64(malformed)), MetadataError::Malformed, "{malformed:?}");
    }
    assert_eq!(decode(&base64(b"pno frame")), MetadataError::Compressed);
    assert_eq!(decode("ZQAAAAEAAw0+"), MetadataError::TooLong { span: 199_999, limit: 1_000 });
}

/// Bodies that claim more than they contain, and bodies that expand to much more than their size.
#[test]
fn inv_t6_claims_allocate_nothing() {
    let mut bomb = vec![b's'];
    bomb.extend(zstd::bulk::compress(&vec![0x55; 64 << 20], 3).unwrap());
    let mut alternating = (1_u32 << 20).to_be_bytes().to_vec();
    alternating.resize(4 + (1 << 17), 0x55);
    let mut worst = vec![b's'];
    worst.extend(zstd::bulk::compress(&alternating, 3).unwrap());
    let claims = [
        b"e\0\0\0\x01\x7f\xff\xff\xff".to_vec(),
        b"d\x7f\xff\xff\xff\0".to_vec(),
        b"o\x7f\xff\xff\xff\0".to_vec(),
        bomb,
        worst,
    ];
    for claim in &claims {
        let text = base64(claim);
        let used = measure(|| drop(codec::decode(&text, 0, MAX_SPAN)));
        assert!(used.bytes_max <= 16 * MAX_SPAN, "{} bytes for {:?}", used.bytes_max, &claim[..5]);
    }
    let run = measure(|| {
        assert_eq!(
            codec::decode(&base64(&claims[0]), 0, u64::MAX).map(|map| map.done()),
            Err(MetadataError::TooLong { span: 1 << 31, limit: (1 << 31) - 1 })
        )
    });
    assert!(run.bytes_max < 1_000);
    assert_eq!(
        codec::decode(&base64(b"e\0\0\0\x01\x7f\xff\xff\xfe"), 0, u64::MAX).unwrap().done(),
        (1 << 31) - 2
    );
}

proptest! {
    // A multiple of the usual number, which the quick tests make smaller.
    #![proptest_config(ProptestConfig { cases: 20 * ProptestConfig::default().cases, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inv_t6_k2_no_text_panics(text in any::<String>(), committed in any::<u64>(), max_span in any::<u64>()) {
        drop(codec::decode(&text, committed, max_span));
        drop(codec::decode(&format!("%{text}"), committed, max_span));
    }

    #[test]
    fn inv_t6_k2_no_bytes_panic(
        format in prop::sample::select(&b"laosnJepdD\x01L"[..]), body in prop::collection::vec(any::<u8>(), 0..200),
        is_packed in any::<bool>(), committed in any::<u64>(), max_span in 0..(1_u64 << 20)
    ) {
        let body = if is_packed { zstd::bulk::compress(&body, 1).unwrap() } else { body };
        let text = base64(&[&[format], &body[..]].concat());
        if let Ok(done) = codec::decode(&text, committed, max_span) {
            prop_assert!(done.end() - committed <= max_span);
            prop_assert!(done.ranges().all(|range| range.start < range.end));
            let mut tracker = Tracker::restore(done, Limits::default());
            if committed < 1 << 62 {
                let _ = tracker.deliver(committed);
                drop(tracker.next_commit(METADATA_LIMIT));
            }
        }
    }

    /// Small numbers make consistent bodies.
    #[test]
    fn inv_t6_lists_of_small_numbers(
        format in prop::sample::select(&b"osnepdl"[..]), numbers in prop::collection::vec(0..9_u8, 0..60), committed in 0..1_000_u64
    ) {
        let body: Vec<u8> = match format {
            b'e' => numbers.iter().flat_map(|number| u32::from(*number).to_be_bytes()).collect(),
            b'n' => numbers.iter().flat_map(|number| u16::from(*number).to_be_bytes()).collect(),
            _ => [0, 0, 0].into_iter().chain(numbers.iter().map(|number| number * 7)).collect(),
        };
        drop(codec::decode(&base64(&[&[format], &body[..]].concat()), committed, 1_000));
    }
}
