//! The engine of the realtime service: shards that hold the sockets of connected clients and send to them.
//!
//! Not its concern: HTTP, tokens, negotiation, REST. The service around the engine checks all of that before it attaches a client.
//!
//! A shard is one thread with a readiness loop over its own sockets and shares nothing with the others. A publish is one command
//! to each shard, is encoded once for each protocol there, and costs each receiver one write per loop turn, whatever the number
//! of messages in the turn. A connection has no task, no channel and no read buffer of its own.
//!
//! Know these first: [`EngineHandle`], [`Publish`], [`ClientAdmission`]. Start reading at `shard.rs`.

mod admission;
mod app_server;
mod attach;
mod authentication;
mod capacity;
mod client;
mod client_result;
mod close;
mod command;
mod end_reason;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod history_log;
mod hub_counts;
mod id;
mod limits;
mod membership;
mod message;
mod metrics;
mod name;
mod options;
mod presence;
mod publish;
mod reserved;
mod roles;
mod send_span;
mod shard;
mod shrink;
mod start;
mod stopped;
mod stream;
mod stream_position;
mod target;
mod trace_subscription;
mod transport;
mod upstream;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use supervision::Supervisor;
use trace::Tracer;

pub use admission::{ClientAdmission, ConnectionGuard};
pub use app_server::{AppServer, SendRate};
pub use attach::{AttachError, ConnectionIds};
pub use authentication::{AuthenticationRefresh, OtherUser, Refreshed};
pub use capacity::Capacity;
pub use client::{ClientConnection, ClientContext, RemoteEndpoint};
pub use client_result::{ClientInvokeError, ClientResult};
pub use close::{CloseRequest, ServerClose};
pub use command::{ReattachResult, ReceiveResult};
pub use end_reason::EndReason;
pub use handle::{EngineHandle, EngineJoin};
pub use history_log::{CatchUpResult, FollowResponse, FollowResult, HistoryLog};
pub use id::{ConnectionId, ConnectionToken, MalformedId, NodeId};
pub use membership::{GroupError, Lifetime, Membership, UserGroupError};
pub use message::{InvalidArguments, InvalidValue, OutgoingMessage};
pub use name::{GroupName, Hub, UserId};
pub use options::{HubOptions, Options, SlowConsumer};
pub use presence::{
    Action, Candidate, ConnectionEntry, ListScope, NameKind, NamedCount, Predicate, PresenceCounts,
};
pub use publish::{Publish, PublishError};
pub use reserved::{calls_reserved_method, is_reserved_method, message_calls_reserved_method};
pub use roles::Roles;
pub use shrink::should_shrink;
pub use start::StartError;
pub use stopped::Stopped;
pub use stream::{StreamOf, StreamState};
pub use stream_position::StreamPosition;
pub use target::Target;
pub use trace_subscription::{TraceEvent, TraceEventKind, TraceFilter, TraceSubscription};
pub use transport::{HttpTransport, HttpTransportKind, PollId, PollResult, Transport};
pub use upstream::{ClientInvocation, HandshakeDecision, InvocationRejection, NoUpstream, Upstream};

/// Starts the shards' threads. Metrics are added to `metric_registry`, spans go to `tracer`, and invocations of clients go to `upstream`.
///
/// # Errors
///
/// If the operating system refuses a thread or a poll.
pub fn start(
    options: &Options,
    node: NodeId,
    tracer: Tracer,
    supervisor: &Supervisor,
    metric_registry: &mut Registry,
    upstream: Arc<dyn Upstream>,
) -> Result<(EngineHandle, EngineJoin), StartError> {
    start::start(options, node, tracer, supervisor, metric_registry, &upstream)
}
