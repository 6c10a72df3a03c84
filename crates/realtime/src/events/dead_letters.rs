//! [`DeadLetters`]: the events that could not be delivered, in a journal, with the reason. Bounded in number and age.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_messages::ErrorChain;
use serde::{Deserialize, Serialize};
use state::{
    AppendError, Entry, Epoch, Instance, Journal, JournalInfo, JournalReadError, Name, Offset, Position,
    Record,
};

use super::Options;
use super::listener::{ConnectionChange, ConnectionEvent};
use super::record::unix_ms;

/// The journal's name.
const JOURNAL: &str = "realtime-dead-letters";

/// Number of dead letters after which the limit is checked again.
const TRIM_EVERY: u64 = 64;

/// Records and bytes read at a time.
const READ_RECORDS: usize = 200;
const READ_BYTES: usize = 1024 * 1024;

/// An event that could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Its number; later letters have higher numbers.
    #[serde(default)]
    pub number: u64,
    /// The listener.
    pub listener: String,
    /// `connected` or `disconnected`.
    pub event: String,
    /// The hub.
    pub hub: String,
    /// The id of the connection.
    pub connection_id: String,
    /// The user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The payload of its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<String>,
    /// The query of the client's request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Why the connection ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The error that ended the connection, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it happened, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The number of attempts to deliver it.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub cause: String,
    /// When it was given up, in milliseconds since 1970.
    pub given_up_at_unix_ms: u64,
}

/// A page of dead letters, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterPage {
    /// The letters.
    pub letters: Vec<DeadLetter>,
    /// The cursor of the next page. There is always one, because more letters may follow.
    pub next: String,
}

/// Why dead letters cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// The cursor is invalid.
    #[error(
        "`{0}` is not a cursor of dead letters; use `next` of the previous page, or omit it to start with the oldest"
    )]
    Cursor(String),
    /// The journal failed.
    #[error("cannot read the dead letters")]
    Read(#[source] JournalReadError),
}

/// Writes and reads dead letters. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    journal: Arc<dyn Journal>,
    instance: Instance,
    name: Name,
    letters_max: u64,
    age_max: Duration,
}

impl DeadLetter {
    pub(crate) fn new(
        listener: &str,
        event: &ConnectionEvent,
        attempts: u32,
        cause: &str,
        now: SystemTime,
    ) -> Self {
        let client = &event.client;
        let client_context = client.client_context.as_deref();
        let (reason, error) = match &event.change {
            ConnectionChange::Connected => (None, None),
            ConnectionChange::Disconnected { reason, error } => (Some(reason.to_string()), error.as_deref()),
        };
        Self {
            number: 0,
            listener: listener.to_owned(),
            event: event.change.kind().name().to_owned(),
            hub: client.hub.name().to_owned(),
            connection_id: client.id.to_string(),
            user_id: client.user.as_ref().map(ToString::to_string),
            claims: client_context.map(|client_context| client_context.claims.to_string()),
            query: client_context.map(|client_context| client_context.query.to_string()),
            reason,
            error: error.map(str::to_owned),
            at_unix_ms: unix_ms(event.at),
            attempts,
            cause: cause.to_owned(),
            given_up_at_unix_ms: unix_ms(now),
        }
    }
}

impl DeadLetters {
    pub(crate) fn new(journal: Arc<dyn Journal>, instance: Instance, options: &Options) -> Self {
        Self {
            journal,
            instance,
            name: Name::new(JOURNAL).expect("the constant is a name"),
            letters_max: options.dead_letters_max.get(),
            age_max: options.dead_letter_age(),
        }
    }

    /// Appends a letter; it is on disk when the call returns.
    pub(crate) async fn append(&self, letter: &DeadLetter) -> Result<(), AppendError> {
        let body = serde_json::to_vec(letter).expect("strings and numbers serialize to JSON");
        let record = Record::new(body);
        let position = self.journal.append(&self.instance, &self.name, vec![record]).await?;
        let count = position.offset.0 + 1;
        if count > self.letters_max && count.is_multiple_of(TRIM_EVERY) {
            self.trim_below(position.epoch, count - self.letters_max).await;
        }
        Ok(())
    }

    /// Removes letters above the limits of age and number.
    pub(crate) async fn trim(&self, now: SystemTime) -> Result<(), JournalReadError> {
        let info = self.journal.info(&self.instance, &self.name).await?;
        let mut from = self.first_within_limits(&info);
        // Letters are in order of the time at which they were given up.
        loop {
            let entries = self.read(Position { epoch: info.epoch, offset: from }).await?;
            let fresh = entries.iter().find(|entry| self.is_fresh(&letter(entry), now));
            match (fresh, entries.last()) {
                (Some(entry), _) => break from = entry.offset,
                (None, Some(last)) => from = Offset(last.offset.0 + 1),
                (None, None) => break,
            }
        }
        if from > info.first {
            self.trim_below(info.epoch, from.0).await;
        }
        Ok(())
    }

    /// A page of at most `letters_max` letters from `after` on; without it, from the oldest.
    pub(crate) async fn page(
        &self,
        after: Option<&str>,
        letters_max: usize,
        now: SystemTime,
    ) -> Result<DeadLetterPage, DeadLettersError> {
        let cursor =
            after.map(|text| parse_cursor(text).ok_or_else(|| DeadLettersError::Cursor(text.to_owned())));
        let cursor = cursor.transpose()?;
        let info = self.journal.info(&self.instance, &self.name).await.map_err(DeadLettersError::Read)?;
        let first = self.first_within_limits(&info);
        // A journal that was created again contains nothing from before the cursor's epoch.
        let cursor = cursor.filter(|cursor| cursor.epoch == info.epoch && cursor.offset <= info.next);
        let mut next =
            Position { epoch: info.epoch, offset: cursor.map_or(first, |cursor| cursor.offset.max(first)) };
        let mut letters = Vec::new();
        'pages: while next.offset < info.next {
            let entries = self.read(next).await.map_err(DeadLettersError::Read)?;
            for entry in &entries {
                if letters.len() >= letters_max {
                    break 'pages;
                }
                next.offset = Offset(entry.offset.0 + 1);
                letters.extend(letter(entry).filter(|letter| self.is_fresh(&Some(letter.clone()), now)));
            }
            if entries.is_empty() {
                break;
            }
        }
        Ok(DeadLetterPage { letters, next: format!("{:x}.{}", next.epoch.0, next.offset.0) })
    }

    fn first_within_limits(&self, info: &JournalInfo) -> Offset {
        info.first.max(Offset(info.next.0.saturating_sub(self.letters_max)))
    }

    fn is_fresh(&self, letter: &Option<DeadLetter>, now: SystemTime) -> bool {
        let age_max = u64::try_from(self.age_max.as_millis()).unwrap_or(u64::MAX);
        let oldest = unix_ms(now).saturating_sub(age_max);
        letter.as_ref().is_some_and(|letter| letter.given_up_at_unix_ms >= oldest)
    }

    /// Reads from a position, or from the first record after it that still exists.
    async fn read(&self, from: Position) -> Result<Vec<Entry>, JournalReadError> {
        let read = |from| self.journal.read(&self.instance, &self.name, from, READ_RECORDS, READ_BYTES);
        match read(from).await {
            Err(JournalReadError::Trimmed(first)) => read(first).await,
            other => other,
        }
    }

    async fn trim_below(&self, epoch: Epoch, offset: u64) {
        let below = Position { epoch, offset: Offset(offset) };
        if let Err(error) = self.journal.trim(&self.instance, &self.name, below).await {
            tracing::warn!(error = %ErrorChain(&error), "old dead letters of the realtime service could not be removed; the removal is retried later");
        }
    }
}

/// The letter in a record; `None` if a newer version wrote another format.
fn letter(entry: &Entry) -> Option<DeadLetter> {
    let letter: DeadLetter = serde_json::from_slice(&entry.record.body).ok()?;
    Some(DeadLetter { number: entry.offset.0, ..letter })
}

fn parse_cursor(text: &str) -> Option<Position> {
    let (epoch, offset) = text.split_once('.')?;
    Some(Position {
        epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?),
        offset: Offset(offset.parse().ok()?),
    })
}

#[cfg(test)]
mod tests;
