//! A topic for the time of a figure.

use super::{Bare, Load};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use tokio::runtime::Runtime;

/// Deleted when it is dropped.
pub struct FilledTopic<'a> {
    runtime: &'a Runtime,
    admin: AdminClient<DefaultClientContext>,
    name: String,
    load: Load,
}

impl<'a> FilledTopic<'a> {
    /// Makes the topic.
    ///
    /// # Panics
    /// When Kafka refuses.
    #[must_use]
    pub fn empty(runtime: &'a Runtime, load: Load) -> Self {
        let _inside = runtime.enter();
        let bare = Bare::new(&super::server());
        let admin: AdminClient<_> = bare.client().create().expect("a client");
        let name = buslane_testkit::server::unique("limits");
        let topic = NewTopic::new(&name, load.partitions, TopicReplication::Fixed(1));
        let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).expect("an answer");
        made.into_iter().for_each(|topic| drop(topic.expect("a topic")));
        Self { runtime, admin, name, load }
    }

    /// Makes the topic and publishes the load.
    ///
    /// # Panics
    /// When Kafka refuses.
    #[must_use]
    pub fn new(runtime: &'a Runtime, load: Load) -> Self {
        let topic = Self::empty(runtime, load);
        let bare = Bare::new(&super::server());
        bare.send_all(&bare.base_producer(&topic.name), &topic.name, load.records());
        topic
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What lies in it.
    #[must_use]
    pub const fn load(&self) -> Load {
        self.load
    }
}

impl Drop for FilledTopic<'_> {
    fn drop(&mut self) {
        // The broker may be the user's own; what is left there is a pity and no reason to fail.
        let _ = self.runtime.block_on(self.admin.delete_topics(&[&self.name], &AdminOptions::new()));
    }
}
