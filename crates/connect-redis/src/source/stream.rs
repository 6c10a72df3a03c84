//! [`StreamStore`]: the entries of a stream, through a consumer group.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use functions_contract::{Batch, BindingError, SourceBacklog, Value};
use redis::{Cmd, RedisError, Value as Reply};

use super::list::eval;
use super::polling::EntryStore;
use super::recovery::Recovery;
use crate::client::RedisClient;
use crate::fields::{StreamEntry, claimed_entries, entries_value, read_entries};
use crate::owner::{OpenOwner, Owners};
use crate::scripts;
use crate::trigger_options::PollingOptions;

/// The entries of a stream, for one source.
pub(crate) struct StreamStore {
    options: PollingOptions,
    /// The consumer group: `Functions.{name}`, as the Azure Functions host calls a function.
    group: String,
    client: Arc<RedisClient>,
    owners: Owners,
    open: OpenOwner,
    /// The ids of abandoned entries, which are pending for this consumer.
    abandoned: Mutex<BTreeSet<(u64, u64)>>,
    recovery: Recovery,
}

impl StreamStore {
    pub(crate) fn new(options: PollingOptions, client: Arc<RedisClient>, owners: Owners) -> Self {
        let group = format!("Functions.{}", options.function);
        let open = owners.register();
        let recovery = Recovery::every(options.polling_interval);
        Self { options, group, client, owners, open, abandoned: Mutex::default(), recovery }
    }

    fn consumer(&self) -> String {
        self.open.owner.to_string()
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} the stream '{}' for function '{}'", self.options.key, self.options.function)
    }

    fn lock_ms(&self) -> u64 {
        u64::try_from(self.options.lock.as_millis()).unwrap_or(u64::MAX)
    }

    /// Creates the consumer group, and the stream if it does not exist. The group begins with the oldest entry.
    async fn create_group(&self) -> Result<(), BindingError> {
        let mut command = Cmd::new();
        command.arg("XGROUP").arg("CREATE").arg(&self.options.key).arg(&self.group).arg("0").arg("MKSTREAM");
        match self.client.try_query::<()>(&command).await {
            Err(error) if error.code() != Some("BUSYGROUP") => {
                Err(self.client.server.failed(&self.what("create the consumer group of"), error))
            }
            _ => Ok(()),
        }
    }

    /// Consumers of the group that are known to be gone.
    async fn gone_consumers(&self) -> Result<Vec<String>, RedisError> {
        let mut command = Cmd::new();
        command.arg("XINFO").arg("CONSUMERS").arg(&self.options.key).arg(&self.group);
        let consumers: Vec<Reply> = self.client.try_query(&command).await?;
        let names = consumers.iter().filter_map(|consumer| property(consumer, "name")).filter_map(reply_text);
        Ok(names.filter(|name| self.owners.is_gone(name)).collect())
    }

    /// Abandoned entries, then those that others left, then new ones.
    async fn read_once(&self, count: usize) -> Result<Vec<StreamEntry>, RedisError> {
        let mut entries = self.claim_abandoned(count).await?;
        let left = count - entries.len();
        if left > 0 && self.recovery.is_due() {
            let gone = self.gone_consumers().await?;
            let mut command = eval(scripts::CLAIM, &[&self.options.key]);
            command.arg(&self.group).arg(self.consumer()).arg(self.lock_ms()).arg(left);
            command.arg(self.options.batch_size_max).arg(gone);
            entries.extend(parsed(claimed_entries(self.client.try_query(&command).await?))?);
        }
        let left = count - entries.len();
        if left > 0 {
            let mut command = Cmd::new();
            command.arg("XREADGROUP").arg("GROUP").arg(&self.group).arg(self.consumer());
            command.arg("COUNT").arg(left).arg("STREAMS").arg(&self.options.key).arg(">");
            entries.extend(parsed(read_entries(self.client.try_query(&command).await?))?);
        }
        Ok(entries)
    }

    async fn claim_abandoned(&self, count: usize) -> Result<Vec<StreamEntry>, RedisError> {
        let ids: Vec<(u64, u64)> = self.abandoned().iter().take(count).copied().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = eval(scripts::CLAIM_ABANDONED, &[&self.options.key]);
        command.arg(&self.group).arg(self.consumer());
        for (time, number) in &ids {
            command.arg(format!("{time}-{number}"));
        }
        let entries = parsed(claimed_entries(self.client.try_query(&command).await?))?;
        self.abandoned().retain(|id| !ids.contains(id));
        Ok(entries)
    }

    fn abandoned(&self) -> std::sync::MutexGuard<'_, BTreeSet<(u64, u64)>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a script over ids of entries that returns how many belong to this consumer.
    async fn count_own(&self, script: &str, ids: &[String], verb: &str) -> Result<usize, BindingError> {
        let mut command = eval(script, &[&self.options.key]);
        command.arg(&self.group).arg(self.consumer()).arg(ids);
        self.client.query(&self.what(verb), &command).await
    }
}

#[async_trait::async_trait]
impl EntryStore for StreamStore {
    type Entry = StreamEntry;

    async fn read(&self, count: usize) -> Result<Vec<StreamEntry>, BindingError> {
        let what = self.what("read");
        match self.read_once(count).await {
            // The group does not exist yet, or the stream was deleted.
            Err(error) if is_without_group(&error) => {
                self.create_group().await?;
                self.read_once(count).await.map_err(|error| self.client.server.failed(&what, error))
            }
            read => read.map_err(|error| self.client.server.failed(&what, error)),
        }
    }

    async fn complete(&self, ids: &[String]) -> Result<usize, BindingError> {
        self.count_own(scripts::ACKNOWLEDGE, ids, "acknowledge entries of").await
    }

    async fn abandon(&self, ids: &[String]) -> Result<(), BindingError> {
        self.abandoned().extend(ids.iter().filter_map(|id| parts(id)));
        Ok(())
    }

    async fn renew(&self, ids: &[String]) -> Result<usize, BindingError> {
        self.count_own(scripts::RENEW_CLAIM, ids, "renew entries of").await
    }

    async fn backlog(&self) -> Result<SourceBacklog, BindingError> {
        let what = self.what("measure");
        let key = &self.options.key;
        let (mut groups, mut pending) = (Cmd::new(), Cmd::new());
        groups.arg("XINFO").arg("GROUPS").arg(key);
        pending.arg("XPENDING").arg(key).arg(&self.group);
        let groups: Vec<Reply> = match self.client.try_query(&groups).await {
            Ok(groups) => groups,
            Err(error) if is_without_group(&error) => Vec::new(),
            Err(error) => return Err(self.client.server.failed(&what, error)),
        };
        let group = groups
            .iter()
            .find(|group| property(group, "name").and_then(reply_text).as_ref() == Some(&self.group));
        let Some(group) = group else {
            let mut length = Cmd::new();
            length.arg("XLEN").arg(key);
            let items: u64 = self.client.query(&what, &length).await?;
            return Ok(SourceBacklog { items, oldest: self.oldest_after("-").await? });
        };
        let delivered = property(group, "last-delivered-id").and_then(reply_text).unwrap_or_default();
        let undelivered = self.oldest_after(&format!("({delivered}")).await?;
        let lag = match property(group, "lag") {
            Some(Reply::Int(lag)) => u64::try_from(*lag).unwrap_or(0),
            // Redis 6.2, or after deletions: an upper bound, unless nothing is left.
            _ if undelivered.is_none() => 0,
            _ => {
                let mut length = Cmd::new();
                length.arg("XLEN").arg(key);
                self.client.query(&what, &length).await?
            }
        };
        let summary: Vec<Reply> = self.client.query(&what, &pending).await?;
        let pending = match summary.first() {
            Some(Reply::Int(count)) => u64::try_from(*count).unwrap_or(0),
            _ => 0,
        };
        let oldest_pending = summary.get(1).and_then(reply_text).and_then(|id| age(&id));
        Ok(SourceBacklog { items: lag + pending, oldest: oldest_pending.max(undelivered) })
    }

    async fn close(&self) {
        // A consumer with pending entries is left: the next owner claims them, because this one is known to be gone.
        let mut command = eval(scripts::CLAIM, &[&self.options.key]);
        command.arg(&self.group).arg("").arg(self.lock_ms()).arg(0).arg(0).arg(self.consumer());
        if let Err(error) = self.client.try_query::<Reply>(&command).await {
            tracing::debug!(%error, "the consumer could not be deleted");
        }
    }

    fn id(&self, entry: &StreamEntry) -> String {
        entry.id.clone()
    }

    fn delivery_count(&self, entry: &StreamEntry) -> Option<u32> {
        Some(entry.delivery_count)
    }

    fn batch(&self, entries: &[StreamEntry]) -> Batch {
        let mut metadata = vec![("Key".to_owned(), Value::Text(self.options.key.as_str().into()))];
        match entries {
            [entry] if !self.options.is_batched => {
                metadata.push(("Id".to_owned(), Value::Text(entry.id.as_str().into())));
                metadata.push(("Values".to_owned(), Value::Json(entry.values().into())));
            }
            entries => metadata.push(("Count".to_owned(), Value::Integer(entries.len() as i64))),
        }
        Batch {
            data: entries_value(entries, self.options.is_batched),
            metadata,
            item_count: entries.len(),
            origins: Vec::new(),
            reason: format!("New entries in the stream '{}'", self.options.key),
        }
    }

    fn describe(&self) -> String {
        format!("entries of the stream '{}'", self.options.key)
    }
}

impl StreamStore {
    /// The age of the first entry from an id on; `None` if there is none.
    async fn oldest_after(&self, start: &str) -> Result<Option<Duration>, BindingError> {
        let mut command = Cmd::new();
        command.arg("XRANGE").arg(&self.options.key).arg(start).arg("+").arg("COUNT").arg(1);
        let rows: Vec<Reply> = self.client.query(&self.what("measure"), &command).await?;
        let id = match rows.first() {
            Some(Reply::Array(row)) => row.first().and_then(reply_text),
            _ => None,
        };
        // An id without a time has an unknown age, but there is an entry.
        Ok(id.map(|id| age(&id).unwrap_or_default()))
    }
}

/// The two numbers of an id.
fn parts(id: &str) -> Option<(u64, u64)> {
    let (time, number) = id.split_once('-')?;
    Some((time.parse().ok()?, number.parse().ok()?))
}

/// The age by the time in an id. The clocks of server and host may differ.
fn age(id: &str) -> Option<Duration> {
    let written = UNIX_EPOCH.checked_add(Duration::from_millis(StreamEntry::milliseconds(id)?))?;
    Some(SystemTime::now().duration_since(written).unwrap_or_default())
}

/// Whether the stream or its consumer group does not exist.
fn is_without_group(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    error.code() == Some("NOGROUP") || detail.contains("NOGROUP") || detail.contains("no such key")
}

/// A property in a reply of XINFO: names and values in turn.
fn property<'a>(reply: &'a Reply, name: &str) -> Option<&'a Reply> {
    let Reply::Array(columns) = reply else { return None };
    let mut pairs = columns.chunks_exact(2);
    pairs.find(|pair| reply_text(&pair[0]).as_deref() == Some(name)).map(|pair| &pair[1])
}

fn reply_text(reply: &Reply) -> Option<String> {
    match reply {
        Reply::BulkString(bytes) => Some(crate::value::text(bytes)),
        Reply::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

fn parsed(entries: Option<Vec<StreamEntry>>) -> Result<Vec<StreamEntry>, RedisError> {
    let malformed = || {
        RedisError::from((
            redis::ErrorKind::UnexpectedReturnType,
            "the reply contains no entries of a stream",
        ))
    };
    entries.ok_or_else(malformed)
}
