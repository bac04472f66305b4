//! The client alone, which is the limit. It has the settings that the bus gives it, where they
//! decide how fast it is.

use crate::{
    Cost,
    broker::{Arrivals, Echo, Floor, Form},
};
use async_nats::{
    ConnectOptions,
    jetstream::{self, Context, stream},
};
use buslane::{
    Config, Record,
    config::{ActorPoolConfig, KeyedPoolConfig},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::runtime::Runtime;

/// Clients of one NATS. Topics are streams in files, each with one subject.
#[derive(Debug)]
pub struct Bare {
    servers: String,
}

impl Bare {
    /// Clients of the NATS that the environment names.
    ///
    /// # Panics
    /// When it names none.
    #[must_use]
    pub fn of_environment() -> Self {
        Self { servers: buslane_testkit::server::address("NATS_URL").replace("nats://", "") }
    }

    pub(super) async fn connect(&self) -> Context {
        let servers: Vec<String> =
            self.servers.split(',').map(|server| format!("nats://{server}")).collect();
        let client =
            ConnectOptions::new().client_capacity(16_384).connect(servers).await.expect("a server");
        jetstream::new(client)
    }
}

impl Floor for Bare {
    fn url(&self) -> String {
        format!("nats://{}", self.servers)
    }

    fn pools<'a>(
        &self,
        config: &'a mut Config,
    ) -> (&'a mut KeyedPoolConfig, &'a mut ActorPoolConfig) {
        (&mut config.nats.keyed_pool, &mut config.nats.actor_pool)
    }

    fn create(&self, runtime: &Runtime, topic: &str, _: u32) {
        let config = stream::Config {
            name: topic.to_owned(),
            subjects: vec![topic.to_owned()],
            storage: stream::StorageType::File,
            duplicate_window: Duration::from_secs(120),
            ..stream::Config::default()
        };
        runtime
            .block_on(async { self.connect().await.create_stream(config).await })
            .expect("a stream");
    }

    fn fill(&self, runtime: &Runtime, topic: &str, records: &mut dyn Iterator<Item = Record>) {
        runtime
            .block_on(async { super::publish::all(&self.connect().await, topic, records).await });
    }

    fn delete(&self, runtime: &Runtime, topic: &str) {
        let _ = runtime.block_on(async { self.connect().await.delete_stream(topic).await });
    }

    fn read(&self, runtime: &Runtime, topic: &str, messages: u64) -> Cost {
        runtime.block_on(async { super::read::all(&self.connect().await, topic, messages).await })
    }

    fn stored(&self, runtime: &Runtime, topic: &str, _: u32) -> Vec<Bytes> {
        runtime.block_on(async { super::read::stored(&self.connect().await, topic).await })
    }

    fn different(&self, messages: u64) -> u64 {
        messages + 1
    }

    fn publish(&self, runtime: &Runtime, topic: &str, form: Form, messages: u64) -> Cost {
        self.publish_records(runtime, topic, form, messages)
    }

    fn echo(&self, runtime: &Runtime, topic: &str, log: &Arc<Arrivals>) -> Echo {
        self.echo_of(runtime, topic, log)
    }
}
