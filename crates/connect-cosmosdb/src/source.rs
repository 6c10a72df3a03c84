//! [`FeedSource`]: the change feed of a container as a trigger.
//!
//! Leases are kept by a task of its own ([`Keeper`]); this side reads the parts of the feed that are held, one page at a
//! time, and asks the keeper to record how far the function came.

use std::collections::VecDeque;
use std::sync::Arc;

use functions_contract::{Batch, BindingError, ItemOrigin, Lag, Source, Value};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::client::{Answer, Client, Feed, FeedStart, KeyRange};
use crate::connector::Shared;
use crate::error::RequestError;
use crate::keeper::{CheckpointError, Held, Keeper, SourceNumber};
use crate::lease::Owner;
use crate::trigger::Trigger;
use crate::watched::{LeaseUse, Listener};

mod open;

/// A trigger on one container.
pub(crate) struct FeedSource {
    trigger: Trigger,
    monitored: Client,
    leases: Client,
    shared: Arc<Shared>,
    number: SourceNumber,
    opened: Option<Opened>,
    /// Batches that were given back, in order.
    returned: VecDeque<Batch>,
    /// Which held lease is read first at the next turn, so that a busy one does not starve the others.
    turn: usize,
    _leases: LeaseUse,
}

/// What is known once both containers were found and leases were sought.
struct Opened {
    /// Identity of the monitored container: one that was dropped and made anew has another feed.
    rid: String,
    ranges: Vec<KeyRange>,
    keeper: Keeper,
    hint: Option<watch::Receiver<u64>>,
}

/// [`Batch::position`] of this source, as JSON.
#[derive(Debug, Deserialize, Serialize)]
struct Position {
    lease: String,
    continuation: String,
}

/// What one read of a part of the feed brought.
enum Reading {
    Changes(Batch),
    Nothing,
    /// The position moved without a change to hand out.
    Advanced,
}

impl FeedSource {
    pub(crate) fn new(trigger: Trigger, monitored: Client, leases: Client, shared: Arc<Shared>) -> Self {
        let number = shared.siblings.born();
        let names =
            (leases.host(), &trigger.leases, &trigger.processor, monitored.host(), &trigger.monitored);
        let (lease_use, other) = shared.watched.uses(format!("{names:?}"), &trigger.function);
        if let Some(other) = other {
            tracing::warn!(
                "functions '{other}' and '{}' listen to the container {} with the same leases in {}: each change reaches \
                 only one of them; give one of them a leaseContainerPrefix, or another leaseContainerName",
                trigger.function,
                trigger.monitored,
                trigger.leases
            );
        }
        Self {
            trigger,
            monitored,
            leases,
            shared,
            number,
            opened: None,
            returned: VecDeque::new(),
            turn: 0,
            _leases: lease_use,
        }
    }

    /// One turn over everything that is held.
    async fn poll(&mut self) -> Result<Option<Batch>, BindingError> {
        self.open().await?;
        let opened = self.opened.as_mut().expect("open() succeeded");
        if let Some(hint) = opened.hint.as_mut() {
            // Marked as seen before reading: a change that comes in between wakes us again.
            hint.borrow_and_update();
        }
        let held = opened.keeper.held();
        for index in 0..held.len() {
            let part = &held[(self.turn + index) % held.len()];
            match self.read(part).await? {
                Reading::Changes(batch) => {
                    self.turn = self.turn.wrapping_add(index + 1);
                    return Ok(Some(batch));
                }
                Reading::Nothing => {}
                // The next turn starts from the new position.
                Reading::Advanced => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn read(&mut self, part: &Held) -> Result<Reading, BindingError> {
        let answer = self.request(part, self.trigger.items_max).await?;
        let opened = self.opened.as_ref().expect("reading needs an open source");
        if let Some(rid) = answer.header("x-ms-content-path").filter(|rid| *rid != opened.rid) {
            tracing::warn!(container = %self.trigger.monitored, rid, "the container was made anew; its feed starts again");
            self.opened = None;
            return Ok(Reading::Advanced);
        }
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return self.nothing(part, &answer).await,
            StatusCode::GONE if opened.keeper.split(&part.token).await? => {
                self.opened = None;
                return Ok(Reading::Advanced);
            }
            StatusCode::NOT_FOUND => {
                self.opened = None;
                self.shared.watched.missing(&self.listener());
                return Err(self.missing());
            }
            _ => {
                self.opened = None;
                return Err(answer.refused().into());
            }
        }
        let continuation =
            answer.etag().ok_or_else(|| answer.malformed("a feed answer has no etag".to_owned()))?;
        let documents = answer.documents()?;
        if documents.is_empty() {
            opened.keeper.checkpoint(&part.token, &continuation).await.map_err(not_recorded)?;
            return Ok(Reading::Advanced);
        }
        Ok(Reading::Changes(self.batch(part, continuation, &documents, &answer)))
    }

    /// Nothing new. If this is the first look, the position is recorded: it is what "from now" means, and a crash before
    /// the first change must not move it.
    async fn nothing(&self, part: &Held, answer: &Answer) -> Result<Reading, BindingError> {
        let opened = self.opened.as_ref().expect("reading needs an open source");
        if let (None, Some(continuation)) = (&part.continuation, answer.etag()) {
            opened.keeper.checkpoint(&part.token, &continuation).await.map_err(not_recorded)?;
        }
        Ok(Reading::Nothing)
    }

    fn batch(
        &self,
        part: &Held,
        continuation: String,
        documents: &[Box<RawValue>],
        answer: &Answer,
    ) -> Batch {
        let mut text = String::with_capacity(answer.body.len());
        text.push('[');
        for (index, document) in documents.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(document.get());
        }
        text.push(']');
        let mut origins = self.monitored.transport().origins(&answer.extensions);
        origins.sort_by_key(|(lsn, ..)| *lsn);
        let newest = origins.len().saturating_sub(Batch::ORIGINS_MAX);
        let origins = origins.split_off(newest).into_iter();
        let position = Position { lease: part.token.clone(), continuation };
        let now = jiff::Timestamp::now();
        Batch {
            position: serde_json::to_string(&position).expect("two texts are writable"),
            data: Value::Text(text),
            metadata: Vec::new(),
            item_count: documents.len(),
            origins: origins.map(|(_, trace, accepted_at)| ItemOrigin { trace, accepted_at }).collect(),
            reason: format!("New changes on container {} at {now}", self.trigger.monitored.container),
        }
    }

    async fn request(&self, part: &Held, items_max: u32) -> Result<Answer, RequestError> {
        let opened = self.opened.as_ref().expect("reading needs an open source");
        let whole = || part.token.as_str();
        // A lease for a range of hashes is read through the partition that holds its beginning.
        let range_id = part.hashes.as_ref().map_or_else(whole, |hashes| {
            let holds = |range: &&KeyRange| range.min <= hashes.min && hashes.min < range.max;
            opened.ranges.iter().find(holds).map_or_else(whole, |range| range.id.as_str())
        });
        let feed = Feed {
            container: &self.trigger.monitored,
            range_id,
            hashes: part.hashes.as_ref().map(|hashes| (hashes.min.as_str(), hashes.max.as_str())),
            continuation: part.continuation.as_deref(),
            start: self.start(part),
            items_max,
        };
        self.monitored.feed(&feed).await
    }

    /// Where the feed begins while there is no continuation. A container that was made while we listened has nothing from
    /// before; a time that the app names counts all the same.
    fn start(&self, part: &Held) -> FeedStart {
        match self.trigger.start {
            FeedStart::Now if part.from_beginning => FeedStart::Beginning,
            start => start,
        }
    }

    /// Waits for a hint, for a change of what is held, or for the next poll. The poll comes also where there are hints:
    /// it is what notices that a container was dropped.
    async fn wait(&mut self) {
        let Some(opened) = self.opened.as_mut() else { return };
        tokio::select! {
            () = hinted(opened.hint.as_mut()) => {}
            () = opened.keeper.changed() => {}
            () = tokio::time::sleep(self.trigger.poll_delay) => {}
        }
    }

    fn listener(&self) -> Listener {
        let container = format!("{}/{}", self.monitored.host(), self.trigger.monitored);
        Listener { function: self.trigger.function.clone(), container }
    }

    fn owner(&self) -> Owner {
        Owner {
            instance: self.shared.options.instance.clone(),
            process: self.shared.process.clone(),
            number: self.number.number,
        }
    }
}

#[async_trait::async_trait]
impl Source for FeedSource {
    async fn next(&mut self) -> Result<Batch, BindingError> {
        loop {
            // Before anything is handed out: nobody keeps the leases any more, so another host may read the same, and what this one
            // reads could not be recorded and would come again for ever.
            if self.opened.as_ref().is_some_and(|opened| opened.keeper.has_ended()) {
                let what = "keep the leases: the task that renews them met a defect, which the log tells";
                return Err(BindingError::System { what: what.to_owned(), retryable: true, cause: None });
            }
            if let Some(batch) = self.returned.pop_front() {
                return Ok(batch);
            }
            if let Some(batch) = self.poll().await? {
                return Ok(batch);
            }
            self.wait().await;
        }
    }

    async fn complete(&mut self, batch: &Batch) -> Result<(), BindingError> {
        let position: Position = serde_json::from_str(&batch.position)
            .map_err(|error| BindingError::Value(format!("a position of another source: {error}")))?;
        let Some(opened) = self.opened.as_ref() else {
            return Err(not_recorded(CheckpointError::Lost(position.lease)));
        };
        let recorded = opened.keeper.checkpoint(&position.lease, &position.continuation).await;
        recorded.map_err(not_recorded)
    }

    async fn abandon(&mut self, batch: Batch) -> Result<(), BindingError> {
        self.returned.push_back(batch);
        Ok(())
    }

    async fn lag(&mut self) -> Result<Lag, BindingError> {
        self.open().await?;
        let opened = self.opened.as_mut().expect("open() succeeded");
        let held = opened.keeper.held();
        let mut items = 0;
        for part in held.iter() {
            // From now, nothing is waiting before the first look.
            if part.continuation.is_none() && self.start(part) == FeedStart::Now {
                continue;
            }
            let answer = self.request(part, 1).await?;
            items += waiting(answer)?;
        }
        Ok(Lag { items })
    }

    async fn close(self: Box<Self>) {
        if let Some(opened) = self.opened {
            opened.keeper.close().await;
        }
    }
}

/// Ends with the next hint; never where there are none.
async fn hinted(hint: Option<&mut watch::Receiver<u64>>) {
    if let Some(hint) = hint
        && hint.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// The account's newest LSN, minus that of the first change not yet read: the estimate of the public SDK. It counts
/// writes, so that it is an upper bound of the items.
fn waiting(answer: Answer) -> Result<u64, RequestError> {
    #[derive(Deserialize)]
    struct Numbered {
        _lsn: Option<u64>,
    }
    if answer.status == StatusCode::NOT_MODIFIED {
        return Ok(0);
    }
    let answer = answer.success()?;
    let documents = answer.documents()?;
    let Some(first) = documents.first() else { return Ok(0) };
    // `{range}:{version}#{lsn}[#{region}={lsn}]`
    let newest = answer.header("x-ms-session-token").and_then(|token| token.split('#').nth(1));
    let newest: Option<u64> = newest.and_then(|lsn| lsn.parse().ok());
    let first: Option<Numbered> = serde_json::from_str(first.get()).ok();
    let first = first.and_then(|document| document._lsn);
    Ok(newest.zip(first).map_or(1, |(newest, first)| newest.saturating_sub(first) + 1))
}

fn not_recorded(error: CheckpointError) -> BindingError {
    match error {
        CheckpointError::Request(error) => error.into(),
        CheckpointError::Lost(lease) => BindingError::System {
            what: format!("lease {lease} went to another host, which hands the batch out again"),
            retryable: true,
            cause: None,
        },
    }
}
