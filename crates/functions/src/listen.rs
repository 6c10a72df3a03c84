//! Listeners of triggers that connectors implement: one task for each function opens the source and runs the function for each delivery,
//! several in parallel if the source allows it.
//!
//! The source decides what happens to a delivery whose function fails, also in its retries
//! ([`AfterFailure`](functions_contract::AfterFailure)): a change feed continues with the next changes, a queue delivers again or
//! dead-letters. A delivery whose worker exited is abandoned and delivered again; no change is skipped.

mod delivery;
mod trigger_data;

use std::sync::Arc;
use std::time::Duration;

use http_messages::error_chain;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::app::MergedSettings;
use crate::dynamic_concurrency::{DynamicConcurrency, FunctionLimit};
use crate::invoke::{Function, Invoker};
use crate::log::Level;
use crate::metrics::FunctionLabel;
use crate::shutdown::Shutdown;
use delivery::DeliveryRun;
use functions_contract::{BindingError, Connector, Source, SourceBacklog};

/// Runs one function for the deliveries of one source.
pub(crate) struct TriggerListener {
    pub(crate) function: Arc<Function>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) settings: MergedSettings,
    pub(crate) invoker: Invoker,
    pub(crate) concurrency: DynamicConcurrency,
    /// Pause after the first failure of the source; it doubles.
    pub(crate) retry_min: Duration,
    /// Longest pause.
    pub(crate) retry_max: Duration,
    /// Interval between two reads of the backlog.
    pub(crate) backlog_every: Duration,
}

/// Why a source is no longer read.
enum SourceEnd {
    /// The host stops.
    Stopped,
    /// The source failed; it must be opened again.
    Failed(BindingError),
}

/// The deliveries of a source that are not settled yet, each in a task of its own.
type Unsettled = JoinSet<Result<(), BindingError>>;

/// The state of a listener between two openings of its source.
struct Retrying {
    pause: Duration,
    /// The error that was logged last; `None` if the source works.
    reported: Option<BindingError>,
}

impl TriggerListener {
    /// Runs until `shutdown`.
    pub(crate) async fn run(&self, mut shutdown: Shutdown) {
        let mut retrying = Retrying { pause: self.retry_min, reported: None };
        loop {
            let spec = &self.function.declaration.trigger_spec.spec;
            let opened = tokio::select! {
                opened = self.connector.source(spec, &self.settings) => opened,
                () = shutdown.requested() => return,
            };
            let ended = match opened {
                Ok(source) => self.serve(source, &mut shutdown, &mut retrying).await,
                Err(error) => SourceEnd::Failed(error),
            };
            let SourceEnd::Failed(error) = ended else { return };
            self.report_failure(error, &mut retrying);
            tokio::select! {
                () = tokio::time::sleep(retrying.pause) => {}
                () = shutdown.requested() => return,
            }
            retrying.pause = (retrying.pause * 2).min(self.retry_max);
        }
    }

    /// Logs a failure once for each change of state, so that an outage does not fill the log.
    fn report_failure(&self, error: BindingError, retrying: &mut Retrying) {
        self.invoker.metrics.source_errors.get_or_create(&self.label()).inc();
        let text = error_chain(&error);
        if retrying.reported.as_ref().map(|reported| error_chain(reported)).as_ref() == Some(&text) {
            return;
        }
        let name = self.function.name();
        // An app that starts before its container is created is not an error.
        let (logs, code) = (&self.invoker.logs, error.description());
        let line = |end: String| format!("The listener for function 'Functions.{name}' {end}");
        match &error {
            BindingError::Absent(_) => logs.function_warning(code, name, line(format!("waits: {text}."))),
            _ => logs.function_error(code, name, None, line(format!("failed: {text}. Trying again."))),
        }
        retrying.reported = Some(error);
    }

    fn report_success(&self, retrying: &mut Retrying) {
        retrying.pause = self.retry_min;
        let Some(reported) = retrying.reported.take() else { return };
        let name = self.function.name();
        let how = match reported {
            BindingError::Absent(_) => "found what it waited for",
            _ => "works again",
        };
        let line = format!("The listener for function 'Functions.{name}' {how}.");
        self.invoker.logs.function(Level::Info, name, None, line);
    }

    /// Reads the source until it fails or the host stops. Every delivery is settled before the source is closed.
    async fn serve(
        &self,
        mut source: Box<dyn Source>,
        shutdown: &mut Shutdown,
        retrying: &mut Retrying,
    ) -> SourceEnd {
        let mut unsettled = Unsettled::new();
        let ended = self.read(source.as_mut(), &mut unsettled, shutdown, retrying).await;
        while let Some(settled) = unsettled.join_next().await {
            if let Err(error) = result_of(settled) {
                // The source is closed anyway; what was not settled comes again.
                let name = self.function.name();
                let line = format!(
                    "A delivery to function 'Functions.{name}' was not settled: {}.",
                    error_chain(&error)
                );
                self.invoker.logs.function(Level::Warn, name, None, line);
            }
        }
        source.close().await;
        ended
    }

    async fn read(
        &self,
        source: &mut dyn Source,
        unsettled: &mut Unsettled,
        shutdown: &mut Shutdown,
        retrying: &mut Retrying,
    ) -> SourceEnd {
        let source_max = source.in_flight_max().max(1);
        let mut dynamic = self.concurrency.limit(self.function.name(), source_max);
        let mut backlog_ticks =
            tokio::time::interval_at(Instant::now() + self.backlog_every, self.backlog_every);
        backlog_ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let in_flight_max = dynamic.as_ref().map_or(source_max, |limit| source_max.min(limit.get()));
            // `next` is cancel-safe: a delivery that this round does not get comes in a later one.
            let delivery = tokio::select! {
                biased;
                () = shutdown.requested() => return SourceEnd::Stopped,
                Some(settled) = unsettled.join_next() => match result_of(settled) {
                    Ok(()) => {
                        self.report_success(retrying);
                        continue;
                    }
                    Err(error) => return SourceEnd::Failed(error),
                },
                _ = backlog_ticks.tick() => match source.backlog().await {
                    Ok(backlog) => {
                        self.measured(backlog);
                        self.report_success(retrying);
                        continue;
                    }
                    Err(error) => return SourceEnd::Failed(error),
                },
                () = limit_changed(&mut dynamic) => continue,
                delivery = source.next(), if unsettled.len() < in_flight_max => delivery,
            };
            match delivery {
                Ok(delivery) => {
                    let run =
                        DeliveryRun { function: Arc::clone(&self.function), invoker: self.invoker.clone() };
                    let running = dynamic.as_ref().map(FunctionLimit::started);
                    let settled = run.until_settled(delivery, shutdown.clone());
                    unsettled.spawn(async move {
                        let result = settled.await;
                        drop(running);
                        result
                    });
                }
                Err(error) => return SourceEnd::Failed(error),
            }
        }
    }

    fn measured(&self, backlog: SourceBacklog) {
        self.invoker.workers.report_backlog(self.function.name(), backlog.items);
        let metrics = &self.invoker.metrics;
        let items = i64::try_from(backlog.items).unwrap_or(i64::MAX);
        metrics.source_lag.get_or_create(&self.label()).set(items);
        let age = backlog.oldest.unwrap_or_default().as_secs();
        metrics
            .source_oldest_seconds
            .get_or_create(&self.label())
            .set(i64::try_from(age).unwrap_or(i64::MAX));
    }

    fn label(&self) -> FunctionLabel {
        FunctionLabel { function: self.function.name().to_owned() }
    }
}

/// Waits until the dynamic limit is another one; forever if there is none. Cancel-safe.
async fn limit_changed(limit: &mut Option<FunctionLimit>) {
    match limit {
        Some(limit) => limit.changed().await,
        None => std::future::pending().await,
    }
}

/// The result of a delivery's task. Its panic becomes a panic of the listener, whose supervisor starts it again.
fn result_of(settled: Result<Result<(), BindingError>, JoinError>) -> Result<(), BindingError> {
    match settled {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only dropping the set cancels its tasks.
            Err(cancelled) => unreachable!("a delivery's task was cancelled: {cancelled}"),
        },
    }
}
