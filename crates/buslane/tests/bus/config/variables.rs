//! The environment, without touching the environment of the process.

use super::table;
use buslane::config::{ChosenBy, Config, ConfigError};
use buslane_core::Backend;
use std::ffi::OsString;

fn with(url: &str, list: &'static [&'static str]) -> Result<Config, ConfigError> {
    Config::new(url).unwrap().with_variables(&table(list))
}

#[test]
fn s1_variables_of_every_backend_and_of_one() {
    for (url, prefix) in
        [("memory://", "MEMORY"), ("kafka://h:9092", "KAFKA"), ("nats://h", "NATS")]
    {
        let any = |name: &str| match name {
            "BUSLANE_USE_ACTOR_POOL" => Some(OsString::from("true")),
            "BUSLANE_ACTOR_POOL_SIZE" => Some("8".into()),
            "BUSLANE_ACTOR_INBOX_SIZE" => Some("9".into()),
            "BUSLANE_ACTOR_MAX_RESTARTS" => Some("0".into()),
            _ => None,
        };
        let pools = Config::new(url).unwrap().with_variables(&any).unwrap().pools();
        assert_eq!(
            (pools.use_actor, pools.chosen_by),
            (true, ChosenBy::Environment("BUSLANE_USE_ACTOR_POOL"))
        );
        assert_eq!(
            (pools.actor.pool_size, pools.actor.inbox_size, pools.actor.max_restarts),
            (8, 9, 0)
        );

        let both = |name: &str| match name.strip_prefix(prefix)? {
            "_USE_ACTOR_POOL" => Some(OsString::from("0")),
            "_ACTOR_POOL_SIZE" => Some("65536".into()),
            "_ACTOR_INBOX_SIZE" => Some("11".into()),
            "_ACTOR_MAX_RESTARTS" => Some("4294967295".into()),
            _ => None,
        };
        let both = |name: &str| both(name).or_else(|| any(name));
        let pools = Config::new(url).unwrap().with_variables(&both).unwrap().pools();
        assert!(!pools.use_actor);
        assert_eq!(pools.chosen_by.to_string(), format!("environment {prefix}_USE_ACTOR_POOL"));
        assert_eq!((pools.actor.pool_size, pools.actor.inbox_size), (65_536, 11));
        assert_eq!(pools.actor.max_restarts, u32::MAX);
    }
}

#[test]
fn s1_unreadable_variables_are_errors() {
    const SWITCH: &str = "must be true, false, 1 or 0";
    for (list, expected) in [
        (&["BUSLANE_USE_ACTOR_POOL=yes"][..], format!("BUSLANE_USE_ACTOR_POOL: {SWITCH}, found \"yes\"")),
        (&["BUSLANE_USE_ACTOR_POOL=TRUE"], format!("BUSLANE_USE_ACTOR_POOL: {SWITCH}, found \"TRUE\"")),
        (&["MEMORY_USE_ACTOR_POOL="], format!("MEMORY_USE_ACTOR_POOL: {SWITCH}, found \"\"")),
        (&["MEMORY_USE_ACTOR_POOL=true "], format!("MEMORY_USE_ACTOR_POOL: {SWITCH}, found \"true \"")),
        // Also when a variable that wins could be read.
        (
            &["BUSLANE_USE_ACTOR_POOL=on", "MEMORY_USE_ACTOR_POOL=true"],
            format!("BUSLANE_USE_ACTOR_POOL: {SWITCH}, found \"on\""),
        ),
        (
            &["MEMORY_ACTOR_POOL_SIZE=0"],
            "MEMORY_ACTOR_POOL_SIZE: must be a whole number from 1 to 65536, found \"0\"".into(),
        ),
        (
            &["BUSLANE_ACTOR_POOL_SIZE=65537"],
            "BUSLANE_ACTOR_POOL_SIZE: must be a whole number from 1 to 65536, found \"65537\"".into(),
        ),
        (
            &["BUSLANE_ACTOR_INBOX_SIZE=-1"],
            "BUSLANE_ACTOR_INBOX_SIZE: must be a whole number from 1 to 4294967295, found \"-1\"".into(),
        ),
        (
            &["BUSLANE_ACTOR_INBOX_SIZE=1e3"],
            "BUSLANE_ACTOR_INBOX_SIZE: must be a whole number from 1 to 4294967295, found \"1e3\"".into(),
        ),
        (
            &["MEMORY_ACTOR_MAX_RESTARTS=+3"],
            "MEMORY_ACTOR_MAX_RESTARTS: must be a whole number from 0 to 4294967295, found \"+3\"".into(),
        ),
        (
            &["MEMORY_ACTOR_MAX_RESTARTS=99999999999"],
            "MEMORY_ACTOR_MAX_RESTARTS: must be a whole number from 0 to 4294967295, found \"99999999999\"".into(),
        ),
        (
            &["BUSLANE_URL=redis://h"],
            "BUSLANE_URL: must begin with memory://, kafka:// or nats://, found \"redis://h\"".into(),
        ),
        (&["BUSLANE_URL="], "BUSLANE_URL: must begin with memory://, kafka:// or nats://, found \"\"".into()),
    ] {
        let error = with("memory://", list).unwrap_err();
        assert_eq!(error.to_string(), format!("environment variable {expected}"), "{list:?}");
        assert!(matches!(error, ConfigError::Variable { .. }));
    }
    let error =
        with("memory://", &["BUSLANE_ACTOR_INBOX_SIZE=4294967295"]).unwrap_err().to_string();
    assert!(
        error.starts_with("memory.actor_pool.inbox_size: times pool_size (256) must be at most"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn s1_variables_that_are_not_unicode_are_errors() {
    use std::os::unix::ffi::OsStringExt;
    for variable in ["BUSLANE_URL", "BUSLANE_USE_ACTOR_POOL", "MEMORY_ACTOR_POOL_SIZE"] {
        let error = Config::default()
            .with_variables(&|name| {
                (name == variable).then(|| OsString::from_vec(vec![b'1', 0xff]))
            })
            .unwrap_err();
        let expected = format!(
            "environment variable {variable}: must be Unicode, found bytes that are not UTF-8"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn s1_a_bad_variable_of_another_backend_waits_until_its_backend_is_used() {
    let mut config =
        with("memory://", &["KAFKA_USE_ACTOR_POOL=maybe", "KAFKA_ACTOR_POOL_SIZE=5"]).unwrap();
    assert_eq!(config.validate(), Ok(()));
    assert!(config.validate_for(Backend::Kafka).is_err());
    config.url = "kafka://h:9092".parse().unwrap();
    let error = config.validate().unwrap_err().to_string();
    assert_eq!(
        error,
        "environment variable KAFKA_USE_ACTOR_POOL: must be true, false, 1 or 0, found \"maybe\""
    );
    // Those that could be read are in force already.
    assert_eq!(config.kafka.actor_pool.pool_size, 5);
    assert_eq!(config.memory.actor_pool.pool_size, 256);
}

#[test]
fn s1_the_url_of_the_environment_wins_and_names_the_backend() {
    let config =
        with("memory://", &["BUSLANE_URL=nats://h:4222", "NATS_USE_ACTOR_POOL=1"]).unwrap();
    assert_eq!((config.backend(), config.pools().use_actor), (Backend::Nats, true));
    let error =
        with("nats://h", &["BUSLANE_URL=memory://", "MEMORY_USE_ACTOR_POOL=2"]).unwrap_err();
    assert!(
        matches!(error, ConfigError::Variable { name: "MEMORY_USE_ACTOR_POOL", .. }),
        "{error}"
    );
}

#[test]
fn s1_the_group_has_a_variable_and_the_programs_name_is_its_default() {
    let program = std::env::current_exe().unwrap();
    let name = program.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(Config::default().group, name.trim_end_matches(std::env::consts::EXE_SUFFIX));
    assert_eq!(with("memory://", &["BUSLANE_GROUP=billing"]).unwrap().group, "billing");
    let file = Config::parse_yaml("group: shipping").unwrap();
    assert_eq!(file.clone().with_variables(&table(&[])).unwrap().group, "shipping");
    assert_eq!(file.with_variables(&table(&["BUSLANE_GROUP=billing"])).unwrap().group, "billing");
    for blank in [&["BUSLANE_GROUP="], &["BUSLANE_GROUP= "]] {
        let error = with("memory://", blank).unwrap_err().to_string();
        assert!(
            error.starts_with("environment variable BUSLANE_GROUP: must not be blank, found "),
            "{error}"
        );
    }
}
