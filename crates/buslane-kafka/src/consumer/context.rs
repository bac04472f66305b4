//! The callbacks of librdkafka: rebalances, logs and errors.
//!
//! The polling thread holds the lock of the member except while it polls the client. librdkafka
//! calls back for rebalances during that poll, on the same thread, so nothing ever waits for the
//! lock.

use super::member::GroupMember;
use crate::error_log::ErrorLog;
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

pub(super) struct Context {
    pub(super) member: Mutex<GroupMember>,
    pub(super) errors: Arc<ErrorLog>,
    pub(super) symptoms: Arc<Symptoms>,
    /// Whether a rebalance waits until all members have joined. `false` for the protocol in which
    /// the brokers assign.
    pub(super) has_join_barrier: bool,
    /// Whether the member reads any topic.
    pub(super) is_subscribed: AtomicBool,
}

impl Context {
    /// Reports the symptom that the member waits for its partitions.
    pub(super) fn note_unsettled(&self, why: &str) {
        if self.has_join_barrier && self.is_subscribed.load(Ordering::Relaxed) {
            self.symptoms.note(SymptomKind::GroupUnsettled, None, why);
        }
    }

    /// Clears that symptom: the member has its partitions, or needs none.
    pub(super) fn note_settled(&self) {
        self.symptoms.clear(SymptomKind::GroupUnsettled, None);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.errors.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.errors.error(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let mut member = self.member.lock();
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let answer = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            member.assigned(consumer, list);
            self.note_settled();
            if cooperative { consumer.incremental_assign(list) } else { consumer.assign(list) }
        } else {
            member.revoked(consumer, list, consumer.assignment_lost());
            self.note_unsettled("the group assigns its partitions anew");
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = answer {
            // A fatal error of the client ends its assignment. The polling thread receives the
            // error too.
            tracing::warn!(%error, "rebalance was not answered");
        }
    }
}
