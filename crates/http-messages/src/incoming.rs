//! [`IncomingBody`]: a body as it arrives, and how slow its sender may be while others wait.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::budget::CapacityPool;
use crate::error::ReadError;
use crate::message::BoxError;
use crate::options::Options;

/// How often a body that does not arrive is compared with the rate that it must keep while others wait.
const CONTENDED_CHECK: Duration = Duration::from_secs(1);

/// A body as it arrives.
pub(crate) struct IncomingBody<'a, B> {
    pub(crate) body: &'a mut B,
    /// The least rate while others wait.
    contended_bytes_per_second_min: u64,
    contended_grace: Duration,
    received_bytes: u64,
    /// How long we waited for the sender.
    awaited: Duration,
}

impl<'a, B> IncomingBody<'a, B> {
    pub(crate) fn new(body: &'a mut B, options: &Options) -> Self {
        Self {
            body,
            contended_bytes_per_second_min: options.contended_bytes_per_second_min.max(1),
            contended_grace: Duration::from_millis(options.contended_grace_ms.max(10)),
            received_bytes: 0,
            awaited: Duration::ZERO,
        }
    }
}

impl<B> IncomingBody<'_, B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// The next bytes. Fails where they arrive slowly while others wait for one of the pools.
    pub(crate) async fn next(&mut self, pools: &[&CapacityPool]) -> Result<Option<Bytes>, ReadError> {
        let mut since = Instant::now();
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = tokio::time::sleep(CONTENDED_CHECK.min(self.contended_grace)) => {
                    let now = Instant::now();
                    self.awaited += now - since;
                    since = now;
                    self.keep_up(pools)?;
                    continue;
                }
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| ReadError::Broken(error.into()))?;
            let Ok(data) = frame.into_data() else { continue };
            self.awaited += since.elapsed();
            self.received_bytes += data.len() as u64;
            if !self.is_at_end() {
                self.keep_up(pools)?;
            }
            return Ok(Some(data));
        }
    }

    /// Fails if others wait and the body is too slow.
    fn keep_up(&self, pools: &[&CapacityPool]) -> Result<(), ReadError> {
        let Self { received_bytes, awaited, contended_bytes_per_second_min: rate, .. } = *self;
        let allowed =
            self.contended_grace + Duration::from_millis(received_bytes.saturating_mul(1000) / rate);
        if awaited > allowed && pools.iter().any(|pool| pool.is_contended()) {
            return Err(ReadError::Outpaced { received_bytes, awaited });
        }
        Ok(())
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.body.is_end_stream()
    }
}
