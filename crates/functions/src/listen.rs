//! Listeners of triggers that connectors implement: one task for each function opens the source and invokes the function with each batch.
//!
//! A function that fails does not stop the feed, as in the real `cosmosDBTrigger`: after its retries the batch is completed. A batch whose
//! worker exited is abandoned and comes again; no change is skipped.

mod trigger_data;

use std::sync::Arc;
use std::time::Duration;

use http_messages::error_chain;
use tokio::time::{Instant, MissedTickBehavior};

use crate::app::MergedSettings;
use crate::invoke::{Function, Invoker};
use crate::log::Level;
use crate::metrics::{BatchEnd, BatchLabels, FunctionLabel};
use crate::shutdown::Shutdown;
use functions_contract::{Batch, BindingError, Connector, Source};

/// Invokes one function with the batches of one source.
pub(crate) struct TriggerListener {
    pub(crate) function: Arc<Function>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) settings: MergedSettings,
    pub(crate) invoker: Invoker,
    /// Pause after the first failure of the source; it doubles.
    pub(crate) retry_min: Duration,
    /// Longest pause.
    pub(crate) retry_max: Duration,
    /// Interval between two reads of the lag.
    pub(crate) lag_every: Duration,
}

/// Why a source is no longer read.
enum SourceEnd {
    /// The host stops.
    Stopped,
    /// The source failed; it must be opened again.
    Failed(BindingError),
}

impl TriggerListener {
    /// Runs until `shutdown`.
    pub(crate) async fn run(&self, mut shutdown: Shutdown) {
        let name = self.function.name().to_owned();
        let mut pause = self.retry_min;
        let mut reported: Option<BindingError> = None;
        loop {
            let spec = &self.function.declaration.trigger_spec.spec;
            let opened = tokio::select! {
                opened = self.connector.source(spec, &self.settings) => opened,
                () = shutdown.requested() => return,
            };
            let ended = match opened {
                Ok(source) => self.serve(source, &mut shutdown, &mut pause, &mut reported).await,
                Err(error) => SourceEnd::Failed(error),
            };
            let SourceEnd::Failed(error) = ended else { return };
            self.invoker.metrics.source_errors.get_or_create(&self.label()).inc();
            // Logged once for each change of state, so that an outage does not fill the log.
            let text = error_chain(&error);
            if reported.as_ref().map(|reported| error_chain(reported)).as_ref() != Some(&text) {
                // An app that starts before its container is created is not an error.
                let (level, line) = match &error {
                    BindingError::Absent(_) => (Level::Warn, format!("waits: {text}.")),
                    _ => (Level::Error, format!("failed: {text}. Trying again.")),
                };
                let line = format!("The listener for function 'Functions.{name}' {line}");
                self.invoker.logs.function(level, &name, None, line);
                reported = Some(error);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => return,
            }
            pause = (pause * 2).min(self.retry_max);
        }
    }

    async fn serve(
        &self,
        mut source: Box<dyn Source>,
        shutdown: &mut Shutdown,
        pause: &mut Duration,
        reported: &mut Option<BindingError>,
    ) -> SourceEnd {
        let mut lag_ticks = tokio::time::interval_at(Instant::now() + self.lag_every, self.lag_every);
        lag_ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let ended = loop {
            let batch = tokio::select! {
                biased;
                () = shutdown.requested() => break SourceEnd::Stopped,
                // `next` is cancel-safe: the next call gives the batch.
                _ = lag_ticks.tick() => match source.lag().await {
                    Ok(lag) => {
                        let items = i64::try_from(lag.items).unwrap_or(i64::MAX);
                        self.invoker.metrics.source_lag.get_or_create(&self.label()).set(items);
                        continue;
                    }
                    Err(error) => break SourceEnd::Failed(error),
                },
                batch = source.next() => batch,
            };
            let served = match batch {
                Ok(batch) => self.batch(source.as_mut(), batch, shutdown).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                break SourceEnd::Failed(error);
            }
            *pause = self.retry_min;
            if let Some(reported) = reported.take() {
                let name = self.function.name();
                let how = match reported {
                    BindingError::Absent(_) => "found what it waited for",
                    _ => "works again",
                };
                let line = format!("The listener for function 'Functions.{name}' {how}.");
                self.invoker.logs.function(Level::Info, name, None, line);
            }
        };
        source.close().await;
        ended
    }

    async fn batch(
        &self,
        source: &mut dyn Source,
        batch: Batch,
        shutdown: &mut Shutdown,
    ) -> Result<(), BindingError> {
        let spec = &self.function.declaration.trigger_spec;
        let (trigger_data, feed) = trigger_data::of_batch(&batch, spec, &self.invoker.tracer);
        drop(feed);
        let result = self.invoker.invoke_with_retry(&self.function, trigger_data, shutdown).await;
        // If the host stops between two attempts, the next owner retries.
        let is_cut_short =
            result.is_err() && self.function.declaration.retry.is_some() && shutdown.is_requested();
        let ended = match &result {
            Err(error) if error.is_interrupted() || is_cut_short => BatchEnd::Abandoned,
            _ => BatchEnd::Completed,
        };
        let labels = BatchLabels { function: self.function.name().to_owned(), ended };
        self.invoker.metrics.source_batches.get_or_create(&labels).inc();
        match ended {
            BatchEnd::Completed => source.complete(&batch).await,
            BatchEnd::Abandoned => source.abandon(batch).await,
        }
    }

    fn label(&self) -> FunctionLabel {
        FunctionLabel { function: self.function.name().to_owned() }
    }
}
