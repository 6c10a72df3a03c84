//! The engine of the realtime service: shards that hold the sockets of connected clients and send to them.
//!
//! Not its concern: HTTP, tokens, negotiation, REST; whoever admits a client has checked all that.
//!
//! A shard is one thread with a readiness loop over its own sockets and shares nothing with the others. A publish is one
//! command to each shard, is encoded once for each protocol there, and costs each receiver one write per loop turn, however
//! many messages the turn brings. No task, no channel and no read buffer belongs to a single connection.
//!
//! Know these first: [`EngineHandle`], [`Publish`], [`Admission`]. Start reading at `shard.rs`.

mod admission;
mod attach;
mod authentication;
mod capacity;
mod client;
mod close;
mod command;
mod end;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod hub_counts;
mod id;
mod invoke;
mod keeper;
mod limits;
mod link;
mod list;
mod membership;
mod message;
mod metrics;
mod name;
mod options;
mod publish;
mod reserved;
mod roles;
mod server;
mod shard;
mod shrink;
mod span;
mod start;
mod stopped;
mod stream;
mod stream_position;
mod tap;
mod target;
mod upstream;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use supervision::Supervisor;
use trace::Tracer;

pub use admission::{Admission, Guard};
pub use attach::{AttachError, Issued};
pub use authentication::{AuthenticationRefresh, OtherUser, Refreshed};
pub use capacity::Room;
pub use client::{Arrival, ClientConnection, Facts};
pub use close::{Closing, ServerClose};
pub use command::{Reattached, Received};
pub use end::EndReason;
pub use handle::{EngineHandle, EngineJoin};
pub use id::{ConnectionId, ConnectionToken, MalformedId, NodeId};
pub use invoke::{ClientResult, InvokeError};
pub use keeper::{Begun, CaughtUp, Keeper};
pub use link::{HttpTransport, Link, Outlet, Taken, Turn};
pub use list::{Action, Candidate, Counts, Member, Named, Names, Predicate, Scope};
pub use membership::{GroupError, Lifetime, Membership, UserGroupError};
pub use message::{InvalidArguments, InvalidValue, OutgoingMessage};
pub use name::{GroupName, Hub, UserId};
pub use options::{HubOptions, Options, SlowConsumer};
pub use publish::{Publish, PublishError};
pub use reserved::{calls_reserved_method, is_reserved_method, message_calls_reserved_method};
pub use roles::Roles;
pub use server::{AppServer, Pace};
pub use shrink::should_shrink;
pub use start::StartError;
pub use stopped::Stopped;
pub use stream::{StreamOf, StreamState};
pub use stream_position::Kept;
pub use tap::{Filter, Sight, SightEvent, Tap};
pub use target::Target;
pub use upstream::{ClientInvocation, NoUpstream, Opening, Refusal, Upstream};

/// Starts the shards' threads. What is counted is registered with `registry`; spans go to `tracer`; what clients call goes
/// to `upstream`.
///
/// # Errors
///
/// If the operating system gives no thread or no poll.
pub fn start(
    options: &Options,
    node: NodeId,
    tracer: Tracer,
    supervisor: &Supervisor,
    registry: &mut Registry,
    upstream: Arc<dyn Upstream>,
) -> Result<(EngineHandle, EngineJoin), StartError> {
    start::start(options, node, tracer, supervisor, registry, &upstream)
}
