//! Reads of many items: lists, queries, query plans, partition key ranges, the change feed.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use rusqlite::Connection;
use serde_json::{Value, json};
use trace::TraceContext;

use super::Service;
use super::definitions::page_reply;
use crate::catalog::Container;
use crate::error::RequestFailure;
use crate::feed_origins::FeedOrigins;
use crate::from_protocol::{ContainerAddress, DocumentRequest, FeedStart};
use crate::metrics::ReadPool;
use crate::partition_key;
use crate::query::{self, Meter, PageLimits, QueryBudget, QueryWatch, RowResult, Rows, ScanEnd, Select};
use crate::resource_id::ItemNumber;
use crate::store::{Cancellation, Item, ItemRange, ItemsAfter, ScannedRow, rows};
use crate::to_protocol::{self, Reply};

/// The items of a container as rows of a query.
struct ItemRows<'a> {
    connection: &'a Connection,
    container: &'a Container,
    scope: &'a ItemRange,
    now_ts: i64,
}

/// One page of the change feed.
#[derive(Default)]
struct FeedPage {
    changes: Vec<FeedChange>,
    /// The LSN up to which the feed was read.
    position: u64,
    newest: u64,
    /// The page ended early, because its time or budget was used up.
    cut: bool,
}

/// One item of a page of the change feed.
struct FeedChange {
    lsn: u64,
    trace: Option<TraceContext>,
    accepted_ns: u64,
    /// The JSON for the response. Built from the row, so that the item's text is copied only into this and into the response.
    text: String,
}

impl AsRef<str> for FeedChange {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl Rows for ItemRows<'_> {
    fn each(
        &self,
        after: u64,
        meter: &Meter<'_>,
        take: &mut dyn FnMut(u64, Value) -> Result<RowResult, RequestFailure>,
    ) -> Result<ScanEnd, RequestFailure> {
        let (mut last, mut ended) = (after, ScanEnd::Complete);
        let after = ItemsAfter::Number(after);
        rows::each_row(self.connection, self.container.number, self.scope, after, self.now_ts, |look| {
            let taken =
                if meter.next_row(look.bytes)? { self.visit_row(look, take)? } else { RowResult::Unfinished };
            match taken {
                RowResult::Continue => last = look.position,
                RowResult::Stop => {}
                RowResult::Unfinished => ended = ScanEnd::Interrupted(last),
            }
            Ok(taken == RowResult::Continue)
        })?;
        Ok(ended)
    }

    fn one(&self, number: u64) -> Result<Option<Value>, RequestFailure> {
        let number = ItemNumber(number);
        let found = rows::item_by_number(self.connection, self.container.number, number, self.now_ts)?;
        found.map(|item| to_protocol::item_value(self.container, &item, false)).transpose()
    }
}

impl ItemRows<'_> {
    fn visit_row(
        &self,
        look: &ScannedRow<'_>,
        take: &mut dyn FnMut(u64, Value) -> Result<RowResult, RequestFailure>,
    ) -> Result<RowResult, RequestFailure> {
        let Some(item) = look.item()? else { return Ok(RowResult::Continue) };
        take(item.number.0, to_protocol::item_value(self.container, &item, false)?)
    }
}

/// Ends a page at its time limit, and when the read is canceled.
pub(super) struct PageTime<'a> {
    caller: &'a Cancellation,
    until: Instant,
}

impl<'a> PageTime<'a> {
    pub(super) fn new(caller: &'a Cancellation, time: Duration) -> Self {
        Self { caller, until: Instant::now() + time }
    }

    /// Reads a page under a meter.
    pub(super) fn metered<T>(&self, budget: QueryBudget, page: impl FnOnce(&Meter<'_>) -> T) -> T {
        let (time_is_up, caller_is_gone) = (|| Instant::now() >= self.until, || self.caller.is_canceled());
        let watch = QueryWatch { time_is_up: &time_is_up, caller_is_gone: &caller_is_gone };
        page(&Meter::new(budget, watch))
    }
}

impl Service {
    /// Runs a page of a query on a thread of the pool.
    pub(super) async fn query_page<T, F>(&self, pool: ReadPool, read: F) -> Result<T, RequestFailure>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Meter<'_>) -> Result<T, RequestFailure> + Send + 'static,
    {
        let options = &self.inner.options;
        let budget = QueryBudget { rows: options.query_rows_max, steps: options.query_steps_max };
        let time = Duration::from_millis(options.query_ms_max);
        let metrics = self.inner.metrics.clone();
        let execute = move |connection: &Connection, caller: &Cancellation| {
            PageTime::new(caller, time).metered(budget, |meter| {
                let result = read(connection, meter);
                metrics.query_rows(meter.rows());
                if meter.was_cut() {
                    metrics.count_cut_query_page();
                }
                result
            })
        };
        self.inner.store.read_for(pool, execute).await
    }

    pub(super) async fn list_items(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
    ) -> Result<Reply, RequestFailure> {
        self.items_by_query(call, owner, "SELECT * FROM c".to_owned(), query::Parameters::new()).await
    }

    pub(super) async fn query_items(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
    ) -> Result<Reply, RequestFailure> {
        let body = call.query_body(&self.inner.options)?;
        self.items_by_query(call, owner, body.text, body.parameters).await
    }

    async fn items_by_query(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
        text: String,
        parameters: query::Parameters,
    ) -> Result<Reply, RequestFailure> {
        let container = self.container(call, owner)?;
        let scope = scope_of(call, &container)?;
        let limits = call.page_limits(&self.inner.options)?;
        let continuation = call.continuation().map(str::to_owned);
        let now_ts = self.inner.clock.seconds();
        let of = Arc::clone(&container);
        let read = move |connection: &Connection, meter: &Meter<'_>| {
            let query = query::parse(&text, &parameters)?;
            let rows = ItemRows { connection, container: &of, scope: &scope, now_ts };
            let page = query::run(&query, &rows, limits, continuation.as_deref(), now_ts, meter)?;
            Ok((page, meter.rows(), rows::newest_lsn(connection, of.number)?))
        };
        let (page, looked_at, lsn) = self.query_page(ReadPool::Scan, read).await?;
        let mut reply = page_reply(&container.rid(), "Documents", &page).of_container(&container, lsn);
        if call.flag("x-ms-documentdb-populatequerymetrics") {
            reply = reply.with("x-ms-documentdb-query-metrics", query_metrics(&page, looked_at));
        }
        Ok(reply)
    }

    /// A plan with which SDKs send the original query and return its rows. There is one range, so the service itself does what SDKs do
    /// across several ranges.
    pub(super) async fn query_plan(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
    ) -> Result<Reply, RequestFailure> {
        self.container(call, owner)?;
        let body = call.query_body(&self.inner.options)?;
        // Parsing a long query takes some milliseconds; it must not block the runtime.
        let read = move |_: &Connection| {
            let query = query::parse(&body.text, &body.parameters).map_err(|mut error| {
                error.message = format!("Gateway Failed to Retrieve Query Plan: {}", error.message);
                error
            })?;
            Ok(matches!(query.select, Select::Value(_)))
        };
        let has_select_value = self.inner.store.read(ReadPool::Scan, read).await?;
        Ok(Reply::json(&json!({
            "partitionedQueryExecutionInfoVersion": 2,
            "queryInfo": {
                "distinctType": "None", "top": null, "offset": null, "limit": null,
                "orderBy": [], "orderByExpressions": [],
                "groupByExpressions": [], "groupByAliases": [],
                "aggregates": [], "groupByAliasToAggregateType": {},
                "rewrittenQuery": "",
                "hasSelectValue": has_select_value,
                "dCountInfo": null, "hasNonStreamingOrderBy": false,
            },
            "queryRanges": [{"min": "", "max": "FF", "isMinInclusive": true, "isMaxInclusive": false}],
        })))
    }

    /// Python and .NET read the ranges as a change feed until they get a 304; they would loop forever if it was always 200.
    pub(super) async fn ranges(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
    ) -> Result<Reply, RequestFailure> {
        let container = self.container(call, owner)?;
        let number = container.number;
        let lsn = self
            .inner
            .store
            .read(ReadPool::Point, move |connection| rows::newest_lsn(connection, number))
            .await?;
        let etag = to_protocol::range_etag(&container);
        let known = call.conditions().if_none_match.is_some_and(|known| known == etag);
        let reply = if known {
            Reply::empty(StatusCode::NOT_MODIFIED).with("x-ms-item-count", "0")
        } else {
            let rows = [to_protocol::range(&container, lsn).to_string()];
            Reply::new(StatusCode::OK, to_protocol::list(&container.rid(), "PartitionKeyRanges", &rows))
                .with("x-ms-item-count", "1")
        };
        Ok(reply.with("etag", etag).of_container(&container, lsn))
    }

    /// The change feed in latest version mode. The etag is the position after the response, even without new items: clients copy it from
    /// every response, and with "from now" only the first etag records where they began.
    pub(super) async fn change_feed(
        &self,
        call: &DocumentRequest,
        owner: &ContainerAddress,
    ) -> Result<Reply, RequestFailure> {
        let container = self.container(call, owner)?;
        let scope = scope_of(call, &container)?;
        let limits = call.page_limits(&self.inner.options)?;
        let start = call.feed_start()?;
        let separate = call.separates_metadata()?;
        let (number, now_ts) = (container.number, self.inner.clock.seconds());
        let options = &self.inner.options;
        let budget = QueryBudget { rows: options.query_rows_max, steps: options.query_steps_max };
        let time = Duration::from_millis(options.query_ms_max);
        let of = Arc::clone(&container);
        let read = move |connection: &Connection, caller: &Cancellation| {
            let text = |item: &Item<&str>| match separate {
                true => to_protocol::change(&of, item),
                false => to_protocol::item(&of, item, true),
            };
            let newest = rows::newest_lsn(connection, number)?;
            let after = match start {
                FeedStart::Beginning => 0,
                FeedStart::Now => newest,
                FeedStart::After(lsn) => lsn,
                FeedStart::Time(ts) => rows::lsn_before_time(connection, number, ts)?,
            };
            let mut page = FeedPage { position: after, newest, ..FeedPage::default() };
            PageTime::new(caller, time).metered(budget, |meter| {
                let (mut bytes, mut full) = (0, false);
                rows::each_row(connection, number, &scope, ItemsAfter::Lsn(after), now_ts, |look| {
                    // Items of one transaction are never split.
                    let begins = look.position != page.position;
                    if !meter.next_row(look.bytes)? && begins {
                        page.cut = true;
                        return Ok(false);
                    }
                    match look.borrowed_item()? {
                        Some(item) => full = page.push(&item, text, limits, &mut bytes).is_break(),
                        None => page.position = look.position,
                    }
                    Ok(!full)
                })?;
                if page.changes.is_empty() && !page.cut {
                    page.position = newest.max(after);
                }
                Ok(page)
            })
        };
        let page = self.inner.store.read_for(ReadPool::Feed, read).await?;
        self.inner.metrics.feed_read(page.changes.len());
        Ok(feed_reply(call, &container, &page))
    }
}

impl FeedPage {
    /// Adds an item unless the page is full. Items of one transaction are never split: they share an LSN.
    fn push(
        &mut self,
        item: &Item<&str>,
        text: impl Fn(&Item<&str>) -> String,
        limits: PageLimits,
        bytes: &mut usize,
    ) -> ControlFlow<()> {
        let same_transaction = item.lsn == self.position;
        let over = self.changes.len() >= limits.items || *bytes + item.body.len() > limits.bytes;
        if over && !self.changes.is_empty() && !same_transaction {
            return ControlFlow::Break(());
        }
        *bytes += item.body.len();
        self.position = item.lsn;
        let (lsn, trace, accepted_ns) = (item.lsn, item.trace, item.accepted_ns);
        self.changes.push(FeedChange { lsn, trace, accepted_ns, text: text(item) });
        ControlFlow::Continue(())
    }
}

fn feed_reply(call: &DocumentRequest, container: &Container, page: &FeedPage) -> Reply {
    // 304 means that there is nothing newer, which is unknown after a page that ended early.
    let mut reply = if page.changes.is_empty() && !page.cut {
        Reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        Reply::new(StatusCode::OK, to_protocol::list(&container.rid(), "Documents", &page.changes))
    };
    // On 304 too: .NET's iterator parses the count of every response and throws if it is missing.
    reply = reply.with("x-ms-item-count", page.changes.len().to_string());
    if call.in_process {
        reply.origins = Some(origins(&page.changes));
    }
    reply.with("etag", format!("\"{}\"", page.position)).of_container(container, page.newest)
}

fn origins(changes: &[FeedChange]) -> FeedOrigins {
    let origin = |item: &FeedChange| {
        let accepted = SystemTime::UNIX_EPOCH + Duration::from_nanos(item.accepted_ns);
        item.trace.map(|trace| (item.lsn, trace, accepted))
    };
    FeedOrigins(changes.iter().filter_map(origin).collect())
}

fn scope_of(call: &DocumentRequest, container: &Container) -> Result<ItemRange, RequestFailure> {
    if let Some(key) = call.partition_key()? {
        return ItemRange::of_key(key, &container.partition_key);
    }
    let Some((start, end)) = call.effective_range() else { return Ok(ItemRange::Container) };
    let version = container.definition.get("partitionKey").and_then(|key| key.get("version"));
    if version.and_then(|version| partition_key::version(version).ok()) != Some(2) {
        let what =
            "A feed range (x-ms-start-epk, x-ms-end-epk) of a container whose partitionKey.version is not 2";
        return Err(RequestFailure::not_supported(what));
    }
    Ok(ItemRange::EffectiveRange(start, end))
}

fn query_metrics(page: &query::ResultPage, looked_at: u64) -> String {
    let bytes: usize = page.rows.iter().map(String::len).sum();
    let count = page.rows.len();
    format!(
        "totalExecutionTimeInMs=0.1;queryCompileTimeInMs=0.1;queryLogicalPlanBuildTimeInMs=0;queryPhysicalPlanBuildTimeInMs=0;queryOptimizationTimeInMs=0;VMExecutionTimeInMs=0.1;indexLookupTimeInMs=0;documentLoadTimeInMs=0;systemFunctionExecuteTimeInMs=0;userFunctionExecuteTimeInMs=0;retrievedDocumentCount={looked_at};retrievedDocumentSize={bytes};outputDocumentCount={count};outputDocumentSize={bytes};writeOutputTimeInMs=0;indexUtilizationRatio=0"
    )
}
