//! A topic of the embedded broker that is filled before its bus starts.

use crate::{BATCH, Batches, Body, BusLoad, Cost, broker::Probe};
use buslane::{Config, EventBus, Message, TopicSettings, TopicStrategy, config::RecoveryStart};
use buslane_memory::{MemberOptions, MemoryBroker, MemoryConfig};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Runtime;

const TOPIC: &str = "orders";
const DEADLINE: Duration = Duration::from_secs(30);
/// Interval of the checks whether everything is handled.
const LOOK: Duration = Duration::from_millis(1);

/// Raw messages that wait for a bus with a handler that does nothing.
#[derive(Debug, Clone, Copy)]
pub struct WaitingLoad {
    /// Messages, rounded down to whole batches.
    pub messages: u64,
    /// Aggregates; at most 4,096.
    pub keys: u64,
}

impl WaitingLoad {
    /// Fills a broker of its own, and handles what waits there, measured from the first message on.
    /// With recovery mode as it is by default, or off.
    ///
    /// # Panics
    /// When a bus refuses, or what waits does not begin the mode.
    #[must_use]
    pub fn run(self, runtime: &Runtime, actors: bool, recovery: bool) -> Cost {
        runtime.block_on(async move {
            let messages = self.messages / BATCH * BATCH;
            let max_messages = usize::try_from(messages).expect("not many");
            let room = MemoryConfig { max_messages, ..MemoryConfig::default() };
            let broker = MemoryBroker::new(room).expect("good settings");
            self.fill(&broker, messages).await;

            let mut config = Config::default();
            config.memory.actor_pool.enabled = actors;
            if !recovery {
                config.recovery.at_start = RecoveryStart::Never;
                config.recovery.on_backlog = false;
            }
            let bus = connect(&broker, "readers", config).await;
            let probe = Arc::new(Probe::default());
            let seen = Arc::clone(&probe);
            let handler = move |_: Message| {
                seen.enter();
                async {}
            };
            bus.subscribe(TOPIC, handler).await.expect("a bus subscribes");
            while bus.pool_stats().ok < messages {
                tokio::time::sleep(LOOK).await;
            }
            let cost = probe.cost(messages);
            assert_eq!(
                bus.recovery().is_active(),
                recovery,
                "what waits begins the mode, where it is not off"
            );
            bus.shutdown(DEADLINE).await.expect("a bus shuts down");
            cost
        })
    }

    async fn fill(self, broker: &MemoryBroker, messages: u64) {
        let bus = connect(broker, "publishers", Config::default()).await;
        let settings = TopicSettings { partitions: Some(8), ..TopicSettings::default() };
        bus.configure_topic(TOPIC, &settings, TopicStrategy::CreateOnly)
            .await
            .expect("a new topic");
        let batches = Batches::new(BusLoad { messages, keys: self.keys, body: Body::Raw });
        for number in 0..messages / BATCH {
            batches.publish(&bus, number).await;
        }
        bus.shutdown(DEADLINE).await.expect("a bus shuts down");
    }
}

async fn connect(broker: &MemoryBroker, group: &str, config: Config) -> EventBus {
    let member = broker.member(MemberOptions::new(group));
    EventBus::with_broker(config, Arc::new(member)).await.expect("a bus connects")
}
