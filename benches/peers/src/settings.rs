//! RustStream's settings, with which its client is as fast as the one of the bus.

use buslane_benches::kafka::server;
use ruststream_rdkafka::prelude::*;

/// A broker whose clients send at once.
pub(crate) fn broker() -> KafkaBroker {
    KafkaBroker::new([server()])
        .config("socket.nagle.disable", "true")
        .producer_config("enable.idempotence", "true")
        .producer_config("linger.ms", "0")
}

pub(crate) trait Tuned {
    /// A topic read from its start by a group of its own. Without the shorter backoff the client
    /// stops fetching for a second whenever its queue is full.
    fn tuned(name: &str) -> Self;
}

impl Tuned for KafkaTopic {
    fn tuned(name: &str) -> Self {
        Self::new(name)
            .group(format!("peer-{}", std::process::id()))
            .commit(Commit::Tracked)
            .start(StartOffset::Earliest)
            .lane_key(LaneKey::RecordKey)
            .config("queued.min.messages", "5000")
            .config("queued.max.messages.kbytes", "16384")
            .config("fetch.queue.backoff.ms", "5")
    }
}
