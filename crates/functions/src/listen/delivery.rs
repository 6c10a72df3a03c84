//! One delivery from its invocation to its settlement.

use std::sync::Arc;
use std::time::Duration;

use functions_contract::{AfterFailure, BindingError, Settle, Settlement, SourceDelivery};
use http_messages::error_chain;

use super::trigger_data;
use crate::invoke::{Function, InvocationError, Invoker, Returned};
use crate::log::Level;
use crate::metrics::{BatchEnd, BatchLabels};
use crate::shutdown::Shutdown;

/// Runs a function for one delivery.
pub(super) struct DeliveryRun {
    pub(super) function: Arc<Function>,
    pub(super) invoker: Invoker,
}

impl DeliveryRun {
    /// Invokes the function, with its retries, and settles the delivery with the result. An error says that the source has to be opened
    /// again.
    pub(super) async fn until_settled(
        self,
        delivery: SourceDelivery,
        mut shutdown: Shutdown,
    ) -> Result<(), BindingError> {
        let SourceDelivery { batch, id, after_failure, renew_every, settle, .. } = delivery;
        let mut settle = settle;
        let spec = &self.function.declaration.trigger_spec;
        let (trigger_data, feed) = trigger_data::of_batch(&batch, spec, &self.invoker.tracer);
        drop((feed, batch));
        let invocation = self.invoker.invoke_with_retry(&self.function, trigger_data, &mut shutdown);
        let result = match renew_every {
            None => invocation.await,
            Some(every) => tokio::select! {
                result = invocation => result,
                never = self.renew(settle.as_mut(), every, &id) => match never {},
            },
        };
        let settlement = self.settlement(&result, after_failure, &shutdown);
        let ended = match &settlement {
            Settlement::Complete => BatchEnd::Completed,
            Settlement::Abandon => BatchEnd::Abandoned,
            Settlement::DeadLetter { .. } => BatchEnd::DeadLettered,
        };
        let labels = BatchLabels { function: self.function.name().to_owned(), ended };
        self.invoker.metrics.source_batches.get_or_create(&labels).inc();
        match settle.settle(settlement).await {
            Err(BindingError::LockLost(why)) => {
                self.warn(format!("Delivery {id} may come again: {why}."));
                Ok(())
            }
            settled => settled,
        }
    }

    fn settlement(
        &self,
        result: &Result<Returned, InvocationError>,
        after_failure: AfterFailure,
        shutdown: &Shutdown,
    ) -> Settlement {
        let Err(error) = result else { return Settlement::Complete };
        // If the host stops between two attempts, the next owner retries.
        let is_cut_short = self.function.declaration.retry.is_some() && shutdown.is_requested();
        if error.is_interrupted() || is_cut_short {
            return Settlement::Abandon;
        }
        match after_failure {
            AfterFailure::Complete => Settlement::Complete,
            AfterFailure::Abandon => Settlement::Abandon,
            AfterFailure::DeadLetter => Settlement::DeadLetter { reason: error.with_causes() },
        }
    }

    /// Renews the lock of the delivery until it is dropped. A lost lock is reported once: the invocation continues to its end,
    /// because the next owner of the items cannot know how much was processed.
    async fn renew(&self, settle: &mut dyn Settle, every: Duration, id: &str) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(every).await;
            match settle.renew().await {
                Ok(()) => {}
                Err(BindingError::LockLost(why)) => {
                    self.warn(format!("Delivery {id} may be processed twice: {why}."));
                    return std::future::pending().await;
                }
                Err(error) => {
                    self.warn(format!(
                        "The lock of delivery {id} could not be renewed: {}.",
                        error_chain(&error)
                    ));
                }
            }
        }
    }

    fn warn(&self, line: String) {
        let name = self.function.name();
        self.invoker.logs.function(Level::Warn, name, None, line);
    }
}
