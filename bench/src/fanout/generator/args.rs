//! [`Args`]: the flags of the generator.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::fanout::peers::Peer;

/// Longest wait for anything that should happen at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Flags of the hidden command `fanout-generator`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    pub(super) address: SocketAddr,
    #[arg(long)]
    pub(super) control: SocketAddr,
    /// The server's process, whose memory is measured
    #[arg(long)]
    pub(super) process: u32,
    #[arg(long)]
    pub(super) connections: u32,
    /// Which peer the server is; absent for ours and for the bare loop
    #[arg(long)]
    pub(super) peer: Option<Peer>,
    /// The frame size with which the peer was started
    #[arg(long, default_value_t = 0)]
    pub(super) frame_bytes: usize,
    #[arg(long, value_enum, default_value_t)]
    pub(super) transport: Transport,
    /// Every second client uses MessagePack
    #[arg(long)]
    pub(super) mixed: bool,
    /// The certificate of the authority that issued the server's certificate; if it is set, clients use TLS
    #[arg(long)]
    pub(super) authority: Option<PathBuf>,
    /// One more client, which never reads
    #[arg(long)]
    pub(super) slow_reader: bool,
    /// Clients that invoke methods, if hub messages are the publish_path
    #[arg(long, default_value_t = 0)]
    pub(super) callers: u32,
}

/// The transport of the clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    #[default]
    WebSockets,
    ServerSentEvents,
    LongPolling,
}
