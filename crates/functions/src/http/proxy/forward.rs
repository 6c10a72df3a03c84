//! Sends a request to the worker that has its invocation.

use std::time::Duration;

use egress::{Client, RequestTimeout, SendError};
use http::{Response, Uri};
use http_messages::{Body, ErrorDescription};

use super::head::ProxiedHead;
use super::upload::RequestUpload;
use crate::error_table::{invocation, response};
use crate::worker::WorkerAddressReceiver;

/// The pauses before a refused connection is retried. Their sum is the time that a worker has to listen at the address that it reported.
const REFUSED_PAUSES_MS: [u64; 6] = [20, 50, 100, 150, 200, 250];

/// How often a request is sent again after its connection closed without a response. A worker that closes an idle connection, or one on
/// which a function failed, may do so while the next request is on its way; the client of the Azure Functions host repeats it too.
const CLOSED_RETRIES_MAX: usize = 1;

/// The timeout of the invocation limits the time, not one of the request.
const NO_TIMEOUT: Duration = Duration::from_secs(u32::MAX as u64);

/// Why a request did not reach its worker, or why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    /// No server listens at the address.
    #[error(
        "the worker reported that it receives HTTP requests at {address}, but it accepts no connection there; check its output, or \
         restart it"
    )]
    Refused {
        address: Uri,
        #[source]
        cause: SendError,
    },
    /// The connection broke.
    #[error("the HTTP request was sent to the worker, but there was no response")]
    Broken {
        #[source]
        cause: SendError,
    },
    /// The connection broke after the head of the response.
    #[error("the connection to the worker broke during its response")]
    Lost {
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The function succeeded, but there is no response.
    #[error("the function succeeded, but the worker sent no response to its HTTP request within {waited:?}")]
    Silent { waited: Duration },
    /// The path of the request and the address of the worker are not a valid URI.
    #[error("the path of the request cannot be sent to the worker")]
    Unaddressable,
}

impl ForwardError {
    /// Its code, and what to do.
    pub(super) fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Refused { .. } => &invocation::WORKER_UNREACHABLE,
            Self::Broken { .. } | Self::Lost { .. } | Self::Silent { .. } => &invocation::NO_WORKER_RESPONSE,
            Self::Unaddressable => &response::MALFORMED_REQUEST,
        }
    }
}

/// Sends the request to the worker that has the invocation, and returns the response as soon as its head has arrived.
pub(super) async fn forward(
    client: Client,
    head: ProxiedHead,
    upload: RequestUpload,
    mut address_receiver: WorkerAddressReceiver,
) -> Result<Response<Body>, ForwardError> {
    let address = address_receiver.address().await;
    let mut pauses = REFUSED_PAUSES_MS.into_iter();
    let mut closed = 0;
    loop {
        let mut request = head.request(&address, upload.body()).ok_or(ForwardError::Unaddressable)?;
        request.extensions_mut().insert(RequestTimeout(NO_TIMEOUT));
        match client.send(request).await {
            Ok(response) => return Ok(response),
            Err(cause @ (SendError::Connect { .. } | SendError::ConnectTimeout { .. })) => {
                let Some(pause) = pauses.next() else { return Err(ForwardError::Refused { address, cause }) };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Err(SendError::Protocol { .. })
                if closed < CLOSED_RETRIES_MAX && head.is_idempotent() && !upload.is_started() =>
            {
                closed += 1;
            }
            Err(cause) => return Err(ForwardError::Broken { cause }),
        }
    }
}
