//! [`ListStore`]: the entries of a list.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use functions_contract::{Batch, BindingError, SourceBacklog, Value};
use redis::Cmd;

use super::polling::EntryStore;
use super::recovery::Recovery;
use crate::client::RedisClient;
use crate::owner::{OpenOwner, Owners};
use crate::pending::ListKeys;
use crate::scripts;
use crate::trigger_options::{ListDirection, PollingOptions};
use crate::value::{text, text_or_bytes};

/// The entries of a list, for one source.
pub(crate) struct ListStore {
    options: PollingOptions,
    direction: ListDirection,
    client: Arc<RedisClient>,
    keys: ListKeys,
    owners: Owners,
    open: OpenOwner,
    /// Numbers of entries, unique for this owner.
    next_id: AtomicU64,
    recovery: Recovery,
}

/// An entry with its number in the hash of its owner.
pub(crate) struct ListEntry {
    id: u64,
    value: Vec<u8>,
}

impl ListStore {
    pub(crate) fn new(
        options: PollingOptions,
        direction: ListDirection,
        client: Arc<RedisClient>,
        owners: Owners,
    ) -> Self {
        let keys = ListKeys::new(&options.key, &options.function);
        let open = owners.register();
        let recovery = Recovery::every(options.polling_interval);
        Self { options, direction, client, keys, owners, open, next_id: AtomicU64::new(0), recovery }
    }

    fn owner(&self) -> String {
        self.open.owner.to_string()
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} the list '{}' for function '{}'", self.options.key, self.options.function)
    }

    /// The command that pops an entry, and the one that puts it back to the same end.
    fn commands(&self) -> (&'static str, &'static str) {
        match self.direction {
            ListDirection::Left => ("LPOP", "LPUSH"),
            ListDirection::Right => ("RPOP", "RPUSH"),
        }
    }

    /// Moves entries of owners that are gone back to the list.
    async fn recover(&self, also: Option<String>) -> Result<(), BindingError> {
        let what = self.what("recover entries of");
        let mut range = Cmd::new();
        range.arg("ZRANGE").arg(&self.keys.owners).arg(0).arg(-1);
        let owners: Vec<String> = self.client.query(&what, &range).await?;
        let gone: Vec<String> =
            owners.into_iter().filter(|name| self.owners.is_gone(name)).chain(also).collect();
        let mut command = eval(scripts::RECOVER, &[&self.keys.list, &self.keys.owners]);
        command.arg(self.commands().1).arg(&self.keys.pending_prefix).arg(gone);
        let moved: u64 = self.client.query(&what, &command).await?;
        if moved > 0 {
            tracing::info!(list = self.options.key, moved, "entries of an owner that is gone were put back");
        }
        Ok(())
    }
}

/// EVAL with its keys; the arguments follow.
pub(super) fn eval(script: &str, keys: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg("EVAL").arg(script).arg(keys.len()).arg(keys);
    command
}

#[async_trait::async_trait]
impl EntryStore for ListStore {
    type Entry = ListEntry;

    async fn read(&self, count: usize) -> Result<Vec<ListEntry>, BindingError> {
        if self.recovery.is_due() {
            self.recover(None).await?;
        }
        let first = self.next_id.fetch_add(count as u64, Ordering::Relaxed);
        let owner = self.owner();
        let pending = self.keys.pending(&owner);
        let mut command = eval(scripts::POP, &[&self.keys.list, &pending, &self.keys.owners]);
        command.arg(count).arg(self.commands().0).arg(milliseconds(&self.options)).arg(first).arg(owner);
        let values: Vec<Vec<u8>> = self.client.query(&self.what("read"), &command).await?;
        Ok((first..).zip(values).map(|(id, value)| ListEntry { id, value }).collect())
    }

    async fn complete(&self, ids: &[String]) -> Result<usize, BindingError> {
        let owner = self.owner();
        let mut command = eval(scripts::COMPLETE, &[&self.keys.pending(&owner), &self.keys.owners]);
        command.arg(owner).arg(ids);
        self.client.query(&self.what("complete entries of"), &command).await
    }

    async fn abandon(&self, ids: &[String]) -> Result<(), BindingError> {
        let owner = self.owner();
        let mut ids: Vec<u64> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        // The one that was popped first is pushed last, so that it is popped first again.
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        let pending = self.keys.pending(&owner);
        let mut command = eval(scripts::ABANDON, &[&self.keys.list, &pending, &self.keys.owners]);
        command.arg(self.commands().1).arg(owner).arg(ids);
        self.client.query::<u64>(&self.what("put back entries of"), &command).await.map(drop)
    }

    async fn renew(&self, ids: &[String]) -> Result<usize, BindingError> {
        let owner = self.owner();
        let mut command = eval(scripts::RENEW, &[&self.keys.pending(&owner), &self.keys.owners]);
        command.arg(milliseconds(&self.options)).arg(owner).arg(&ids[..1]);
        let renewed: usize = self.client.query(&self.what("renew entries of"), &command).await?;
        // The lock is that of the owner: it loses all entries or none.
        Ok(renewed * ids.len())
    }

    async fn backlog(&self) -> Result<SourceBacklog, BindingError> {
        let what = self.what("measure");
        let (mut length, mut pending) = (Cmd::new(), Cmd::new());
        length.arg("LLEN").arg(&self.keys.list);
        pending.arg("HLEN").arg(self.keys.pending(&self.owner()));
        let waiting: u64 = self.client.query(&what, &length).await?;
        let unsettled: u64 = self.client.query(&what, &pending).await?;
        Ok(SourceBacklog { items: waiting + unsettled, oldest: None })
    }

    async fn close(&self) {
        if let Err(error) = self.recover(Some(self.owner())).await {
            tracing::debug!(%error, "entries could not be put back; they come again when their lock expires");
        }
    }

    fn id(&self, entry: &ListEntry) -> String {
        entry.id.to_string()
    }

    fn delivery_count(&self, _: &ListEntry) -> Option<u32> {
        None
    }

    fn batch(&self, entries: &[ListEntry]) -> Batch {
        let key = ("Key".to_owned(), Value::Text(self.options.key.as_str().into()));
        let (data, metadata) = match entries {
            [entry] if !self.options.is_batched => {
                let value = ("Value".to_owned(), Value::Text(text(&entry.value).into()));
                (text_or_bytes(entry.value.clone()), vec![key, value])
            }
            entries => {
                let values = entries.iter().map(|entry| text_or_bytes(entry.value.clone())).collect();
                let count = ("Count".to_owned(), Value::Integer(entries.len() as i64));
                (Value::Many(values), vec![key, count])
            }
        };
        Batch {
            data,
            metadata,
            item_count: entries.len(),
            origins: Vec::new(),
            reason: format!("New entries in the list '{}'", self.options.key),
        }
    }

    fn describe(&self) -> String {
        format!("entries of the list '{}'", self.options.key)
    }
}

fn milliseconds(options: &PollingOptions) -> u64 {
    u64::try_from(options.lock.as_millis()).unwrap_or(u64::MAX)
}
