//! The commands of the driver to a generator, and the responses: one line of JSON each.

use serde::{Deserialize, Serialize};

use crate::core_time::CoreTime;

/// One sample to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// Messages of one burst, to each receiver.
    pub(crate) burst: u32,
    /// Size of a frame as it is sent to a JSON client over WebSockets, head included.
    pub(crate) frame_bytes: usize,
    pub(crate) shape: Shape,
    pub(crate) publish_path: PublishPath,
    /// Bursts that are pending at the same time: 1 measures latency, more saturate the server.
    pub(crate) in_flight: u32,
    /// Clients are read only after the sample, so that the generator leaves the processors to the server.
    pub(crate) reads_after: bool,
    /// Duration of the sample, in milliseconds.
    pub(crate) sample_ms: u64,
}

/// The receivers of one burst. Every client receives every burst, in one publish or in many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// One publish to a group of all clients.
    One,
    /// One publish to each group of fifty.
    Fifties,
    /// One publish to each group of ten.
    Tens,
    /// One publish to each connection.
    Single,
}

/// How a publish reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PublishPath {
    /// By a call in the server's own process.
    Direct,
    /// By a request to the REST API, each on a keep-alive connection of its own.
    Rest,
    /// By a hub message that goes to an upstream, which sends by REST.
    Upstream,
}

/// One measured period of bursts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Messages that arrived at all clients together. None was missing, otherwise there is no sample.
    pub(crate) messages: u64,
    /// What the server's processor did.
    pub(crate) core: CoreTime,
    /// Processor time of the generator, on a processor of its own.
    pub(crate) generator_cpu_ns: u64,
    /// Writes to sockets that the server made; absent for servers that do not count them.
    pub(crate) writes: Option<u64>,
    /// From the publish command until the burst has arrived at a probe, in nanoseconds.
    pub(crate) probe_p50_ns: u64,
    pub(crate) probe_p99_ns: u64,
    /// The same until it has arrived at the last probe.
    pub(crate) last_p50_ns: u64,
    pub(crate) last_p99_ns: u64,
}

/// The generator's report once all clients are connected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Anonymous memory of the server for each idle client, in bytes.
    pub(crate) idle_bytes: f64,
}

impl Shape {
    pub(super) const ALL: [Self; 4] = [Self::One, Self::Fifties, Self::Tens, Self::Single];

    pub(super) fn to_number(self) -> u32 {
        Self::ALL.iter().position(|shape| *shape == self).map_or(0, |at| at as u32)
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one group",
            Self::Fifties => "groups of 50",
            Self::Tens => "groups of 10",
            Self::Single => "one connection at a time",
        }
    }
}

impl Sample {
    /// Time of the server's processor for each delivered message, in microseconds.
    pub(crate) fn cost_us(&self) -> f64 {
        self.core.busy_ns as f64 / 1e3 / self.messages as f64
    }

    /// Sends for each message; NaN if they are not counted: responses to HTTP requests are written by the HTTP layer.
    pub(crate) fn sends(&self) -> f64 {
        let writes = self.writes.filter(|writes| *writes > 0);
        writes.map_or(f64::NAN, |writes| writes as f64 / self.messages as f64)
    }

    pub(crate) fn messages_per_second(&self) -> f64 {
        self.messages as f64 * 1e9 / self.core.wall_ns as f64
    }
}

/// The name of one group of a shape.
pub(super) fn group(shape: Shape, number: usize) -> String {
    format!("{}-{number}", shape.to_number())
}

/// What surrounds the text of a message in its frame: the head of the frame, and the hub message.
pub(super) fn text_bytes(frame_bytes: usize) -> usize {
    let around = b"{\"type\":1,\"target\":\"m\",\"arguments\":[\"\"]}\x1e".len();
    let head = match frame_bytes {
        0..=127 => 2,
        128..=65_539 => 4,
        _ => 10,
    };
    frame_bytes.saturating_sub(head + around)
}

/// The text of a message: of the right size, with one mark by which messages are counted if bytes cannot be.
pub(super) fn text(frame_bytes: usize) -> String {
    let mut text = "x".repeat(text_bytes(frame_bytes).saturating_sub(1));
    text.push(char::from(MARK));
    text
}

/// The size of a frame with the same message for a MessagePack client: head, length, and an array of type, headers, no id, target,
/// arguments and streams.
pub(super) fn messagepack_bytes(frame_bytes: usize) -> usize {
    let text = text_bytes(frame_bytes);
    let text_head = match text {
        0..=31 => 1,
        32..=255 => 2,
        256..=65_535 => 3,
        _ => 5,
    };
    let message = 4 + 2 + 1 + text_head + text + 1;
    let length = match message {
        0..=127 => 1,
        128..=16_383 => 2,
        _ => 3,
    };
    let head = match length + message {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    };
    head + length + message
}

/// Occurs once in each message, and nowhere else in what a server sends.
pub(crate) const MARK: u8 = b'#';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fills_its_frame() {
        for frame_bytes in [130, 1024, 16 * 1024] {
            let message =
                format!("{{\"type\":1,\"target\":\"m\",\"arguments\":[\"{}\"]}}\u{1e}", text(frame_bytes));
            let frame = websocket::frame(websocket::Opcode::Text, message.as_bytes());
            assert_eq!(frame.len(), frame_bytes);
            assert_eq!(memchr::memchr_iter(MARK, &frame).count(), 1);
        }
    }
}
