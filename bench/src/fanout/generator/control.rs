//! The generator's control requests to the server: to publish, and to report its resource use.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, bail};

use super::args::Args;
use crate::fanout::control::ControlRequest;
use crate::fanout::peers::PeerControl;
use crate::fanout::task::{Shape, Task};

/// The control connection to the server's process.
pub(super) struct Control {
    wire: Wire,
}

enum Wire {
    Ours(TcpStream),
    Peer(PeerControl),
}

impl Control {
    pub(super) fn connect(args: &Args) -> anyhow::Result<Self> {
        let wire = match args.peer {
            Some(peer) => Wire::Peer(PeerControl::open(peer, args.control, args.frame_bytes)?),
            None => {
                let control = TcpStream::connect(args.control)?;
                control.set_nodelay(true)?;
                Wire::Ours(control)
            }
        };
        Ok(Self { wire })
    }

    /// Makes all clients members; their number must be this one.
    pub(super) fn join(&mut self, expected: u64) -> anyhow::Result<()> {
        let joined = match &mut self.wire {
            Wire::Ours(_) => self.ask(ControlRequest::Join)?[0],
            Wire::Peer(peer) => peer.joined()?,
        };
        if joined != expected {
            bail!("the server counts {joined} clients of {expected}");
        }
        Ok(())
    }

    pub(super) fn prepare(&mut self, task: &Task) -> anyhow::Result<()> {
        match &mut self.wire {
            Wire::Ours(stream) => {
                stream.write_all(&ControlRequest::FrameBytes(u32::try_from(task.frame_bytes)?).to_bytes())?;
                Ok(stream.write_all(&ControlRequest::Shape(task.shape.to_number()).to_bytes())?)
            }
            Wire::Peer(peer) if task.shape == Shape::One => peer.renew(),
            Wire::Peer(_) => bail!("peers have one group"),
        }
    }

    pub(super) fn publish(&mut self, burst: u32) -> anyhow::Result<()> {
        match &mut self.wire {
            Wire::Ours(stream) => Ok(stream.write_all(&ControlRequest::Publish(burst).to_bytes())?),
            Wire::Peer(peer) => peer.publish(burst),
        }
    }

    /// Writes to clients so far; absent for servers that do not count them.
    pub(super) fn writes(&mut self) -> anyhow::Result<Option<u64>> {
        match &self.wire {
            Wire::Ours(_) => Ok(Some(self.ask(ControlRequest::Writes)?[0])),
            Wire::Peer(_) => Ok(None),
        }
    }

    fn ask(&mut self, question: ControlRequest) -> anyhow::Result<[u64; 2]> {
        let Wire::Ours(stream) = &mut self.wire else { bail!("a peer is asked in its own way") };
        stream.write_all(&question.to_bytes())?;
        let mut bytes = [0; 16];
        stream.read_exact(&mut bytes).context("the server has gone")?;
        let (first, second) = bytes.split_at(8);
        let number = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("half of sixteen is eight"));
        Ok([number(first), number(second)])
    }
}
