//! Invocations with a retry policy: a failed one is retried with the same id.

use worker_protocol::{RetryContext, RpcException};

use super::{Function, InvocationError, Invoker, Returned, TriggerData};
use crate::log::Level;
use crate::metrics::FunctionLabel;
use crate::shutdown::Shutdown;
use crate::time_span::format_time_span;

impl Invoker {
    /// Invokes a function until it succeeds or the policy allows no further retry. Returns the last result. An interrupted
    /// invocation is not retried here, as its effects are unknown; its trigger decides. `shutdown` and the cancellation of the
    /// invocation end the pause between two attempts.
    pub(crate) async fn invoke_with_retry(
        &self,
        function: &Function,
        trigger_data: TriggerData,
        shutdown: &mut Shutdown,
    ) -> Result<Returned, InvocationError> {
        let Some(policy) = &function.declaration.retry else {
            return self.invoke(function, trigger_data).await;
        };
        let name = function.name();
        let id = uuid::Uuid::new_v4().to_string();
        let max = policy.retries_max_i32();
        let mut cancellation = trigger_data.options.cancellation.clone();
        // The first attempt has a context too: functions compare its count with its maximum.
        let mut context = RetryContext { retry_count: 0, max_retry_count: max, exception: None };
        for retry in 1_u32.. {
            let attempt = TriggerData { retry: Some(context), ..trigger_data.clone() };
            let error = match self.attempt(function, attempt, &id).await {
                Err(error) if !error.is_interrupted() => error,
                ended => return ended,
            };
            let Some(delay) = policy.delay_before(retry) else {
                let text = format!("Function execution failed after '{}' retries.", retry - 1);
                self.logs.function(Level::Error, name, Some(&id), text);
                return Err(error);
            };
            let text = format!(
                "Waiting for `{}` before retrying function execution. Next attempt: '{retry}'. Max retry count: '{max}'.",
                format_time_span(delay)
            );
            self.logs.function(Level::Debug, name, Some(&id), text);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = shutdown.requested() => return Err(error),
                // The caller has left; nobody waits for the next attempt.
                () = cancellation.cancelled() => return Err(error),
            }
            self.metrics.retries.get_or_create(&FunctionLabel { function: name.to_owned() }).inc();
            context = RetryContext {
                retry_count: i32::try_from(retry).unwrap_or(i32::MAX),
                max_retry_count: max,
                exception: exception(&error),
            };
        }
        unreachable!("a count of retries does not reach the end of u32 at human delays")
    }
}

/// The error of the last attempt, for the function.
fn exception(error: &InvocationError) -> Option<RpcException> {
    match error {
        InvocationError::Function { result } => result.exception.clone(),
        other => Some(RpcException { message: other.with_causes(), ..RpcException::default() }),
    }
}
