//! Where librdkafka calls back: rebalances, logs and errors.
//!
//! The polling thread holds the lock of the owner except while it polls the client, which is when a rebalance calls
//! back, on that thread. So the lock is never waited for.

use super::owner::Owner;
use crate::reasons::Reasons;
use parking_lot::Mutex;
use rdkafka::{
    TopicPartitionList,
    client::ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use std::sync::Arc;

pub(crate) struct Context {
    pub(super) owner: Mutex<Owner>,
    pub(super) reasons: Arc<Reasons>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reasons.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reasons.error(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let mut owner = self.owner.lock();
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let answer = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            owner.assigned(consumer, list);
            if cooperative { consumer.incremental_assign(list) } else { consumer.assign(list) }
        } else {
            owner.revoked(consumer, list, consumer.assignment_lost());
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = answer {
            // A fatal error of the client ends its assignment; the polling loop hears of it.
            tracing::warn!(%error, "rebalance was not answered");
        }
    }
}
