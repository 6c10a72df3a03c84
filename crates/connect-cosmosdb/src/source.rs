//! [`FeedSource`]: the change feed of a container as a trigger.
//!
//! A [`LeaseRenewer`] task owns the leases; the source reads the parts of the feed whose leases it holds, one page at a time,
//! and stores checkpoints through the renewer. Each part is an ordering key: its next page is read when the last one is settled.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use functions_contract::{
    Batch, BindingError, ItemOrigin, KeysInFlight, Source, SourceBacklog, SourceDelivery, Value,
};
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::watch;

use crate::client::{AccountClient, CosmosResponse, DocumentPage, FeedRequest, PartitionKeyRange, StartFrom};
use crate::error::RequestError;
use crate::error_table;
use crate::lease::LeaseOwner;
use crate::lease_renewer::{HeldLease, LeaseRenewer};
use crate::live_sources::LiveSource;
use crate::shared::Shared;
use crate::trigger_options::TriggerOptions;
use crate::trigger_registry::{LeaseUse, TriggerId};
use page::{FeedPage, checkpoint_failed};

mod open;
mod page;

/// The most parts of a feed whose changes the function receives at a time; each holds a page of its part in memory.
const PARTS_IN_FLIGHT_MAX: usize = 16;

/// A trigger on one container.
pub(crate) struct FeedSource {
    trigger: TriggerOptions,
    monitored: AccountClient,
    leases: AccountClient,
    shared: Arc<Shared>,
    number: LiveSource,
    opened: Option<OpenFeed>,
    /// The parts whose last page is not settled yet, by lease token.
    in_flight: KeysInFlight,
    /// The held lease that the next poll reads first, so that a busy one does not starve the others.
    next_lease: usize,
    _leases: LeaseUse,
}

/// What is known once both containers were found and leases were acquired.
struct OpenFeed {
    /// The resource id of the monitored container: one that was deleted and created again has another feed.
    rid: String,
    /// The container's partitions; `None` after a split, until they are read again.
    ranges: Option<Vec<PartitionKeyRange>>,
    renewer: LeaseRenewer,
    hint: Option<watch::Receiver<u64>>,
}

/// The outcome of one read of a part of the feed.
enum FeedRead {
    Changes(Box<SourceDelivery>),
    Empty,
    /// The position moved, but there is no change to hand out.
    Advanced,
}

impl FeedSource {
    pub(crate) fn new(
        trigger: TriggerOptions,
        monitored: AccountClient,
        leases: AccountClient,
        shared: Arc<Shared>,
    ) -> Self {
        let number = shared.live_sources.register();
        let names =
            (leases.host(), &trigger.leases, &trigger.processor, monitored.host(), &trigger.monitored);
        let (lease_use, other) = shared.triggers.uses(format!("{names:?}"), &trigger.function);
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
            in_flight: KeysInFlight::default(),
            next_lease: 0,
            _leases: lease_use,
        }
    }

    /// Reads the held leases in turn until one has changes; those with an unsettled page are left out.
    async fn poll(&mut self) -> Result<Option<SourceDelivery>, BindingError> {
        self.open().await?;
        let opened = self.opened.as_mut().expect("open() succeeded");
        if let Some(hint) = opened.hint.as_mut() {
            // Marked as seen before reading, so that a change during the read ends the next wait.
            hint.borrow_and_update();
        }
        let held = opened.renewer.held();
        for index in 0..held.len() {
            let token = &held[(self.next_lease + index) % held.len()].token;
            if self.in_flight.contains(token) {
                continue;
            }
            // Not from `held`: a page of this part may have been settled since.
            let Some(part) = self.opened.as_ref().and_then(|opened| opened.renewer.part(token)) else {
                continue;
            };
            match self.read(&part).await? {
                FeedRead::Changes(delivery) => {
                    self.next_lease = self.next_lease.wrapping_add(index + 1);
                    return Ok(Some(*delivery));
                }
                FeedRead::Empty => {}
                // The next poll starts from the new position.
                FeedRead::Advanced => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn read(&mut self, part: &HeldLease) -> Result<FeedRead, BindingError> {
        let response = self.request(part, self.trigger.items_max).await?;
        let opened = self.opened.as_mut().expect("reading needs an open source");
        if let Some(rid) = response.header("x-ms-content-path").filter(|rid| *rid != opened.rid) {
            tracing::warn!(container = %self.trigger.monitored, rid, "the container was created again; its feed starts from the beginning");
            self.opened = None;
            return Ok(FeedRead::Advanced);
        }
        match response.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return self.no_change(part, &response).await,
            StatusCode::GONE => {
                // Before the split, so that a cancelled one is followed by a read of the partitions, too.
                opened.ranges = None;
                if !opened.renewer.split(&part.token).await? {
                    return Err(response.rejected().into());
                }
                return Ok(FeedRead::Advanced);
            }
            StatusCode::NOT_FOUND => {
                self.opened = None;
                self.shared.triggers.missing(&self.trigger_id());
                return Err(self.missing());
            }
            // The source stays open: pages of other parts are settled before the host opens it again.
            _ => return Err(response.rejected().into()),
        }
        let continuation =
            response.etag().ok_or_else(|| response.malformed("the feed response has no etag".to_owned()))?;
        let page = response.documents()?;
        if page.documents.is_empty() {
            opened.renewer.checkpoint(&part.token, &continuation).await.map_err(checkpoint_failed)?;
            return Ok(FeedRead::Advanced);
        }
        let id = format!("{}:{continuation}", part.token);
        let claim = self
            .in_flight
            .claim(&part.token)
            .expect("only this source claims, and it read a part that is not in flight");
        let settle = FeedPage { claim, continuation, checkpoints: opened.renewer.checkpoints() };
        let batch = self.batch(page, &response);
        let ordering_key = Some(part.token.clone());
        let delivery = SourceDelivery { ordering_key, ..SourceDelivery::new(batch, id, settle) };
        Ok(FeedRead::Changes(Box::new(delivery)))
    }

    /// There is no change. The position of the first read is stored: it defines "from now", and a crash before the first change
    /// must not move it.
    async fn no_change(&self, part: &HeldLease, response: &CosmosResponse) -> Result<FeedRead, BindingError> {
        let opened = self.opened.as_ref().expect("reading needs an open source");
        if let (None, Some(continuation)) = (&part.continuation, response.etag()) {
            opened.renewer.checkpoint(&part.token, &continuation).await.map_err(checkpoint_failed)?;
        }
        Ok(FeedRead::Empty)
    }

    fn batch(&self, page: DocumentPage, response: &CosmosResponse) -> Batch {
        let mut origins = self.monitored.transport().origins(&response.extensions);
        origins.sort_by_key(|(lsn, ..)| *lsn);
        let newest = origins.len().saturating_sub(Batch::ORIGINS_MAX);
        let origins = origins.split_off(newest).into_iter();
        let now = jiff::Timestamp::now();
        Batch {
            // A slice of the response: the documents are not copied.
            data: Value::Text(page.array),
            metadata: Vec::new(),
            item_count: page.documents.len(),
            origins: origins.map(|(_, trace, accepted_at)| ItemOrigin { trace, accepted_at }).collect(),
            reason: format!("New changes on container {} at {now}", self.trigger.monitored.container),
        }
    }

    async fn request(&self, part: &HeldLease, items_max: u32) -> Result<CosmosResponse, RequestError> {
        let opened = self.opened.as_ref().expect("reading needs an open source");
        let partition = || part.token.as_str();
        // A lease for a range of hashes is read through the partition that holds its beginning.
        let range_id = part.epk_range.as_ref().map_or_else(partition, |epk_range| {
            let holds = |range: &&PartitionKeyRange| range.min <= epk_range.min && epk_range.min < range.max;
            let mut ranges = opened.ranges.iter().flatten();
            ranges.find(holds).map_or_else(partition, |range| range.id.as_str())
        });
        let feed = FeedRequest {
            container: &self.trigger.monitored,
            range_id,
            epk_range: part
                .epk_range
                .as_ref()
                .map(|epk_range| (epk_range.min.as_str(), epk_range.max.as_str())),
            continuation: part.continuation.as_deref(),
            start: self.start(part),
            items_max,
        };
        self.monitored.feed(&feed).await
    }

    /// Where the feed is read from without a continuation. A container that was created while the trigger listened is read from
    /// its beginning; a start time of the app takes precedence.
    fn start(&self, part: &HeldLease) -> StartFrom {
        match self.trigger.start {
            StartFrom::Now if part.from_beginning => StartFrom::Beginning,
            start => start,
        }
    }

    /// Waits for a hint, for a change of the held leases, for a settled page, or for the next poll. It polls even if there are hints, because only a
    /// poll detects that the container was deleted.
    async fn wait(&mut self) {
        let Some(opened) = self.opened.as_mut() else { return };
        tokio::select! {
            () = hinted(opened.hint.as_mut()) => {}
            () = opened.renewer.changed() => {}
            () = self.in_flight.released() => {}
            () = tokio::time::sleep(self.trigger.poll_delay) => {}
        }
    }

    fn trigger_id(&self) -> TriggerId {
        let container = format!("{}/{}", self.monitored.host(), self.trigger.monitored);
        TriggerId { function: self.trigger.function.clone(), container }
    }

    fn owner(&self) -> LeaseOwner {
        LeaseOwner {
            instance: self.shared.options.instance.clone(),
            process: self.shared.process.clone(),
            number: self.number.number,
        }
    }
}

#[async_trait::async_trait]
impl Source for FeedSource {
    fn in_flight_max(&self) -> usize {
        PARTS_IN_FLIGHT_MAX
    }

    async fn next(&mut self) -> Result<SourceDelivery, BindingError> {
        loop {
            // Checked before a batch is handed out: without the renewer, another host may read the same changes, and a checkpoint
            // could not be stored, so that the same batch would come again without end.
            if self.opened.as_ref().is_some_and(|opened| opened.renewer.has_ended()) {
                return Err(BindingError::System {
                    error: &error_table::RENEWAL_ENDED,
                    what: "the task that renews the leases ended because of a defect; see the log".to_owned(),
                    retryable: true,
                    cause: None,
                });
            }
            if let Some(delivery) = self.poll().await? {
                return Ok(delivery);
            }
            self.wait().await;
        }
    }

    async fn backlog(&mut self) -> Result<SourceBacklog, BindingError> {
        self.open().await?;
        let opened = self.opened.as_mut().expect("open() succeeded");
        let held = opened.renewer.held();
        let mut backlog = SourceBacklog::default();
        for part in held.iter() {
            // With a start from now, no change is waiting before the first read.
            if part.continuation.is_none() && self.start(part) == StartFrom::Now {
                continue;
            }
            let response = self.request(part, 1).await?;
            let waiting = waiting(response, SystemTime::now())?;
            backlog.items += waiting.items;
            backlog.oldest = backlog.oldest.max(waiting.oldest);
        }
        Ok(backlog)
    }

    async fn close(self: Box<Self>) {
        if let Some(opened) = self.opened {
            opened.renewer.close().await;
        }
    }
}

/// Completes at the next hint; never, if there are no hints.
async fn hinted(hint: Option<&mut watch::Receiver<u64>>) {
    if let Some(hint) = hint
        && hint.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// The account's newest LSN minus that of the first unread change: the estimate of the .NET SDK. It counts writes, so that it
/// is an upper bound of the items. The age is that of the first unread change.
fn waiting(response: CosmosResponse, now: SystemTime) -> Result<SourceBacklog, RequestError> {
    #[derive(Deserialize)]
    struct Numbered {
        _lsn: Option<u64>,
        /// When the change was written, in seconds of Unix time.
        _ts: Option<u64>,
    }
    if response.status == StatusCode::NOT_MODIFIED {
        return Ok(SourceBacklog::default());
    }
    let response = response.success()?;
    let documents = response.documents()?.documents;
    let Some(first) = documents.first() else { return Ok(SourceBacklog::default()) };
    // `{range}:{version}#{lsn}[#{region}={lsn}]`
    let newest = response.header("x-ms-session-token").and_then(|token| token.split('#').nth(1));
    let newest: Option<u64> = newest.and_then(|lsn| lsn.parse().ok());
    let first: Option<Numbered> = serde_json::from_str(first).ok();
    let lsn = first.as_ref().and_then(|document| document._lsn);
    let items = newest.zip(lsn).map_or(1, |(newest, first)| newest.saturating_sub(first) + 1);
    let written = first.and_then(|document| document._ts).map(Duration::from_secs);
    let written = written.and_then(|since_epoch| SystemTime::UNIX_EPOCH.checked_add(since_epoch));
    // The clocks of account and host may differ.
    let oldest = written.map(|written| now.duration_since(written).unwrap_or_default());
    Ok(SourceBacklog { items, oldest })
}
