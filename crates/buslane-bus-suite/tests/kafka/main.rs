//! The bus on Kafka: a real broker, and the mock cluster of librdkafka. SPEC: K1, O3

mod across;
mod contract;
mod crash;
mod fixture;
mod health;
mod letters;
mod mock;
mod recovery;
mod traces;
