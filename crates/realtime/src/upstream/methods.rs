//! [`Methods`]: hub methods that this process answers itself.

use bytes::Bytes;

use realtime_engine::{ClientInvocation, is_reserved_method};

/// Whether a method is one of those that no upstream is asked for, where this process answers any. Case does not count, as in the hubs of
/// ASP.NET Core and in the names of clients' methods that are reserved.
pub fn is_own(method: &str) -> bool {
    is_reserved_method(method)
}

/// StreamedResponses what clients call, in the order of their calls: of one connection one call at a time.
#[async_trait::async_trait]
pub trait Methods: Send + Sync + 'static {
    /// StreamedResponses a message whose method, or the method of whose stream, [`is_own`]. `method` is its name. What is given back are
    /// framed hub messages for the client in its protocol, such as a completion; `None` for nothing.
    ///
    /// It bounds its own time: the connection's next call waits for it.
    async fn call(&self, method: &str, invocation: ClientInvocation) -> Option<Bytes>;
}
