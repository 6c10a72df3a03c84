//! Invocations with a retry policy: a failed one is repeated, each time with a new id, as the policy says.

use std::time::SystemTime;

use worker_protocol::{RetryContext, RpcException};

use super::{Function, InvocationError, Invoker, Occasion, Returned};
use crate::log::Level;
use crate::metrics::FunctionLabel;
use crate::stop::Stop;

impl Invoker {
    /// Invokes until it succeeds or the policy ends. Gives the last result. An interrupted invocation is not repeated here:
    /// nobody knows what it did, so its trigger decides. `stop` ends the waiting between two tries.
    pub(crate) async fn invoke_with_retry(
        &self,
        function: &Function,
        occasion: Occasion,
        stop: &mut Stop,
    ) -> Result<Returned, InvocationError> {
        let Some(policy) = &function.declaration.retry else {
            return self.invoke(function, occasion).await;
        };
        let name = function.name();
        let mut attempt = occasion.clone();
        for retry in 1_u32.. {
            let error = match self.invoke(function, attempt).await {
                Err(error) if !error.is_interrupted() => error,
                ended => return ended,
            };
            let Some(delay) = policy.delay_before(retry) else {
                let max = policy.retries_max_i32();
                let text = format!("Max retries of {max} for function {name} has been reached");
                self.logs.function(Level::Error, name, None, text);
                return Err(error);
            };
            let next = jiff::Timestamp::try_from(SystemTime::now() + delay)
                .map_or_else(|_| "later".to_owned(), |next| format!("{next:.3}"));
            let text =
                format!("Waiting for `{delay:?}` before retrying function execution. Next attempt: '{next}'");
            self.logs.function(Level::Info, name, None, text);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.stopped() => return Err(error),
            }
            self.metrics.retries.get_or_create(&FunctionLabel { function: name.to_owned() }).inc();
            attempt = occasion.clone();
            attempt.retry = Some(RetryContext {
                retry_count: i32::try_from(retry).unwrap_or(i32::MAX),
                max_retry_count: policy.retries_max_i32(),
                exception: exception(&error),
            });
        }
        unreachable!("a count of retries does not reach the end of u32 at human delays")
    }
}

/// What the function is told about the last try.
fn exception(error: &InvocationError) -> Option<RpcException> {
    match error {
        InvocationError::Function { result } => result.exception.clone(),
        other => Some(RpcException { message: other.chain(), ..RpcException::default() }),
    }
}
