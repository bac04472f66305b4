//! The section of the rollout: what may stand there, and which rule is named when it may not.

use super::table;
use buslane::{
    config::{ChosenBy, Config, RolloutConfig},
    rollout::Advance,
};
use std::path::PathBuf;
use std::time::Duration;

const TOKEN: &str = "0123456789abcdef";

#[test]
fn s3_the_section_is_read_from_yaml_and_toml() {
    // SPEC: S3, S5
    let yaml = "
rollout:
  plan: 10 for 1h, 50 for 1h, 100
  advance: automatic
  guard: false
  window: 10s
  min_messages: 7
  max_p99_increase: 1.5
  max_restart_share: 1
  max_error_increase: 0.001
  max_memory_growth: 2
  memory_patience: 0s
  advance_p99_increase: 0
  advance_restart_share: 1.0
  check_interval: 100ms
  move_deadline: 5s
  token: 0123456789abcdef
";
    let toml = r#"
[rollout]
plan = "10 for 1h, 50 for 1h, 100"
advance = "automatic"
guard = false
window = "10s"
min_messages = 7
max_p99_increase = 1.5
max_restart_share = 1
max_error_increase = 0.001
max_memory_growth = 2
memory_patience = "0s"
advance_p99_increase = 0
advance_restart_share = 1.0
check_interval = "100ms"
move_deadline = "5s"
token = "0123456789abcdef"
"#;
    let enabled = "memory: {actor_pool: {enabled: true}}\n";
    let config = Config::parse_yaml(&(enabled.to_owned() + yaml)).unwrap();
    assert_eq!(
        config.rollout,
        Config::parse_toml(&("memory.actor_pool.enabled = true\n".to_owned() + toml))
            .unwrap()
            .rollout
    );
    let rollout = config.rollout;
    assert_eq!(rollout.plan.as_deref(), Some("10 for 1h, 50 for 1h, 100"));
    assert_eq!(
        (rollout.advance, rollout.guard, rollout.min_messages),
        (Advance::Automatic, false, 7)
    );
    assert_eq!(
        (rollout.window, rollout.memory_patience),
        (Duration::from_secs(10), Duration::ZERO)
    );
    assert_eq!(
        (rollout.check_interval, rollout.move_deadline),
        (Duration::from_millis(100), Duration::from_secs(5))
    );
    let shares = [
        rollout.max_p99_increase,
        rollout.max_restart_share,
        rollout.max_error_increase,
        rollout.max_memory_growth,
        rollout.advance_p99_increase,
        rollout.advance_restart_share,
    ];
    assert_eq!(shares, [1.5, 1.0, 0.001, 2.0, 0.0, 1.0]);
    assert_eq!(rollout.token.unwrap().expose(), TOKEN);
}

#[test]
fn s5_the_limits_have_their_defaults() {
    let rollout = Config::default().rollout;
    assert_eq!(rollout, RolloutConfig::default());
    let shares = [
        rollout.max_p99_increase,
        rollout.max_restart_share,
        rollout.max_error_increase,
        rollout.max_memory_growth,
        rollout.advance_p99_increase,
        rollout.advance_restart_share,
    ];
    assert_eq!(shares, [0.20, 0.05, 0.01, 0.50, 0.05, 0.01]);
    assert_eq!((rollout.window, rollout.min_messages), (Duration::from_secs(60), 1_000));
    assert_eq!((rollout.memory_patience, rollout.guard), (Duration::from_secs(1_800), true));
    assert_eq!((rollout.plan, rollout.token), (None, None));
}

#[test]
fn s5_wrong_settings_are_refused_with_field_and_rule() {
    for (text, expected) in [
        ("window: 999ms", "rollout.window: must be from 1s to 1h, found 999ms"),
        ("window: 2h", "rollout.window: must be from 1s to 1h, found 2h"),
        ("memory_patience: 25h", "rollout.memory_patience: must be from 0s to 24h, found 25h"),
        ("check_interval: 9ms", "rollout.check_interval: must be from 10ms to 1s, found 9ms"),
        ("check_interval: 2s", "rollout.check_interval: must be from 10ms to 1s, found 2s"),
        ("move_deadline: 0s", "rollout.move_deadline: must be from 10ms to 1h, found 0s"),
        ("min_messages: 0", "rollout.min_messages: must be at least 1, found 0"),
        (
            "max_p99_increase: 0",
            "rollout.max_p99_increase: must be more than 0 and at most 100, found 0",
        ),
        (
            "max_p99_increase: 101",
            "rollout.max_p99_increase: must be more than 0 and at most 100, found 101",
        ),
        (
            "max_restart_share: 5",
            "rollout.max_restart_share: must be more than 0 and at most 1, found 5",
        ),
        (
            "max_error_increase: -0.1",
            "rollout.max_error_increase: must be more than 0 and at most 1, found -0.1",
        ),
        (
            "advance_p99_increase: 0.3",
            "rollout.advance_p99_increase: must be from 0 to rollout.max_p99_increase (0.2), found 0.3",
        ),
        (
            "advance_restart_share: -1",
            "rollout.advance_restart_share: must be from 0 to rollout.max_restart_share (0.05), found -1",
        ),
    ] {
        let error = Config::parse_yaml(&format!("rollout: {{{text}}}")).unwrap_err().to_string();
        assert_eq!(error, expected, "{text}");
    }
    for (text, end) in [
        ("max_p99_increase: a lot", "rollout.max_p99_increase: must be a number"),
        ("advance: yes", "unknown variant `yes`, expected one of manual, automatic"),
        ("min_messages: -1", "rollout.min_messages: must be a whole number, 0 or more"),
        (
            "percent: 10",
            "rollout.percent: unknown field `percent`, expected one of plan, advance, guard, window, min_messages, max_p99_increase, max_restart_share, max_error_increase, max_memory_growth, memory_patience, advance_p99_increase, advance_restart_share, check_interval, move_deadline, token",
        ),
    ] {
        let error = Config::parse_yaml(&format!("rollout: {{{text}}}")).unwrap_err().to_string();
        assert!(error.ends_with(end), "{text}: {error}");
    }
}

#[test]
fn s5_limits_that_are_no_numbers_are_refused() {
    for (text, shown) in [("nan", "NaN"), ("inf", "inf"), ("-inf", "-inf")] {
        let error = Config::parse_toml(&format!("rollout.max_p99_increase = {text}"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            format!("rollout.max_p99_increase: must be more than 0 and at most 100, found {shown}")
        );
        assert!(Config::parse_yaml(&format!("rollout: {{max_p99_increase: .{text}}}")).is_err());
    }
}

#[test]
fn s1_variables_set_plan_and_token() {
    let list = &["BUSLANE_ROLLOUT_ADVANCE=automatic", "BUSLANE_ROLLOUT_TOKEN=abcdefghijklmnop"];
    let rollout = Config::default().with_variables(&table(list)).unwrap().rollout;
    assert_eq!(
        (rollout.advance, rollout.token.unwrap().expose()),
        (Advance::Automatic, "abcdefghijklmnop")
    );
    let error = Config::default()
        .with_variables(&table(&["BUSLANE_ROLLOUT_ADVANCE=auto"]))
        .unwrap_err()
        .to_string();
    let expected =
        "environment variable BUSLANE_ROLLOUT_ADVANCE: must be manual or automatic, found \"auto\"";
    assert_eq!(error, expected);
}

#[test]
fn s1_a_token_is_never_shown_and_cannot_be_guessed() {
    let rule = "rollout.token: must be 16 to 512 visible ASCII characters without spaces, found something else, which is not shown";
    let long = "x".repeat(513);
    for token in [
        "",
        "hunter2",
        "0123456789abcde",
        "0123456789abcdef hunter2",
        "hunter2hunter2hunterü",
        &long,
    ] {
        let error = Config::parse_yaml(&format!("rollout: {{token: '{token}'}}")).unwrap_err();
        assert_eq!(error.to_string(), rule);
        assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
    }
    for text in
        ["token: 5550123", "token: [hunter2]", "token: ", "token: {hunter2: 1}", "token: true"]
    {
        let error = Config::parse_yaml(&format!("rollout: {{{text}}}")).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("rollout.token"), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("5550123"), "{said}");
    }
    for text in
        ["token = 5550123", "token = [\"hunter2\"]", "token = { hunter2 = 1 }", "token = true"]
    {
        let error = Config::parse_toml(&format!("[rollout]\n{text}")).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains("hunter2") && !said.contains("5550123"), "{said}");
    }
    let config = Config::parse_yaml("rollout: {token: a-long-secret-token}").unwrap();
    let printed = format!("{config:?}") + &serde_json::to_string(&config).unwrap();
    assert!(!printed.contains("a-long-secret-token"), "{printed}");
}

/// As [`Config::load`], from a file of this name with this text.
fn load(name: &str, text: &str, list: &'static [&'static str]) -> Result<Config, String> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    let variables = table(list);
    let find = |name: &str| {
        if name == "BUSLANE_CONFIG" { Some(path.clone().into()) } else { variables(name) }
    };
    Config::load_with(&find).map_err(|error| error.to_string())
}

#[test]
fn s3_a_plan_begins_unless_somebody_who_stands_higher_does_not_want_it() {
    const PLAN: &str = "{memory: {actor_pool: {enabled: true}}, rollout: {plan: '10 for 1h, 100'}}";
    const SHARE: &str = "memory: {actor_pool: {enabled: true, percent: 50}}";
    for (file, list, plan, percent, by) in [
        (PLAN, &[][..], Some("10 for 1h, 100"), 10, "file"),
        (
            PLAN,
            &["BUSLANE_ROLLOUT_PLAN=5,50"],
            Some("5, 50"),
            5,
            "environment BUSLANE_ROLLOUT_PLAN",
        ),
        (SHARE, &["BUSLANE_ROLLOUT_PLAN=5"], Some("5"), 5, "environment BUSLANE_ROLLOUT_PLAN"),
        (PLAN, &["MEMORY_ACTOR_POOL_PERCENT=0"], None, 0, "environment MEMORY_ACTOR_POOL_PERCENT"),
        (PLAN, &["BUSLANE_USE_ACTOR_POOL=false"], None, 0, "environment BUSLANE_USE_ACTOR_POOL"),
        (SHARE, &[], None, 50, "file"),
    ] {
        let mut config = load("plan.yaml", file, list).unwrap();
        let pools = config.pools();
        assert_eq!(pools.plan.map(|plan| plan.to_string()).as_deref(), plan, "{file} {list:?}");
        assert_eq!(
            (pools.percent, pools.percent_by.to_string()),
            (percent, by.to_owned()),
            "{file} {list:?}"
        );
        config.memory.actor_pool.enabled = true;
        config.rollout.plan = Some("7".to_owned());
        assert_eq!((config.pools().percent, config.pools().percent_by), (7, ChosenBy::Code));
    }
    let plan = load("plan.yaml", PLAN, &["BUSLANE_ROLLOUT_ADVANCE=automatic"])
        .unwrap()
        .pools()
        .plan
        .unwrap();
    assert_eq!(plan.advance(), Advance::Automatic);
}

#[test]
fn s3_a_plan_that_cannot_begin_is_refused_with_the_rule() {
    for (file, list, expected) in [
        (
            "rollout: {plan: '10'}",
            &[][..],
            "rollout.plan: must be left out while memory.actor_pool.enabled is false, found \"10\"",
        ),
        (
            "memory: {actor_pool: {enabled: false}}",
            &["BUSLANE_ROLLOUT_PLAN=10"],
            "environment variable BUSLANE_ROLLOUT_PLAN: must be left out while memory.actor_pool.enabled is false, found \"10\"",
        ),
        (
            "",
            &["BUSLANE_ROLLOUT_PLAN=10", "MEMORY_USE_ACTOR_POOL=0"],
            "environment variable BUSLANE_ROLLOUT_PLAN: must be left out while MEMORY_USE_ACTOR_POOL sets memory.actor_pool.enabled to false, found \"10\"",
        ),
        (
            "{memory: {actor_pool: {enabled: true, percent: 50}}, rollout: {plan: '10'}}",
            &[],
            "rollout.plan: must be left out while memory.actor_pool.percent is set: the plan says which percentages there are, found \"10\"",
        ),
        (
            "memory: {actor_pool: {enabled: true}}",
            &["BUSLANE_ROLLOUT_PLAN=50,10"],
            "environment variable BUSLANE_ROLLOUT_PLAN: the percentages of a plan must rise, found 10 after 50, found \"50,10\"",
        ),
        (
            "{memory: {actor_pool: {enabled: true}}, rollout: {plan: ''}}",
            &[],
            "rollout.plan: a plan needs a stage, such as 10 for 1h, 50 for 1h, 100, found \"\"",
        ),
    ] {
        assert_eq!(load("no_plan.yaml", file, list).unwrap_err(), expected, "{file} {list:?}");
    }
}
