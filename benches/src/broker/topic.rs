//! A topic for the time of a figure.

use super::{Floor, Load};
use tokio::runtime::Runtime;

/// Deleted when it is dropped.
#[derive(Debug)]
pub struct FilledTopic<'a> {
    runtime: &'a Runtime,
    floor: &'a dyn Floor,
    name: String,
    load: Load,
}

impl<'a> FilledTopic<'a> {
    /// Makes the topic.
    ///
    /// # Panics
    /// When the broker refuses.
    #[must_use]
    pub fn empty(runtime: &'a Runtime, floor: &'a dyn Floor, load: Load) -> Self {
        let name = buslane_testkit::server::unique("limits");
        floor.create(runtime, &name, load.partitions);
        Self { runtime, floor, name, load }
    }

    /// Makes the topic and publishes the load.
    ///
    /// # Panics
    /// When the broker refuses.
    #[must_use]
    pub fn new(runtime: &'a Runtime, floor: &'a dyn Floor, load: Load) -> Self {
        let topic = Self::empty(runtime, floor, load);
        floor.fill(runtime, &topic.name, &mut load.records());
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
        self.floor.delete(self.runtime, &self.name);
    }
}
