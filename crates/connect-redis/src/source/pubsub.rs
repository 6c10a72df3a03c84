//! [`ChannelSource`]: messages of a channel, or of all channels that match a pattern.
//!
//! Redis stores no messages: what is published while there is no subscription, or while the host is being killed, is lost. The
//! guarantees 2 and 3 of [`Source`] hold only within a process: an abandoned message comes again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use functions_contract::{
    Batch, BindingError, KeyClaim, KeysInFlight, Settle, Settlement, Source, SourceBacklog, SourceDelivery,
    Value,
};
use futures_util::StreamExt as _;
use redis::Msg;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::RedisClient;
use crate::error_table;
use crate::fields::json_text;
use crate::value::text;

/// The interval at which a silent subscription is tested.
const PING_EVERY: Duration = Duration::from_secs(15);

/// The longest wait for the answer to such a test.
const PING_MAX: Duration = Duration::from_secs(10);

/// What a subscription listens to.
#[derive(Clone, Debug)]
pub(crate) struct ChannelOptions {
    pub(crate) function: String,
    pub(crate) channel: String,
    pub(crate) is_pattern: bool,
    pub(crate) queued_max: usize,
}

/// A trigger on channels. One message at a time, in the order of the server.
pub(crate) struct ChannelSource {
    options: ChannelOptions,
    client: Arc<RedisClient>,
    subscription: Option<Subscription>,
    in_flight: KeysInFlight,
    returned: Returned,
    number: u64,
}

/// Abandoned messages, in order.
type Returned = Arc<Mutex<VecDeque<Message>>>;

#[derive(Clone, Debug)]
struct Message {
    channel: String,
    payload: Vec<u8>,
}

/// A subscription, and the task that reads it, which ends with it.
struct Subscription {
    messages: mpsc::Receiver<Message>,
    reader: JoinHandle<()>,
}

impl ChannelSource {
    pub(crate) fn new(options: ChannelOptions, client: Arc<RedisClient>) -> Self {
        Self {
            options,
            client,
            subscription: None,
            in_flight: KeysInFlight::default(),
            returned: Returned::default(),
            number: 0,
        }
    }

    fn what(&self) -> String {
        let kind = if self.options.is_pattern { "pattern" } else { "channel" };
        format!("subscribe to the {kind} '{}' for function '{}'", self.options.channel, self.options.function)
    }

    async fn subscribe(&mut self) -> Result<&mut Subscription, BindingError> {
        if self.subscription.is_none() {
            let what = self.what();
            let (mut sink, stream) = self.client.subscription(&what).await?.split();
            let subscribed = match self.options.is_pattern {
                true => sink.psubscribe(&self.options.channel).await,
                false => sink.subscribe(&self.options.channel).await,
            };
            subscribed.map_err(|error| self.client.server.failed(&what, error))?;
            let (sender, messages) = mpsc::channel(self.options.queued_max);
            let reader = tokio::spawn(read(stream, sink, sender, self.options.clone()));
            self.subscription = Some(Subscription { messages, reader });
        }
        Ok(self.subscription.as_mut().expect("just created"))
    }

    fn delivery(&mut self, message: Message, claim: KeyClaim) -> SourceDelivery {
        self.number += 1;
        let batch = batch(&self.options.channel, &message);
        let ordering_key = Some(claim.key().to_owned());
        let settle = SettleMessage { message, returned: Arc::clone(&self.returned), _claim: claim };
        SourceDelivery { ordering_key, ..SourceDelivery::new(batch, self.number.to_string(), settle) }
    }
}

#[async_trait::async_trait]
impl Source for ChannelSource {
    async fn next(&mut self) -> Result<SourceDelivery, BindingError> {
        while self.in_flight.contains(&self.options.channel) {
            self.in_flight.released().await;
        }
        let returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let message = match returned {
            Some(message) => message,
            None => match self.subscribe().await?.messages.recv().await {
                Some(message) => message,
                None => {
                    self.subscription = None;
                    let server = &self.client.server.address;
                    let what = format!("{}: the connection to Redis at {server} broke", self.what());
                    let error = &error_table::UNREACHABLE;
                    return Err(BindingError::System { error, what, retryable: true, cause: None });
                }
            },
        };
        let claim = self.in_flight.claim(&self.options.channel);
        let claim = claim.expect("only this source claims, and it waited for the release");
        Ok(self.delivery(message, claim))
    }

    async fn backlog(&mut self) -> Result<SourceBacklog, BindingError> {
        let queued = self.subscribe().await?.messages.len();
        let in_flight = usize::from(self.in_flight.contains(&self.options.channel));
        let returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner).len();
        Ok(SourceBacklog { items: (queued + in_flight + returned) as u64, oldest: None })
    }

    async fn close(self: Box<Self>) {}
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Moves messages from the connection into a bounded queue until the connection breaks. A message that finds the queue full is dropped.
async fn read(
    mut stream: PubSubStream,
    mut sink: PubSubSink,
    sender: mpsc::Sender<Message>,
    options: ChannelOptions,
) {
    let dropped = AtomicU64::new(0);
    loop {
        let message = match tokio::time::timeout(PING_EVERY, stream.next()).await {
            Ok(Some(message)) => received(&message),
            Ok(None) => return,
            // A connection that is silently lost would never end.
            Err(_) => match tokio::time::timeout(PING_MAX, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => continue,
                _ => return,
            },
        };
        match sender.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return,
            Err(mpsc::error::TrySendError::Full(_)) => {
                let count = dropped.fetch_add(1, Ordering::Relaxed) + 1;
                // At powers of two, so that a flood does not fill the log.
                if count.is_power_of_two() {
                    tracing::warn!(
                        channel = options.channel,
                        count,
                        "messages were dropped, because function '{}' is slower than they come; make it faster, or raise \
                         connect.redis.channel_messages_queued_max",
                        options.function
                    );
                }
            }
        }
    }
}

fn received(message: &Msg) -> Message {
    Message { channel: message.get_channel_name().to_owned(), payload: message.get_payload_bytes().to_vec() }
}

/// What the function receives: a JSON object, as the Azure Functions extension writes it.
fn batch(subscription: &str, message: &Message) -> Batch {
    let payload = text(&message.payload);
    let fields =
        [("SubscriptionChannel", subscription), ("Channel", &message.channel), ("Message", &payload)];
    let members: Vec<String> =
        fields.iter().map(|(name, value)| format!("\"{name}\":{}", json_text(value))).collect();
    let metadata = fields.map(|(name, value)| (name.to_owned(), Value::Text(value.into())));
    Batch {
        data: Value::Text(format!("{{{}}}", members.join(",")).into()),
        metadata: metadata.into(),
        item_count: 1,
        origins: Vec::new(),
        reason: format!("New message on the channel '{}'", message.channel),
    }
}

struct SettleMessage {
    message: Message,
    returned: Returned,
    _claim: KeyClaim,
}

#[async_trait::async_trait]
impl Settle for SettleMessage {
    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), BindingError> {
        if settlement == Settlement::Abandon {
            let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
            returned.push_front(self.message.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_form_of_the_azure_functions_extension() {
        let message = Message { channel: "__keyspace@0__:k".to_owned(), payload: b"set \"x\"".to_vec() };
        let batch = batch("__keyspace@0__:*", &message);
        let expected = r#"{"SubscriptionChannel":"__keyspace@0__:*","Channel":"__keyspace@0__:k","Message":"set \"x\""}"#;
        assert_eq!(batch.data, Value::Text(expected.into()));
        assert_eq!(batch.metadata[2], ("Message".to_owned(), Value::Text("set \"x\"".into())));
    }
}
