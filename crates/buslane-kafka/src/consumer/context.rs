//! Where librdkafka calls back: rebalances, logs and errors.
//!
//! The polling thread holds the lock of the owner except while it polls the client, which is when a
//! rebalance calls back, on that thread. So the lock is never waited for.

use super::owner::Owner;
use crate::reasons::Reasons;
use buslane_core::{SymptomKind, Symptoms};
use parking_lot::Mutex;
use rdkafka::{
    TopicPartitionList,
    client::ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

pub(crate) struct Context {
    pub(super) owner: Mutex<Owner>,
    pub(super) reasons: Arc<Reasons>,
    pub(super) symptoms: Arc<Symptoms>,
    /// A change of the group waits for all of its members.
    pub(super) is_barrier: bool,
    /// It reads some topic.
    pub(super) is_member: AtomicBool,
}

impl Context {
    /// This member waits for its share.
    pub(super) fn waits(&self, why: &str) {
        if self.is_barrier && self.is_member.load(Ordering::Relaxed) {
            self.symptoms.note(SymptomKind::GroupUnsettled, None, why);
        }
    }

    /// It has its share, or reads nothing.
    pub(super) fn rests(&self) {
        self.symptoms.clear(SymptomKind::GroupUnsettled, None);
    }
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
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let mut owner = self.owner.lock();
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let answer = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            owner.assigned(consumer, list);
            self.rests();
            if cooperative { consumer.incremental_assign(list) } else { consumer.assign(list) }
        } else {
            owner.revoked(consumer, list, consumer.assignment_lost());
            self.waits("the group shares its partitions out anew");
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = answer {
            // A fatal error of the client ends its assignment; the polling loop hears of it.
            tracing::warn!(%error, "rebalance was not answered");
        }
    }
}
