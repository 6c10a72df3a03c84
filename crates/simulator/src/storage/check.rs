//! Compares the results of calls with the models.

use std::time::SystemTime;

use anyhow::{Result, bail, ensure};
use state::{AppendError, Entry, JournalReadError, LeaseError, Position, RegistryError};

use super::Storage;
use super::calls::{Call, Completed, What, id_of, value_of};
use super::journals::RecordId;
use super::keys::Written;
use crate::system;

impl Storage<'_> {
    /// A call will never return: it took effect or not.
    pub(super) fn interrupted(&mut self, call: &Call) {
        match &call.what {
            // An append in progress may have been written.
            What::Append { .. } => {}
            What::Put { key, written, ttl, .. } => {
                let expires_at = ttl.map(|ttl| SystemTime::now() + ttl);
                self.keys.unsure(key.as_str(), Some(Written { expires_at, ..written.clone() }));
                if ttl.is_some() {
                    // It may have been written so early that it has expired.
                    self.keys.unsure(key.as_str(), None);
                }
            }
            What::Delete { key, .. } => self.keys.unsure(key.as_str(), None),
            What::Acquire { lease } | What::Renew { lease } | What::Release { lease } => {
                self.leases[*lease].is_unsure = true;
            }
            What::Read { .. } | What::Trim { .. } | What::Remove { .. } | What::Get { .. } => {}
        }
    }

    /// Compares a result with the models.
    pub(super) fn completed(&mut self, call: &Call, completed: Completed) -> Result<()> {
        match (&call.what, completed) {
            (What::Append { journal, ids }, Completed::Append(answer)) => {
                self.appended(*journal, ids, answer)
            }
            (What::Read { journal, from }, Completed::Read(answer)) => self.read(*journal, *from, answer),
            (What::Trim { .. }, Completed::Trim(answer)) => match answer {
                Ok(()) => Ok(()),
                // Its journal was removed and created again meanwhile.
                Err(error) if error.cause.is::<JournalReadError>() => Ok(()),
                Err(_) => self.failed(),
            },
            (What::Remove { journal }, Completed::Remove(answer)) => match answer {
                Ok(()) => {
                    self.journals[*journal].removed();
                    Ok(())
                }
                Err(_) => self.failed(),
            },
            (What::Put { .. } | What::Delete { .. } | What::Get { .. }, completed) => {
                self.key_answered(call, completed)
            }
            (What::Acquire { lease } | What::Renew { lease }, Completed::Grant(answer)) => match answer {
                Ok(grant) => self.leases[*lease].granted(grant, SystemTime::now()),
                Err(LeaseError::Held { .. } | LeaseError::Lost { .. }) => Ok(()),
                Err(_) => {
                    self.leases[*lease].is_unsure = true;
                    self.failed()
                }
            },
            (What::Release { lease }, Completed::Release(answer)) => {
                if answer.is_ok() {
                    self.leases[*lease].grant = None;
                    return Ok(());
                }
                self.leases[*lease].is_unsure = true;
                self.failed()
            }
            (what, completed) => bail!("{what:?} was answered with {completed:?}"),
        }
    }

    fn appended(
        &mut self,
        journal: usize,
        ids: &[RecordId],
        answer: Result<Position, AppendError>,
    ) -> Result<()> {
        match answer {
            Ok(at) => self.journals[journal].appended(ids, at),
            Err(AppendError::NoSpace { .. }) => {
                self.allow_failure()?;
                self.journals[journal].refused(ids)
            }
            // Its writer may have panicked before it could respond.
            Err(AppendError::Closed { .. }) if self.has_panicked => self.failed(),
            Err(AppendError::Closed { .. }) => {
                self.failed()?;
                self.journals[journal].refused(ids)
            }
            Err(AppendError::Unknown { .. }) => self.failed(),
            Err(error) => bail!("{error}"),
        }
    }

    fn key_answered(&mut self, call: &Call, completed: Completed) -> Result<()> {
        let now = SystemTime::now();
        match (&call.what, completed) {
            (What::Put { key, expect, written, ttl, after }, Completed::Put(Ok(version))) => {
                let is_expected = self.keys.is_expected(key.as_str(), *expect, now);
                ensure!(is_expected != Some(false), "it succeeded although it expected something else");
                let expires_at = ttl.map(|ttl| now + ttl);
                let written = Written { version: Some(version), expires_at, ..written.clone() };
                self.keys.put(key.as_str(), written, *after)
            }
            (What::Delete { key, .. }, Completed::Delete(Ok(was_there))) => {
                let version = self.keys.version(key.as_str(), now);
                ensure!(
                    version.is_none_or(|version| version.is_some() == was_there),
                    "it says {was_there}, and the key is at {version:?}"
                );
                self.keys.deleted(key.as_str());
                Ok(())
            }
            (
                What::Put { key, expect, .. } | What::Delete { key, expect },
                Completed::Put(Err(RegistryError::Conflict { .. }))
                | Completed::Delete(Err(RegistryError::Conflict { .. })),
            ) => {
                let is_expected = self.keys.is_expected(key.as_str(), *expect, now);
                ensure!(is_expected != Some(true), "a conflict although it is as expected");
                Ok(())
            }
            (_, Completed::Put(Err(_)) | Completed::Delete(Err(_))) => {
                self.interrupted(call);
                self.failed()
            }
            (What::Get { key }, Completed::Get(answer)) => {
                let Ok(found) = answer else { return self.failed() };
                let value = found.as_ref().and_then(|entry| value_of(&entry.value));
                self.keys.read(key.as_str(), found.as_ref(), value, now)
            }
            (what, completed) => bail!("{what:?} was answered with {completed:?}"),
        }
    }

    fn read(
        &mut self,
        journal: usize,
        from: Position,
        answer: Result<Vec<Entry>, JournalReadError>,
    ) -> Result<()> {
        let model = &mut self.journals[journal];
        let (epoch, past, _) = model.positions();
        match answer {
            Ok(entries) => {
                let ids: Vec<_> = entries.iter().map(|entry| id_of(&entry.record)).collect();
                model.read(from, &entries, &ids)
            }
            Err(JournalReadError::EpochChanged(_)) => {
                ensure!(
                    epoch != Some(from.epoch) || past.contains(&from.epoch),
                    "the epoch is the present one"
                );
                Ok(())
            }
            Err(JournalReadError::Trimmed(now)) => {
                ensure!(from.offset.0 < model.trimmed_to(), "nothing was trimmed up to {from:?}: {now:?}");
                Ok(())
            }
            Err(JournalReadError::BeyondEnd(end)) => {
                bail!("{from:?} was given out and is beyond the end at {end:?}")
            }
            Err(error) => self.failed().map_err(|failed| failed.context(error)),
        }
    }

    /// A result that only a full disk explains.
    fn allow_failure(&self) -> Result<()> {
        let is_full = system::disk(|disk| disk.was_full());
        ensure!(is_full || self.needs_restart, "the disk is said to be full, and is not");
        Ok(())
    }

    /// A result that requires a restart: a fault must be the reason.
    fn failed(&mut self) -> Result<()> {
        let has_reason = self.needs_restart
            || system::disk(|disk| disk.was_full())
            || !self.supervisor.not_ready().is_empty()
            || self.has_panicked;
        ensure!(has_reason, "it fails although no fault is the reason");
        self.needs_restart = true;
        Ok(())
    }
}
