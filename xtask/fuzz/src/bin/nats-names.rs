//! Names of streams, consumers and subjects: no two topics, groups or partitions share one, and
//! whatever subject a message has, its key is found without a panic.
#![no_main]

use buslane_core::Topic;
use buslane_nats::fuzzing::names;
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    one: Place<'a>,
    two: Place<'a>,
    subject: &'a str,
    patterns: Vec<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Arbitrary)]
struct Place<'a> {
    group: &'a str,
    topic: &'a str,
    partition: Option<u16>,
}

fuzz_target!(|input: Input<'_>| {
    let [one, two] = [input.one, input.two].map(|place| {
        // The configuration takes the same letters for groups.
        let topics = Topic::new(place.topic).ok().zip(Topic::new(place.group).ok());
        topics.map(|(topic, group)| (topic, group, place.partition.map(u32::from)))
    });
    let (Some(one), Some(two)) = (one, two) else { return };
    let name = |(topic, group, partition): &(Topic, Topic, Option<u32>)| {
        names::durable(group.as_str(), topic, *partition)
    };
    if let (Some(first), Some(second)) = (name(&one), name(&two)) {
        assert_eq!(first == second, one == two, "{first}");
        assert!(!first.contains(['.', '*', '>', ' ', '/', '\\']), "{first}");
    }
    assert_eq!(names::stream(&one.0) == names::stream(&two.0), one.0 == two.0);
    let (topic, _, partition) = &one;
    let own = names::filters(topic, *partition).pop().expect("one or two");
    for subject in [input.subject, &*own, &*format!("{own}.{}", input.subject)] {
        let key = names::key(subject, topic, *partition);
        assert!(key.is_none_or(|key| !key.is_empty() && !key.contains('.')));
    }
    let patterns: Vec<String> = input.patterns.iter().map(|text| (*text).to_owned()).collect();
    let _ = names::partitions(topic, &patterns);
    if names::is_valid(topic) {
        assert_eq!(names::partitions(topic, &names::filters(topic, None)), Some(None));
    }
});
