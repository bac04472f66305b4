//! A consumer that tells of each message, and a publisher to its topic.

use super::Bare;
use crate::broker::{Arrivals, Echo};
use rdkafka::{
    Message,
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

impl Bare {
    pub(super) fn echo_of(&self, topic: &str, log: &Arc<Arrivals>) -> Echo {
        let producer: FutureProducer = self.producer().create().expect("a client");
        let over = Arc::new(AtomicBool::new(false));
        let (consumer, until, log) = (self.consumer(topic), Arc::clone(&over), Arc::clone(log));
        let polling = thread::spawn(move || {
            while !until.load(Relaxed) {
                if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                    log.arrive(message.expect("a message").payload().unwrap_or_default());
                }
            }
        });
        let topic = topic.to_owned();
        Echo {
            publish: Box::new(move |body| {
                let (producer, topic) = (producer.clone(), topic.clone());
                Box::pin(async move {
                    let record = FutureRecord::to(&topic).payload(&body).key("order-1");
                    producer.send(record, Timeout::Never).await.expect("an acknowledgement");
                })
            }),
            end: Box::new(move || {
                over.store(true, Relaxed);
                polling.join().expect("the bare consumer ends");
            }),
        }
    }
}
