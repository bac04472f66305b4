//! Names of streams, consumers and subjects on the server.
//!
//! Names of streams and consumers have no dots. A dot becomes `=`, which no topic and no group
//! contains, so `a.b` and `a_b` stay distinct. The name of a durable consumer holds its group,
//! topic and partition: `billing@orders@3`.

use buslane_core::{BrokerError, Topic};

/// The longest name of a stream or consumer, because the server creates a folder of that name.
const LONGEST: usize = 255;

/// The name of the stream that is created for a topic.
pub(crate) fn stream(topic: &Topic) -> String {
    token(topic)
}

/// A topic or a group without dots: one token of a subject, or a name.
pub(crate) fn token(text: &str) -> String {
    text.replace('.', "=")
}

/// The durable consumer of a group that reads a topic, or one partition of it.
///
/// # Errors
/// When the name is too long for the server.
pub(crate) fn durable(
    group: &str,
    topic: &Topic,
    partition: Option<u32>,
) -> Result<String, BrokerError> {
    let mut name = format!("{}@{}", token(group), token(topic));
    if let Some(partition) = partition {
        name += &format!("@{partition}");
    }
    if name.len() > LONGEST {
        let rule = format!(
            "group and topic make a name of {} characters; a durable consumer's has {LONGEST} at most",
            name.len()
        );
        return Err(BrokerError::Setting { topic: topic.clone(), setting: "group", rule });
    }
    Ok(name)
}

/// The subject of a topic, or of one of its partitions.
pub(crate) fn subject(topic: &Topic, partition: Option<u32>) -> String {
    match partition {
        Some(partition) => format!("{topic}.{partition}"),
        None => topic.to_string(),
    }
}

/// The subjects that a consumer of a topic or of a partition reads. More tokens may follow the
/// partition: the tokens of a key, when the server chooses the partition by a mapping.
pub(crate) fn filters(topic: &Topic, partition: Option<u32>) -> Vec<String> {
    let subject = subject(topic, partition);
    match partition {
        Some(_) => vec![format!("{subject}.>"), subject],
        None => vec![subject],
    }
}

/// The key in a message's subject: the last token, unless that token is the partition's number.
pub(crate) fn key<'a>(subject: &'a str, topic: &Topic, partition: Option<u32>) -> Option<&'a str> {
    if partition
        .is_some_and(|partition| subject.len() <= self::subject(topic, Some(partition)).len())
    {
        return None;
    }
    subject.rsplit('.').next().filter(|token| !token.is_empty())
}

/// The subjects of a topic's stream.
pub(crate) fn subjects(topic: &Topic, partitions: Option<u32>) -> Vec<String> {
    match partitions {
        Some(count) => (0..count).flat_map(|partition| filters(topic, Some(partition))).collect(),
        None => filters(topic, None),
    }
}

/// The number of partitions that a stream with these subjects has for a topic: `Some(None)` when
/// the topic is not partitioned, `None` when the stream does not cover the topic. A partition
/// counts if the stream names its exact subject.
pub(crate) fn partitions(topic: &Topic, subjects: &[String]) -> Option<Option<u32>> {
    if subjects.iter().any(|pattern| covers(pattern, topic)) {
        return Some(None);
    }
    let has = |partition: &u32| subjects.contains(&subject(topic, Some(*partition)));
    let count = (0..MOST_PARTITIONS).take_while(has).count();
    (count > 0).then(|| u32::try_from(count).ok())
}

/// The largest number of partitions of a topic.
pub(crate) use crate::config::MOST_PARTITIONS;

/// Whether a subject with wildcards covers one without wildcards.
fn covers(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    let mut pattern = pattern.split('.');
    loop {
        match (pattern.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}

/// Refuses a topic that is not a valid subject.
///
/// # Errors
/// When a token of the topic is empty.
pub(crate) fn check(topic: &Topic) -> Result<(), BrokerError> {
    if topic.split('.').all(|token| !token.is_empty()) {
        return Ok(());
    }
    let rule =
        "must be a NATS subject: without a dot at an end, and without two dots in a row".to_owned();
    Err(BrokerError::Setting { topic: topic.clone(), setting: "topic", rule })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topic(name: &str) -> Topic {
        Topic::new(name).unwrap()
    }

    proptest! {
        #[test]
        fn n2_durable_names_are_injective(
            one in ("[a-c._-]{1,4}", "[a-c._-]{3,6}", prop::option::of(0_u32..12)),
            two in ("[a-c._-]{1,4}", "[a-c._-]{3,6}", prop::option::of(0_u32..12)),
        ) {
            let name = |(group, name, partition): &(String, String, Option<u32>)| durable(group, &topic(name), *partition).unwrap();
            prop_assert_eq!(name(&one) == name(&two), one == two);
            prop_assert!(!name(&one).contains(['.', '*', '>', ' ', '/', '\\']));
        }

        #[test]
        fn n2_stream_names_are_injective(one in "[a-c._-]{3,6}", two in "[a-c._-]{3,6}") {
            prop_assert_eq!(stream(&topic(&one)) == stream(&topic(&two)), one == two);
        }
    }

    #[test]
    fn n2_names_that_the_server_cannot_hold_are_refused() {
        let error =
            durable(&"g".repeat(100), &topic(&"t".repeat(200)), None).unwrap_err().to_string();
        assert!(error.contains("301 characters") && error.contains("group"), "{error}");
        for bad in ["...", "a..b", ".a", "a."] {
            let error = check(&topic(bad)).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("dots"), "{error}");
        }
        assert_eq!(check(&topic("a.b_c-9")), Ok(()));
    }

    #[test]
    fn r1_the_last_token_of_a_subject_is_a_key_and_a_partitions_number_is_none() {
        let orders = topic("shop.orders");
        assert_eq!(key("shop.orders", &orders, None), Some("orders"));
        assert_eq!(key("shop.orders.12", &orders, Some(12)), None);
        assert_eq!(key("shop.orders.12.order-7", &orders, Some(12)), Some("order-7"));
        assert_eq!(key("shop.orders.12.eu.order-7", &orders, Some(12)), Some("order-7"));
    }

    #[test]
    fn n5_partitions_are_read_from_the_subjects_of_a_stream() {
        let orders = topic("orders");
        assert_eq!(partitions(&orders, &subjects(&orders, None)), Some(None));
        for count in [1, 2, 8] {
            assert_eq!(partitions(&orders, &subjects(&orders, Some(count))), Some(Some(count)));
        }
        assert_eq!(partitions(&orders, &subjects(&topic("mails"), Some(2))), None);
        assert_eq!(partitions(&topic("business.orders"), &["business.>".to_owned()]), Some(None));
        assert_eq!(partitions(&topic("business"), &["business.>".to_owned()]), None);
        assert_eq!(filters(&orders, Some(3)), ["orders.3.>", "orders.3"]);
    }
}
