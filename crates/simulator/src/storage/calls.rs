//! [`Call`]: a pending call of the store.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use state::{
    AppendError, Durability, Entry, Expect, Grant, Journal, JournalReadError, Key, KeyEntry, Lease,
    LeaseError, Name, Position, Record, Registry, RegistryError, RemoveError, TrimError, Version,
};

use super::journals::RecordId;
use super::keys::Written;
use super::names::{instance, journal_name, lease_name};

/// A pending call.
pub(super) struct Call {
    pub(super) what: What,
    answer: Pin<Box<dyn Future<Output = Completed>>>,
}

/// The request.
#[derive(Debug)]
pub(super) enum What {
    Append { journal: usize, ids: Vec<RecordId> },
    Read { journal: usize, from: Position },
    Trim { journal: usize },
    Remove { journal: usize },
    Put { key: Key, expect: Expect, written: Written, ttl: Option<Duration>, after: Version },
    Delete { key: Key, expect: Expect },
    Get { key: Key },
    Acquire { lease: usize },
    Renew { lease: usize },
    Release { lease: usize },
}

/// The result.
#[derive(Debug)]
pub(super) enum Completed {
    Append(Result<Position, AppendError>),
    Read(Result<Vec<Entry>, JournalReadError>),
    Trim(Result<(), TrimError>),
    Remove(Result<(), RemoveError>),
    Put(Result<Version, RegistryError>),
    Delete(Result<bool, RegistryError>),
    Get(Result<Option<KeyEntry>, RegistryError>),
    Grant(Result<Grant, LeaseError>),
    Release(Result<(), LeaseError>),
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

/// A record of about `bytes` bytes that contains its name.
pub(super) fn content(id: RecordId, bytes: usize) -> Record {
    let mut body = Vec::with_capacity(bytes + 8);
    body.put_u64_le(id);
    body.extend((0..bytes).map(|at| (id as usize + at) as u8));
    let headers = vec![("id".to_owned(), Bytes::from(id.to_string()))];
    Record { headers, body: body.into() }
}

/// The name of a record, if it is one that [`content`] made.
pub(super) fn id_of(record: &Record) -> Option<RecordId> {
    let id = record.body.clone().try_get_u64_le().ok()?;
    (*record == content(id, record.body.len() - 8)).then_some(id)
}

pub(super) fn value_of(mut value: &[u8]) -> Option<u64> {
    value.try_get_u64_le().ok()
}

impl Call {
    fn new(what: What, answer: impl Future<Output = Completed> + 'static) -> Self {
        Self { what, answer: Box::pin(answer) }
    }

    pub(super) fn append(journal: Arc<dyn Journal>, number: usize, ids: Vec<RecordId>, bytes: usize) -> Self {
        let records = ids.iter().map(|id| content(*id, bytes)).collect();
        let name = journal_name(number);
        let answer = async move { Completed::Append(journal.append(&instance(), &name, records).await) };
        Self::new(What::Append { journal: number, ids }, answer)
    }

    pub(super) fn read(journal: Arc<dyn Journal>, number: usize, from: Position, records: usize) -> Self {
        let name = journal_name(number);
        let answer =
            async move { Completed::Read(journal.read(&instance(), &name, from, records, 1 << 20).await) };
        Self::new(What::Read { journal: number, from }, answer)
    }

    pub(super) fn trim(journal: Arc<dyn Journal>, number: usize, below: Position) -> Self {
        let name = journal_name(number);
        let answer = async move { Completed::Trim(journal.trim(&instance(), &name, below).await) };
        Self::new(What::Trim { journal: number }, answer)
    }

    pub(super) fn remove(journal: Arc<dyn Journal>, number: usize) -> Self {
        let name: Name = journal_name(number);
        let answer = async move { Completed::Remove(journal.remove(&instance(), &name).await) };
        Self::new(What::Remove { journal: number }, answer)
    }

    pub(super) fn put(
        registry: Arc<dyn Registry>,
        key: Key,
        value: u64,
        expect: Expect,
        durability: Durability,
        ttl: Option<Duration>,
        after: Version,
    ) -> Self {
        let written = Written { value, version: None, durability, expires_at: None };
        let what = What::Put { key: key.clone(), expect, written, ttl, after };
        let bytes = Bytes::copy_from_slice(&value.to_le_bytes());
        Self::new(what, async move {
            Completed::Put(registry.put(&instance(), &key, bytes, expect, durability, ttl).await)
        })
    }

    pub(super) fn delete(registry: Arc<dyn Registry>, key: Key, expect: Expect) -> Self {
        let what = What::Delete { key: key.clone(), expect };
        Self::new(what, async move { Completed::Delete(registry.delete(&instance(), &key, expect).await) })
    }

    pub(super) fn get(registry: Arc<dyn Registry>, key: Key) -> Self {
        let what = What::Get { key: key.clone() };
        Self::new(what, async move { Completed::Get(registry.get(&instance(), &key).await) })
    }

    pub(super) fn acquire(leases: Arc<dyn Lease>, number: usize, owner: usize, ttl: Duration) -> Self {
        let (name, owner) = (lease_name(number), format!("owner {owner}"));
        Self::new(What::Acquire { lease: number }, async move {
            Completed::Grant(leases.acquire(&instance(), &name, &owner, ttl).await)
        })
    }

    pub(super) fn renew(leases: Arc<dyn Lease>, number: usize, grant: Grant, ttl: Duration) -> Self {
        Self::new(What::Renew { lease: number }, async move {
            Completed::Grant(leases.renew(&instance(), &grant, ttl).await)
        })
    }

    pub(super) fn release(leases: Arc<dyn Lease>, number: usize, grant: Grant) -> Self {
        Self::new(What::Release { lease: number }, async move {
            Completed::Release(leases.release(&instance(), grant).await)
        })
    }

    pub(super) fn poll(&mut self) -> Poll<Completed> {
        self.answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    pub(super) fn journal(&self) -> Option<usize> {
        match self.what {
            What::Append { journal, .. }
            | What::Read { journal, .. }
            | What::Trim { journal }
            | What::Remove { journal } => Some(journal),
            _ => None,
        }
    }

    pub(super) fn removes(&self, number: usize) -> bool {
        matches!(self.what, What::Remove { journal } if journal == number)
    }

    pub(super) fn key(&self) -> Option<&Key> {
        match &self.what {
            What::Put { key, .. } | What::Delete { key, .. } | What::Get { key } => Some(key),
            _ => None,
        }
    }

    pub(super) fn lease(&self) -> Option<usize> {
        match self.what {
            What::Acquire { lease } | What::Renew { lease } | What::Release { lease } => Some(lease),
            _ => None,
        }
    }
}
