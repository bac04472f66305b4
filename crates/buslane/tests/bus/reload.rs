//! Another configuration for a bus that runs. SPEC: S3
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use buslane::{
    BusError, Config, EventBus, PublishError, Record, ReloadReport,
    rollout::{Advance, Plan},
};
use std::{ffi::OsString, path::PathBuf, time::Duration};

const ENABLED: &str = "memory: {actor_pool: {enabled: true}}";
const FIFTY: &str = "memory: {actor_pool: {enabled: true, percent: 50}}";
const TEN: &str = "memory: {actor_pool: {enabled: true, percent: 10}}";
const NONE: &str = "memory: {actor_pool: {enabled: true, percent: 0}}";
const OFF: &str = "memory: {actor_pool: {enabled: false}}";
const PERCENT: &str = "memory.actor_pool.percent";
const SWITCH: &str = "memory.actor_pool.enabled";

/// A file and the variables beside it, as a process finds them.
struct Ground {
    path: PathBuf,
    variables: &'static [(&'static str, &'static str)],
}

impl Ground {
    fn new(name: &str, variables: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            path: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("reload_{name}.yaml")),
            variables,
        }
    }

    fn read(&self, file: &str) -> Config {
        std::fs::write(&self.path, file).unwrap();
        let find = |name: &str| match self.variables.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => Some(OsString::from(value)),
            None if name == "BUSLANE_CONFIG" => Some(self.path.clone().into_os_string()),
            None => None,
        };
        Config::load_with(&find).unwrap()
    }

    async fn start(&self, file: &str) -> EventBus {
        EventBus::connect(self.read(file)).await.unwrap()
    }

    fn reload(&self, bus: &EventBus, file: &str) -> ReloadReport {
        bus.reload(&self.read(file)).unwrap()
    }
}

fn percent(bus: &EventBus) -> u8 {
    bus.rollout().status().percent
}

fn applied(key: &str) -> ReloadReport {
    let mut report = ReloadReport::default();
    report.applied.push(key.to_owned());
    report
}

/// The one key that was refused, and why; nothing else has happened.
fn refused(report: &ReloadReport) -> (&str, &str) {
    assert_eq!(
        (report.applied.len(), report.refused.len(), report.needs_restart.len()),
        (0, 1, 0),
        "{report:?}"
    );
    (&report.refused[0].key, &report.refused[0].reason)
}

async fn is_sent(bus: &EventBus, records: Vec<Record>) -> Result<(), PublishError> {
    bus.publish_batch("a", records)
        .await
        .unwrap()
        .into_iter()
        .try_for_each(|receipt| receipt.map(|_| ()))
}

async fn end(bus: EventBus) {
    bus.shutdown(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn s3_a_share_that_the_file_changes_holds_at_once() {
    let ground = Ground::new("applies", &[]);
    let bus = ground.start(FIFTY).await;
    assert_eq!((percent(&bus), ground.reload(&bus, FIFTY)), (50, ReloadReport::default()));
    for (file, key, expected) in [
        (TEN, PERCENT, 10),
        (NONE, PERCENT, 0),
        (ENABLED, PERCENT, 100),
        (OFF, SWITCH, 0),
        (FIFTY, SWITCH, 50),
    ] {
        assert_eq!((ground.reload(&bus, file), percent(&bus)), (applied(key), expected), "{file}");
        assert_eq!(ground.reload(&bus, file), ReloadReport::default(), "nothing is left of {file}");
    }
    assert_eq!(bus.rollout().status().set_by, "file");
    bus.rollout().settled().await;
    assert_eq!(bus.rollout().status().slots.on_actor, 512);
    assert_eq!(bus.config().memory.actor_pool.percent, Some(50));
    end(bus).await;
}

/// The switch comes from the environment, the share from the file: the file may change what is its
/// own.
#[tokio::test]
async fn s3_a_variable_shadows_only_what_it_names() {
    let ground = Ground::new("beside", &[("MEMORY_USE_ACTOR_POOL", "true")]);
    let bus = ground.start("memory: {actor_pool: {percent: 50}}").await;
    assert_eq!(ground.reload(&bus, "memory: {actor_pool: {percent: 20}}"), applied(PERCENT));
    assert_eq!(percent(&bus), 20);
    // Without a share of its own the variable's switch would mean all of them: the file does not
    // want that.
    let report = ground.reload(&bus, OFF);
    let (key, reason) = refused(&report);
    assert_eq!((key, percent(&bus)), (SWITCH, 20), "a roll-back never raises the share");
    let said =
        "the file would have 0 %, and environment MEMORY_USE_ACTOR_POOL makes it 100 %, which wins";
    assert!(reason.starts_with(said), "{reason}");
    assert_eq!(ground.reload(&bus, NONE), applied(SWITCH));
    assert_eq!(percent(&bus), 0);
    end(bus).await;
}

#[tokio::test]
async fn s3_a_share_that_the_environment_shadows_is_refused_with_that_reason() {
    let ground = Ground::new("shadowed", &[("BUSLANE_ACTOR_POOL_PERCENT", "10")]);
    let bus = ground.start(FIFTY).await;
    assert_eq!(
        (percent(&bus), ground.reload(&bus, FIFTY)),
        (10, ReloadReport::default()),
        "the file has not changed"
    );
    for _ in 0..2 {
        let report = ground.reload(&bus, NONE);
        let reason = "the file would have 0 %, and environment BUSLANE_ACTOR_POOL_PERCENT makes it 10 %, which wins: use PUT /rollout or Rollout, or change the variable and restart";
        assert_eq!(
            (refused(&report), percent(&bus)),
            ((PERCENT, reason), 10),
            "and again, until it is seen to"
        );
    }
    // By hand it goes, and then the file has what it wants.
    bus.rollout().set_percent(0, "alice").unwrap();
    assert_eq!(ground.reload(&bus, NONE), ReloadReport::default());
    end(bus).await;
}

#[tokio::test]
async fn s3_what_was_set_at_run_time_wins_over_the_file() {
    let ground = Ground::new("run_time", &[]);
    let bus = ground.start(FIFTY).await;
    bus.rollout().set_percent(30, "alice").unwrap();
    let report = ground.reload(&bus, NONE);
    let reason = "30 % was set at run time by alice, which wins over file and environment: use PUT /rollout or Rollout";
    assert_eq!((refused(&report), percent(&bus)), ((PERCENT, reason), 30));
    bus.rollout().roll_back("bob");
    assert_eq!(ground.reload(&bus, NONE), ReloadReport::default(), "it is as the file wants it");
    let report = ground.reload(&bus, TEN);
    assert!(
        refused(&report).1.starts_with("0 % was set at run time by bob, which wins"),
        "{report:?}"
    );
    assert_eq!(percent(&bus), 0, "a roll-back is not undone by a file");
    end(bus).await;
}

#[tokio::test]
async fn s3_what_the_program_set_wins_over_the_file() {
    let ground = Ground::new("program", &[]);
    let mut config = ground.read(FIFTY);
    config.memory.actor_pool.percent = Some(33);
    let bus = EventBus::connect(config.clone()).await.unwrap();
    assert_eq!((ground.reload(&bus, FIFTY), percent(&bus)), (ReloadReport::default(), 33));
    let report = ground.reload(&bus, TEN);
    assert!(
        refused(&report).1.starts_with("33 % was set by the program, which wins"),
        "{report:?}"
    );
    config.memory.actor_pool.percent = Some(34);
    assert_eq!(
        (bus.reload(&config).unwrap(), percent(&bus)),
        (applied(PERCENT), 34),
        "the program may change its mind"
    );
    end(bus).await;
}

#[tokio::test]
async fn s3_a_plan_of_the_file_begins_with_the_bus_and_with_a_reload() {
    let ground = Ground::new("plan", &[]);
    let planned = |plan: &str, advance: &str| {
        format!("{ENABLED}\nrollout: {{plan: '{plan}', advance: {advance}}}")
    };
    let bus = ground.start(&planned("10 for 1h, 100", "automatic")).await;
    let status = bus.rollout().status();
    let plan = status.plan.unwrap();
    assert_eq!((status.percent, &*status.set_by, &*plan.stages), (10, "file", "10 for 1h, 100"));
    assert_eq!((plan.advance, bus.status().pool), (Advance::Automatic, "split"));
    assert_eq!(ground.reload(&bus, &planned("20 for 1h, 100", "manual")), applied("rollout.plan"));
    let status = bus.rollout().status();
    assert_eq!((status.percent, &*status.plan.unwrap().stages), (20, "20 for 1h, 100"));
    // Without the plan the file wants every key there.
    assert_eq!((ground.reload(&bus, ENABLED), percent(&bus)), (applied("rollout.plan"), 100));
    assert!(bus.rollout().status().plan.is_none());
    let plan: Plan = "5, 10".parse().unwrap();
    bus.rollout().begin(plan, "alice").unwrap();
    let report = ground.reload(&bus, &planned("20", "manual"));
    assert_eq!(refused(&report).0, "rollout.plan");
    assert_eq!(percent(&bus), 5);
    end(bus).await;
}

#[tokio::test]
async fn b8_limits_that_the_file_changes_hold_at_once() {
    // SPEC: B8
    let ground = Ground::new("limits", &[]);
    let bus = ground.start("limits: {topics: {a: {subscribe: {}}}}").await;
    let file = "limits: {publish: {per_second: 1, burst: 1}, topics: {b: {publish: {burst: 7}}}}";
    let report = ground.reload(&bus, file);
    let keys = ["limits.publish", "limits.topics.a.subscribe", "limits.topics.b.publish"];
    assert_eq!(
        (&*report.applied, report.refused.len(), report.needs_restart.len()),
        (&keys.map(str::to_owned)[..], 0, 0)
    );
    assert_eq!(ground.reload(&bus, file), ReloadReport::default());
    // One goes at once, and the next would have to wait longer than it may.
    let patience = bus.config().publish_timeout;
    assert!(patience > Duration::from_secs(2));
    bus.publish("a", "first").await.unwrap();
    let many = vec![Record::from("x"); 20];
    assert!(is_sent(&bus, many.clone()).await.is_err(), "20 messages take 20 seconds");
    assert_eq!(
        ground.reload(&bus, "limits: {publish: {per_second: 10000000, burst: 100000}}").applied,
        [keys[0], keys[2]]
    );
    is_sent(&bus, many).await.unwrap();
    end(bus).await;
}

#[tokio::test]
async fn s3_what_needs_a_restart_is_named_and_an_error_changes_nothing() {
    let ground = Ground::new("restart", &[]);
    let bus = ground.start(FIFTY).await;
    let file = "group: other\nmemory: {actor_pool: {enabled: true, percent: 10, pool_size: 7}}\nrollout: {token: 0123456789abcdef}";
    for applied in [&[PERCENT][..], &[]] {
        let report = ground.reload(&bus, file);
        assert_eq!(
            (&*report.applied, percent(&bus)),
            (&applied.iter().map(ToString::to_string).collect::<Vec<_>>()[..], 10)
        );
        assert_eq!(report.needs_restart, ["group", "memory.actor_pool.pool_size", "rollout.token"]);
    }
    let mut wrong = Config::default();
    wrong.memory.actor_pool.percent = Some(70);
    let error = bus.reload(&wrong).unwrap_err();
    assert!(matches!(error, BusError::Config(_)), "{error}");
    assert_eq!(percent(&bus), 10);
    bus.shutdown(Duration::from_secs(10)).await.unwrap();
    assert!(matches!(bus.reload(&Config::default()), Err(BusError::Closed)));
}
