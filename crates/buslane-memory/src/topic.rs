//! A topic: its partitions, its settings, the round robin of records without a key, and its
//! scripted faults.

use crate::{
    config::MemoryConfig, fault_script::FaultScript, log::LogLimits, partition::Partition,
};
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use buslane_core::{BrokerError, Topic, TopicSettings, TopicStrategy};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) struct TopicState {
    pub(crate) name: Topic,
    partitions: ArcSwap<Vec<Arc<Partition>>>,
    turn: AtomicU64,
    /// The settings in force. All are present except the retention, which is optional.
    settings: Mutex<TopicSettings>,
    max_messages: usize,
    max_message_bytes: usize,
    /// Whether a retention in bytes is configured, so that the oldest records make room while no
    /// group reads.
    keeps_newest_bytes: AtomicBool,
    /// Whether the script has faults left, so that readers avoid the lock of an empty script.
    scripted: AtomicBool,
    script: Mutex<FaultScript>,
    /// The reason for refusing publishes, while they are refused.
    refusal: ArcSwapOption<String>,
}

impl TopicState {
    /// A new topic with the settings of `wanted`, or the broker's defaults.
    pub(crate) fn new(name: Topic, config: &MemoryConfig, wanted: &TopicSettings) -> Self {
        let settings = TopicSettings {
            partitions: Some(wanted.partitions.unwrap_or(config.partitions)),
            replication: Some(1),
            retention: wanted.retention.or(config.retention_seconds.map(Duration::from_secs)),
            retention_bytes: Some(wanted.retention_bytes.unwrap_or(config.max_bytes as u64)),
            compression: None,
            storage: None,
            expand: false,
        };
        let count = settings.partitions.unwrap_or(1);
        let new = Self {
            name,
            partitions: ArcSwap::default(),
            turn: AtomicU64::new(0),
            settings: Mutex::new(settings),
            max_messages: config.max_messages,
            max_message_bytes: config.max_message_bytes,
            keeps_newest_bytes: AtomicBool::new(wanted.retention_bytes.is_some()),
            scripted: AtomicBool::new(false),
            script: Mutex::new(FaultScript::default()),
            refusal: ArcSwapOption::empty(),
        };
        let limits = new.limits(&new.settings.lock());
        new.partitions
            .store(Arc::new((0..count).map(|index| Partition::new(index, limits)).collect()));
        new
    }

    fn limits(&self, settings: &TopicSettings) -> LogLimits {
        let bytes = settings.retention_bytes;
        LogLimits {
            max_messages: self.max_messages,
            max_message_bytes: self.max_message_bytes,
            max_bytes: bytes
                .map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            retention_ms: settings
                .retention
                .map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
            keeps_newest_bytes: self.keeps_newest_bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn partitions(&self) -> Guard<Arc<Vec<Arc<Partition>>>> {
        self.partitions.load()
    }

    /// Takes the turns of `count` records without a key. Their first turn is the one after the
    /// returned turn.
    pub(crate) fn take_turns(&self, count: usize) -> u64 {
        if count == 0 {
            0
        } else {
            self.turn.fetch_add(count as u64, Ordering::Relaxed).wrapping_sub(1)
        }
    }

    pub(crate) fn keeps_newest_bytes(&self) -> bool {
        self.keeps_newest_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn settings(&self) -> TopicSettings {
        self.settings.lock().clone()
    }

    /// Changes the settings that `wanted` names. Returns whether partitions were added.
    pub(crate) fn update(&self, wanted: &TopicSettings) -> Result<bool, BrokerError> {
        let mut settings = self.settings.lock();
        let have = settings.partitions.unwrap_or(1);
        let want = wanted.partitions.unwrap_or(have);
        if want < have {
            return Err(self.refused(
                "partitions",
                format!("has {have}, wanted {want}: a topic never shrinks"),
            ));
        }
        if want > have && !wanted.expand {
            let rule = format!(
                "has {have}, wanted {want}: more partitions move keys, so `expand` must be set"
            );
            return Err(self.refused("partitions", rule));
        }
        settings.partitions = Some(want);
        settings.retention = wanted.retention.or(settings.retention);
        settings.retention_bytes = wanted.retention_bytes.or(settings.retention_bytes);
        self.keeps_newest_bytes.fetch_or(wanted.retention_bytes.is_some(), Ordering::Relaxed);
        let limits = self.limits(&settings);
        let mut partitions = Vec::clone(&self.partitions.load());
        partitions.iter().for_each(|partition| partition.set_limits(limits));
        partitions.extend((have..want).map(|index| Partition::new(index, limits)));
        self.partitions.store(Arc::new(partitions));
        Ok(want > have)
    }

    /// Compares the settings. The error names every setting of `wanted` that differs.
    pub(crate) fn compare(&self, wanted: &TopicSettings) -> Result<(), BrokerError> {
        let have = self.settings();
        let differs = |name: &'static str, have: String, want: Option<String>| {
            want.filter(|want| *want != have)
                .map(|want| (name, format!("is {have}, expected {want}")))
        };
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let duration = |value: Option<Duration>| value.map(|value| format!("{value:?}"));
        let present = |value: Option<String>| value.unwrap_or_else(|| "not set".to_owned());
        let mut found = [
            differs(
                "partitions",
                present(number(have.partitions.map(u64::from))),
                number(wanted.partitions.map(u64::from)),
            ),
            differs("replication", "1".to_owned(), number(wanted.replication.map(u64::from))),
            differs("retention", present(duration(have.retention)), duration(wanted.retention)),
            differs(
                "retention_bytes",
                present(number(have.retention_bytes)),
                number(wanted.retention_bytes),
            ),
        ]
        .into_iter()
        .flatten();
        let Some((setting, mut rule)) = found.next() else { return Ok(()) };
        for (other, difference) in found {
            rule = format!("{rule}; {other}: {difference}");
        }
        Err(self.refused(setting, rule))
    }

    fn refused(&self, setting: &'static str, rule: String) -> BrokerError {
        BrokerError::Setting { topic: self.name.clone(), setting, rule }
    }

    pub(crate) fn is_scripted(&self) -> bool {
        self.scripted.load(Ordering::Acquire)
    }

    /// Changes or advances the script.
    pub(crate) fn script<T>(&self, change: impl FnOnce(&mut FaultScript) -> T) -> T {
        let mut script = self.script.lock();
        let answer = change(&mut script);
        self.scripted.store(!script.is_over(), Ordering::Release);
        answer
    }

    pub(crate) fn refusal(&self) -> Option<String> {
        self.refusal.load().as_deref().cloned()
    }

    pub(crate) fn set_refusal(&self, reason: Option<String>) {
        self.refusal.store(reason.map(Arc::new));
    }
}

/// Checks the rules of `wanted` that apply whether or not the topic exists.
pub(crate) fn check(
    topic: &Topic,
    wanted: &TopicSettings,
    strategy: TopicStrategy,
) -> Result<(), BrokerError> {
    let most = crate::config::MAX_PARTITIONS;
    let broken = match wanted {
        _ if matches!(strategy, TopicStrategy::ValidateOnly | TopicStrategy::Skip) => None,
        TopicSettings { partitions: Some(0), .. } => {
            Some(("partitions", "must be at least 1, found 0".to_owned()))
        }
        TopicSettings { partitions: Some(many), .. } if *many > most => {
            Some(("partitions", format!("must be at most {most}, found {many}")))
        }
        TopicSettings { replication: Some(copies), .. } if *copies != 1 => {
            Some(("replication", format!("is always 1 on the memory broker, wanted {copies}")))
        }
        TopicSettings { storage: Some(_), .. } => Some((
            "storage",
            "the memory broker stores everything in memory, so it must be left out".to_owned(),
        )),
        TopicSettings { compression: Some(_), .. } => Some((
            "compression",
            "the memory broker does not compress, so it must be left out".to_owned(),
        )),
        TopicSettings { retention: Some(time), .. } if time.is_zero() => {
            Some(("retention", "must be longer than 0".to_owned()))
        }
        TopicSettings { retention_bytes: Some(0), .. } => {
            Some(("retention_bytes", "must be at least 1, found 0".to_owned()))
        }
        _ => None,
    };
    match broken {
        Some((setting, rule)) => Err(BrokerError::Setting { topic: topic.clone(), setting, rule }),
        None => Ok(()),
    }
}
