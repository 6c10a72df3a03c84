//! Servers of other projects with the same task: one publish to a group of many WebSocket clients.
//!
//! Each is used as its documentation recommends for broadcasts, without compression, and runs on processor 0 alone. The frames have the
//! same size for all: a text frame of a given size, with one [`MARK`] in it. The small programs around the libraries are in `bench/peers`;
//! they and the libraries are installed into `target/peers` at first use.
//!
//! Start reading at [`prepare`]; then `process.rs` runs a peer, `control.rs` sends it publish commands, `client.rs` is one of its clients,
//! and `proof.rs` verifies what every peer delivers.

mod client;
mod control;
mod install;
pub(crate) mod process;
pub(crate) mod proof;

#[cfg(test)]
mod tests;

pub(crate) use client::open;
pub(crate) use control::PeerControl;
pub(crate) use install::{Prepared, prepare};
pub(crate) use process::RunningPeer;

use std::ops::RangeInclusive;

use anyhow::{Context, bail};
use serde::Serialize;

pub(crate) use super::task::MARK;

/// The group that contains all clients.
const GROUP: &str = "everybody";

/// The peers that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Peer {
    /// The usual WebSocket library of Node.js.
    Ws,
    /// The usual realtime library of Node.js, with its rooms.
    SocketIo,
    /// A realtime server in Go, with channels and an HTTP API: the most similar one to ours.
    Centrifugo,
    /// A fast WebSocket library for Go.
    Gws,
    /// The server of Bun, which is uWebSockets in C++: the cheapest broadcast of these.
    Bun,
}

impl Peer {
    /// Its display name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::SocketIo => "socket.io",
            Self::Centrifugo => "Centrifugo",
            Self::Gws => "gws",
            Self::Bun => "Bun (uWebSockets)",
        }
    }

    /// The version that we measure; the files in `bench/peers` pin the same one.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Ws => "8.23.0",
            Self::SocketIo => "4.8.4",
            Self::Centrifugo => "6.9.1",
            Self::Gws => "1.8.9",
            Self::Bun => "1.4.5",
        }
    }

    /// What precedes and follows the text in a frame with one message.
    fn around(self) -> [&'static str; 2] {
        match self {
            Self::Ws | Self::Gws | Self::Bun => ["", ""],
            Self::SocketIo => ["42[\"m\",\"", "\"]"],
            Self::Centrifugo => ["{\"push\":{\"channel\":\"everybody\",\"pub\":{\"data\":\"", "\"}}}"],
        }
    }

    /// Messages that it may put into one frame, each on its own line.
    fn joined_max(self) -> usize {
        if self == Self::Centrifugo { 16 } else { 1 }
    }

    /// Length of the text that makes a frame this long.
    ///
    /// Some lengths are impossible: no frame has 128 bytes, and the head of one with 37 contains a [`MARK`].
    fn text_bytes(self, frame_bytes: usize) -> anyhow::Result<usize> {
        let payload_bytes = payload_bytes(frame_bytes)?;
        for joined in 1..=self.joined_max() {
            let bytes = joined * payload_bytes + joined - 1;
            if frame_head(bytes).contains(&MARK) {
                bail!(
                    "frames of {frame_bytes} bytes cannot be counted: a head of one with {joined} messages holds the mark"
                );
            }
        }
        let around = self.around().concat().len();
        let text_bytes = payload_bytes.checked_sub(around).filter(|bytes| *bytes > 0);
        text_bytes
            .with_context(|| format!("a message of {} does not fit in {frame_bytes} bytes", self.name()))
    }

    fn text(self, frame_bytes: usize) -> anyhow::Result<String> {
        let length = self.text_bytes(frame_bytes)?;
        Ok(format!("{}{}", char::from(MARK), "x".repeat(length - 1)))
    }
}

/// Bytes of a frame's head by the length of its payload; a server's frames are not masked.
const HEADS: [(usize, RangeInclusive<usize>); 3] =
    [(2, 0..=125), (4, 126..=65_535), (10, 65_536..=usize::MAX)];

/// The payload of a frame with this many bytes, head included.
fn payload_bytes(frame_bytes: usize) -> anyhow::Result<usize> {
    let fits = HEADS.iter().find_map(|(head_bytes, carried)| {
        frame_bytes.checked_sub(*head_bytes).filter(|bytes| carried.contains(bytes))
    });
    fits.with_context(|| format!("no frame has {frame_bytes} bytes"))
}

/// The head of a text frame with a payload of this length.
fn frame_head(payload_bytes: usize) -> Vec<u8> {
    let big_endian = (payload_bytes as u64).to_be_bytes();
    match payload_bytes {
        0..=125 => vec![0x81, big_endian[7]],
        126..=65_535 => [&[0x81, 126], &big_endian[6..]].concat(),
        _ => [&[0x81, 127], &big_endian[..]].concat(),
    }
}
