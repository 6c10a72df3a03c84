//! A body whose sender is the test, and a budget whose metrics can be read.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_messages::{Budget, Metrics, Options};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

/// A body that the test sends piece by piece.
pub(crate) struct Sent {
    declared: Option<u64>,
    pieces: mpsc::UnboundedReceiver<Result<Bytes, &'static str>>,
}

pub(crate) type Sender = mpsc::UnboundedSender<Result<Bytes, &'static str>>;

pub(crate) fn sent(declared: Option<u64>) -> (Sender, Sent) {
    let (sender, pieces) = mpsc::unbounded_channel();
    (sender, Sent { declared, pieces })
}

/// A body that is there as a whole, in pieces.
pub(crate) fn whole(declared: bool, pieces: &[&[u8]]) -> Sent {
    let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
    let (sender, sent) = sent(declared.then_some(bytes));
    for piece in pieces {
        sender.send(Ok(Bytes::copy_from_slice(piece))).expect("it is open");
    }
    sent
}

impl Body for Sent {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        self.pieces.poll_recv(context).map(|piece| Some(piece?.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A budget with its metrics.
pub(crate) struct Measured {
    pub(crate) budget: Budget,
    registry: Registry,
}

impl Measured {
    pub(crate) fn new(options: Options, folder: &Path) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        Self { budget: Budget::new(options, folder, metrics), registry }
    }

    /// The value of one line of the metrics; 0 where there is none.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("it can be written");
        let value = text.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    pub(crate) async fn until(&self, line: &str, value: u64) {
        let reached = async {
            while self.metric(line) != value {
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, reached)
            .await
            .unwrap_or_else(|_| panic!("{line} is {}", self.metric(line)));
    }
}
