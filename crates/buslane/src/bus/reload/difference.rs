//! Where two configurations differ.

use crate::Config;
use buslane_core::Backend;
use serde_json::{Value, to_value};
use std::collections::BTreeSet;

/// Keys whose values differ, in order, without those that a reload looks after itself. Of what is
/// never shown the section is named.
pub(super) fn keys(old: &Config, new: &Config, backend: Backend) -> Vec<String> {
    let mut found = BTreeSet::new();
    // A configuration can always be written: it was read.
    let (old_values, new_values) =
        (to_value(old).unwrap_or_default(), to_value(new).unwrap_or_default());
    walk(String::new(), &old_values, &new_values, &mut found);
    let own = [
        format!("{backend}.actor_pool.enabled"),
        format!("{backend}.actor_pool.percent"),
        "rollout.plan".to_owned(),
    ];
    found.retain(|key| !own.contains(key) && !key.starts_with("limits."));
    for (section, is_same) in [
        ("url", old.url == new.url),
        ("rollout.token", old.rollout.token == new.rollout.token),
        ("kafka.properties", old.kafka.properties == new.kafka.properties),
        ("kafka.security", old.kafka.security == new.kafka.security),
        ("nats.security", old.nats.security == new.nats.security),
    ] {
        if !is_same && !found.iter().any(|key| key.starts_with(section)) {
            found.insert(section.to_owned());
        }
    }
    found.into_iter().collect()
}

fn walk(key: String, old: &Value, new: &Value, found: &mut BTreeSet<String>) {
    let (Value::Object(old_keys), Value::Object(new_keys)) = (old, new) else {
        if old != new {
            found.insert(key);
        }
        return;
    };
    let names: BTreeSet<_> = old_keys.keys().chain(new_keys.keys()).collect();
    for name in names {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        let of =
            |keys: &serde_json::Map<String, Value>| keys.get(name).cloned().unwrap_or_default();
        walk(key, &of(old_keys), &of(new_keys), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differ(old: &str, new: &str) -> Vec<String> {
        let (old, new) = (Config::parse_yaml(old).unwrap(), Config::parse_yaml(new).unwrap());
        keys(&old, &new, old.backend())
    }

    #[test]
    fn s3_every_key_that_needs_a_restart_is_named() {
        assert_eq!(differ("", ""), Vec::<String>::new());
        assert_eq!(
            differ("group: a", "group: b\nretry: {attempts: 7}"),
            ["group", "retry.attempts"]
        );
        assert_eq!(differ("terminal: skip", "terminal: {dead_letter: {topic: t}}"), ["terminal"]);
        let enabled = "memory: {actor_pool: {enabled: true, percent: 5}}";
        assert_eq!(differ("", enabled), Vec::<String>::new(), "that is looked after");
        assert_eq!(
            differ("", "kafka: {actor_pool: {enabled: true}}"),
            ["kafka.actor_pool.enabled"],
            "not the backend in use"
        );
        assert_eq!(differ("", "limits: {publish: {}}"), Vec::<String>::new(), "that too");
        assert_eq!(differ("", "rollout: {window: 5s}"), ["rollout.window"]);
    }

    #[test]
    fn s3_a_secret_that_has_changed_is_named_and_not_shown() {
        let token = |text: &str| format!("rollout: {{token: {text}}}");
        assert_eq!(
            differ(&token("0123456789abcdef"), &token("fedcba9876543210")),
            ["rollout.token"]
        );
        assert_eq!(differ("", &token("fedcba9876543210")), ["rollout.token"]);
        assert_eq!(differ("url: nats://u:one@h", "url: nats://u:two@h"), ["url"]);
        let property =
            |value: &str| format!("kafka: {{properties: {{sasl.kerberos.service.name: {value}}}}}");
        assert_eq!(differ(&property("one"), &property("two")), ["kafka.properties"]);
    }
}
