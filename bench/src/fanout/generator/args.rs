//! [`Args`]: what the generator is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::fanout::peers::Peer;

/// Longest wait for anything that is due at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Flags of the hidden command `fanout-generator`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    pub(super) address: SocketAddr,
    #[arg(long)]
    pub(super) control: SocketAddr,
    /// The server's process, whose memory is looked at
    #[arg(long)]
    pub(super) process: u32,
    #[arg(long)]
    pub(super) connections: u32,
    /// Whose server it is; absent for ours and for the bare loop
    #[arg(long)]
    pub(super) peer: Option<Peer>,
    /// The size of the frames that the peer was started for
    #[arg(long, default_value_t = 0)]
    pub(super) frame_bytes: usize,
    #[arg(long, value_enum, default_value_t)]
    pub(super) transport: Transport,
    /// Every second client speaks MessagePack
    #[arg(long)]
    pub(super) mixed: bool,
    /// The certificate of the authority that the server's own is from; clients then use TLS
    #[arg(long)]
    pub(super) authority: Option<PathBuf>,
    /// One more client, which never reads
    #[arg(long)]
    pub(super) slow_reader: bool,
    /// Clients that call methods, where hub messages are the publish_path
    #[arg(long, default_value_t = 0)]
    pub(super) callers: u32,
}

/// By what clients are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    #[default]
    WebSockets,
    ServerSentEvents,
    LongPolling,
}
