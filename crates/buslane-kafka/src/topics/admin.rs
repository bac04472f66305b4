//! The client that changes topics: there is one while something is done to a topic, and none at
//! rest. Of an idle one nobody would read what it has to say: each line and each error of an outage
//! would stay in memory for as long as it lives.

use rdkafka::{
    ClientConfig, admin::AdminClient, client::DefaultClientContext, config::FromClientConfig,
    error::KafkaResult,
};
use std::{ops::Deref, thread};

/// # Drop behaviour
/// The client ends on a thread of its own, because it waits for its threads.
pub(super) struct Admin(Option<AdminClient<DefaultClientContext>>);

impl Admin {
    /// Makes a client, which may take a moment. It connects when it is used.
    pub(super) fn new(config: &ClientConfig) -> KafkaResult<Self> {
        AdminClient::from_config(config).map(|client| Self(Some(client)))
    }
}

impl Deref for Admin {
    type Target = AdminClient<DefaultClientContext>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("the client is taken out only when this is dropped")
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        let client = self.0.take();
        // Without a thread to be had it ends here.
        drop(
            thread::Builder::new()
                .name("buslane-kafka-admin-end".to_owned())
                .spawn(move || drop(client)),
        );
    }
}
