//! Sends a request to the worker that has its invocation.

use std::time::Duration;

use egress::{Client, RequestTimeout, SendError};
use http::{Response, Uri};
use http_messages::Body;

use super::head::ProxiedHead;
use super::upload::RequestUpload;
use crate::worker::WorkerAddressReceiver;

/// Pauses before a refused connection is tried again. Their sum is how long a worker may not listen at the address that it announced.
const REFUSED_PAUSES_MS: [u64; 6] = [20, 50, 100, 150, 200, 250];

/// Time is limited by the invocation, not by the request that belongs to it.
const NO_TIMEOUT: Duration = Duration::from_secs(u32::MAX as u64);

/// Why a request did not reach its worker, or its response did not come back.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    /// Nobody listens there.
    #[error(
        "the worker announced that it takes HTTP requests at {address}, but accepts no connection there; look at its own output, \
         or restart it"
    )]
    Refused {
        address: Uri,
        #[source]
        cause: SendError,
    },
    /// The connection broke.
    #[error("the HTTP request was handed to the worker, but its response did not come")]
    Broken {
        #[source]
        cause: SendError,
    },
    /// The connection broke after the head of the response.
    #[error("the response of the worker broke off")]
    Lost {
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The function ended well, but there is no response.
    #[error("the function succeeded, but the worker sent no response to its HTTP request within {waited:?}")]
    Silent { waited: Duration },
    /// The path of the request and the worker's address make no URI.
    #[error("the path of the request cannot be sent to the worker")]
    Unaddressable,
}

/// Hands the request to the worker that has the invocation, and gives the response as soon as its head is there.
pub(super) async fn forward(
    client: Client,
    head: ProxiedHead,
    upload: RequestUpload,
    mut address_receiver: WorkerAddressReceiver,
) -> Result<Response<Body>, ForwardError> {
    let address = address_receiver.address().await;
    let mut pauses = REFUSED_PAUSES_MS.into_iter();
    loop {
        let mut request = head.request(&address, upload.lend()).ok_or(ForwardError::Unaddressable)?;
        request.extensions_mut().insert(RequestTimeout(NO_TIMEOUT));
        match client.send(request).await {
            Ok(response) => return Ok(response),
            Err(cause @ (SendError::Connect { .. } | SendError::ConnectTimeout { .. })) => {
                let Some(pause) = pauses.next() else { return Err(ForwardError::Refused { address, cause }) };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Err(cause) => return Err(ForwardError::Broken { cause }),
        }
    }
}
