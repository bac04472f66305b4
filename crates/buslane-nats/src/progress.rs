//! How far a group has come in a topic: what the server says of its durable consumers, whichever
//! member reads them.

use crate::{consumers::Consumer, link::Link};
use async_nats::jetstream::{ErrorCode, response::Response};
use buslane_core::{BrokerError, Progress};
use serde::Deserialize;
use serde_json::json;

/// The newest message of a subject. Nothing else of it is read: its headers may be ones that nobody
/// can.
#[derive(Deserialize)]
struct Newest {
    message: Stored,
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
}

impl Consumer {
    /// How far the group has come here; `None` when the consumer does not exist.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn progress(&self, link: &Link) -> Result<Option<Progress>, BrokerError> {
        // The end first: what the consumer says after it counts the message that was found there.
        let end = self.newest(link).await?.map_or(0, |newest| newest + 1);
        let Some(info) = self.find(link).await? else { return Ok(None) };
        let open = info.num_pending + info.num_ack_pending as u64;
        let floor = info.ack_floor.stream_sequence;
        let settled = if open == 0 { floor.max(info.delivered.stream_sequence) } else { floor };
        let (topic, partition) = (self.topic.clone(), self.partition.unwrap_or(0));
        Ok(Some(Progress { topic, partition, end, settled: settled + 1, open }))
    }

    /// The sequence of the newest message that it reads.
    async fn newest(&self, link: &Link) -> Result<Option<u64>, BrokerError> {
        let subject = format!("STREAM.MSG.GET.{}", self.stream);
        let mut newest = None;
        for filter in crate::names::filters(&self.topic, self.partition) {
            let question = json!({ "last_by_subj": filter });
            match link
                .jetstream()
                .request::<_, _, Response<Newest>>(subject.clone(), &question)
                .await
            {
                Ok(Response::Ok(found)) => newest = newest.max(Some(found.message.seq)),
                Ok(Response::Err { error })
                    if [ErrorCode::NO_MESSAGE_FOUND, ErrorCode::STREAM_NOT_FOUND]
                        .contains(&error.error_code()) => {}
                Ok(Response::Err { error }) => {
                    return Err(BrokerError::Unreachable { reason: error.to_string() });
                }
                Err(error) => return Err(BrokerError::Unreachable { reason: error.to_string() }),
            }
        }
        Ok(newest)
    }
}
