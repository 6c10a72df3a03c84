//! The triggers.

mod list;
mod polling;
mod pubsub;
mod recovery;
mod stream;
mod unsettled;

pub(crate) use list::ListStore;
pub(crate) use polling::PollingSource;
pub(crate) use pubsub::{ChannelOptions, ChannelSource};
pub(crate) use stream::StreamStore;
