//! [`Records`]: the records of connections in the registry. Concurrent writes share one transaction of the registry.

use std::sync::Arc;
use std::time::SystemTime;

use state::{Durability, Expect, Instance, Key, Registry, RegistryError};

use super::listener::ConnectionEvent;
use super::record::{ConnectionRecord, ProcessRun, RecordKey, UnreadableRecord};
use realtime_engine::{ClientConnection, ConnectionId, NodeId};

/// Records read at a time when the process starts.
const PAGE_KEYS: usize = 500;

/// Writes, reads and removes records. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Records {
    registry: Arc<dyn Registry>,
    instance: Instance,
    node: NodeId,
    life: ProcessRun,
}

/// Why a record could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadRecordError {
    #[error("cannot read the record of a connection")]
    Registry(#[source] RegistryError),
    #[error(transparent)]
    Unreadable(#[from] UnreadableRecord),
}

impl Records {
    pub(crate) fn new(
        registry: Arc<dyn Registry>,
        instance: Instance,
        node: NodeId,
        life: ProcessRun,
    ) -> Self {
        Self { registry, instance, node, life }
    }

    /// The key of this process's record of a connection.
    pub(crate) fn record_key(&self, connection: ConnectionId) -> RecordKey {
        RecordKey { life: self.life, connection }
    }

    /// Writes the record of an open connection; it is on disk when the call returns.
    pub(crate) async fn open(&self, client: &ClientConnection) -> Result<(), RegistryError> {
        self.put(self.record_key(client.id), ConnectionRecord::open(client).to_bytes()).await
    }

    /// Writes how a connection ended; it is on disk when the call returns.
    pub(crate) async fn end(&self, event: &ConnectionEvent) -> Result<(), RegistryError> {
        self.put(self.record_key(event.client.id), ConnectionRecord::ended(event).to_bytes()).await
    }

    /// Removes the record of a connection.
    pub(crate) async fn forget(&self, record_key: RecordKey) -> Result<(), RegistryError> {
        self.registry.delete(&self.instance, &self.key(record_key), Expect::Anything).await.map(drop)
    }

    /// The undelivered `disconnected` of a record; `None` if there is no record.
    pub(crate) async fn load(
        &self,
        record_key: RecordKey,
        now: SystemTime,
    ) -> Result<Option<ConnectionEvent>, LoadRecordError> {
        let entry = self
            .registry
            .get(&self.instance, &self.key(record_key))
            .await
            .map_err(LoadRecordError::Registry)?;
        let Some(entry) = entry else { return Ok(None) };
        let record = ConnectionRecord::parse(&entry.value)?;
        Ok(Some(record.disconnected(&self.instance, record_key.connection, now)?))
    }

    /// The records of earlier processes, at most `records_max`.
    pub(crate) async fn records_of_earlier_processes(
        &self,
        records_max: usize,
    ) -> Result<Vec<RecordKey>, RegistryError> {
        let prefix = RecordKey::prefix(self.node);
        let (mut record_keys, mut after) = (Vec::new(), None);
        loop {
            let page = self.registry.list(&self.instance, &prefix, after.as_ref(), PAGE_KEYS).await?;
            let Some(last) = page.last() else { return Ok(record_keys) };
            after = Some(last.key.clone());
            let found = page.iter().filter_map(|entry| RecordKey::parse(entry.key.as_str(), self.node));
            record_keys.extend(found.filter(|record_key| record_key.life != self.life));
            if record_keys.len() >= records_max {
                tracing::warn!(
                    records_max,
                    "earlier processes left more records of connections than the limit; the disconnected events of the rest are delivered after the next start"
                );
                record_keys.truncate(records_max);
                return Ok(record_keys);
            }
        }
    }

    async fn put(&self, record_key: RecordKey, value: Vec<u8>) -> Result<(), RegistryError> {
        let (key, durable) = (self.key(record_key), Durability::Durable);
        let put = self.registry.put(&self.instance, &key, value.into(), Expect::Anything, durable, None);
        put.await.map(drop)
    }

    fn key(&self, record_key: RecordKey) -> Key {
        Key::new(record_key.key(self.node)).expect("a key of a prefix, two numbers and an id is short")
    }
}
