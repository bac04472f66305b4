//! Which pool runs the lanes, and who decided it.

use crate::{NONE, table};
use buslane::config::{ChosenBy, Config};
use std::{ffi::OsString, path::PathBuf};

const ON: &str = "memory: {actor_pool: {enabled: true}}";
const OFF: &str = "memory: {actor_pool: {enabled: false}}";

fn chosen(config: &Config) -> (bool, String) {
    let pools = config.pools();
    (pools.use_actor, pools.chosen_by.to_string())
}

#[test]
fn s1_default_is_the_keyed_pool() {
    assert_eq!(chosen(&Config::default()), (false, "default".into()));
    assert_eq!(chosen(&Config::parse_yaml("memory: {actor_pool: {pool_size: 3}}").unwrap()), (false, "default".into()));
    for url in ["kafka://h:9092", "nats://h"] {
        assert_eq!(chosen(&Config::new(url).unwrap()), (false, "default".into()));
    }
}

#[test]
fn s1_file_then_environment_then_code() {
    let toml = |value| Config::parse_toml(&format!("memory.actor_pool.enabled = {value}")).unwrap();
    for (file, value) in [(ON, true), (OFF, false)] {
        assert_eq!(chosen(&Config::parse_yaml(file).unwrap()), (value, "file".into()));
        assert_eq!(chosen(&toml(value)), (value, "file".into()));
    }
    for (file, list, expected) in [
        (ON, &["BUSLANE_USE_ACTOR_POOL=false"][..], (false, "environment BUSLANE_USE_ACTOR_POOL")),
        (ON, &["MEMORY_USE_ACTOR_POOL=0"], (false, "environment MEMORY_USE_ACTOR_POOL")),
        (OFF, &["BUSLANE_USE_ACTOR_POOL=1"], (true, "environment BUSLANE_USE_ACTOR_POOL")),
        (
            OFF,
            &["BUSLANE_USE_ACTOR_POOL=false", "MEMORY_USE_ACTOR_POOL=true"],
            (true, "environment MEMORY_USE_ACTOR_POOL"),
        ),
        (ON, &["KAFKA_USE_ACTOR_POOL=false"], (true, "file")),
        ("", &["NATS_USE_ACTOR_POOL=true"], (false, "default")),
    ] {
        let mut config = Config::parse_yaml(file).unwrap().with_variables(&table(list)).unwrap();
        assert_eq!(chosen(&config), (expected.0, expected.1.into()), "{file:?} {list:?}");
        config.memory.actor_pool.enabled = !expected.0;
        assert_eq!(chosen(&config), (!expected.0, "code".into()));
    }
}

#[test]
fn s1_load_reads_the_file_and_then_the_environment() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("load.yaml");
    std::fs::write(&path, "group: billing\nkafka: {actor_pool: {enabled: true, pool_size: 7, inbox_size: 8}}\n")
        .unwrap();
    let variables = |name: &str| match name {
        "BUSLANE_CONFIG" => Some(path.clone().into_os_string()),
        "BUSLANE_URL" => Some(OsString::from("kafka://h:9092")),
        "KAFKA_ACTOR_POOL_SIZE" => Some(OsString::from("70")),
        _ => None,
    };
    let config = Config::load_with(&variables).unwrap();
    assert_eq!((config.group.as_str(), config.url.expose()), ("billing", "kafka://h:9092"));
    assert_eq!(chosen(&config), (true, "file".into()));
    assert_eq!((config.kafka.actor_pool.pool_size, config.kafka.actor_pool.inbox_size), (70, 8));
}

#[test]
fn s1_each_backend_has_a_switch_of_its_own() {
    let file = "{kafka: {actor_pool: {enabled: true}}, nats: {actor_pool: {enabled: false}}}";
    let mut config = Config::parse_yaml(file).unwrap();
    for (url, expected) in
        [("memory://", (false, "default")), ("kafka://h:9092", (true, "file")), ("nats://h", (false, "file"))]
    {
        config.url = url.parse().unwrap();
        assert_eq!(chosen(&config), (expected.0, expected.1.into()), "{url}");
    }
}

/// The same configuration holds the settings of both pools; the switch alone turns from one to the other and back.
#[test]
fn s2_the_other_pool_stays_ready() {
    let file = "memory: {keyed_pool: {worker_count: 3, queue_size: 4}, actor_pool: {pool_size: 5, inbox_size: 6}}";
    let before = Config::parse_yaml(file).unwrap().with_variables(NONE).unwrap().pools();
    let on = Config::parse_yaml(file).unwrap().with_variables(&table(&["MEMORY_USE_ACTOR_POOL=true"])).unwrap().pools();
    let off =
        Config::parse_yaml(file).unwrap().with_variables(&table(&["MEMORY_USE_ACTOR_POOL=false"])).unwrap().pools();
    assert_eq!((before.use_actor, on.use_actor, off.use_actor), (false, true, false));
    assert_eq!(off.chosen_by, ChosenBy::Environment("MEMORY_USE_ACTOR_POOL"));
    for pools in [&before, &on, &off] {
        assert_eq!((pools.keyed.worker_count, pools.keyed.queue_size), (3, 4));
        assert_eq!((pools.actor.pool_size, pools.actor.inbox_size), (5, 6));
        assert_eq!(pools.actor.enabled, pools.use_actor);
    }
    assert_eq!(before.keyed, on.keyed);
}
