//! [`Publisher`]: the paths by which a burst is published.

use std::io::Write;

use anyhow::{Context, bail};
use signalr_protocol::HubProtocol;
use websocket::Opcode;

use super::args::Args;
use super::control::Control;
use super::open::{Opener, token};
use super::stream::Stream;
use crate::fanout::server::HUB;
use crate::fanout::task::{PublishPath, Shape, Task, group, text};
use crate::latency::peer::Http;

/// Connections to the REST API; each has at most one pending request.
const SENDERS: usize = 32;

/// Publishes by the path of a task: in process, by REST or from a client.
pub(super) struct Publisher {
    pub(super) control: Control,
    address: String,
    callers: Vec<Stream>,
    senders: Vec<Http>,
    /// Senders whose response was not read yet.
    under_way: usize,
    authorization: String,
    body: Vec<u8>,
    call: Vec<u8>,
}

/// Where messages to everybody are sent.
pub(crate) fn path() -> String {
    format!("/api/v1/hubs/{HUB}/groups/{}", group(Shape::One, 0))
}

/// The token for sending there.
pub(crate) fn authorization(path: &str) -> anyhow::Result<String> {
    Ok(format!("Bearer {}", token(&format!("http://localhost{path}"), &[])?))
}

impl Publisher {
    pub(super) fn new(control: Control, args: &Args) -> anyhow::Result<Self> {
        let opener = Opener::new(args)?;
        // Numbered after the listening clients.
        let numbers = args.connections + 1..args.connections + 1 + args.callers;
        let callers = numbers.map(|number| opener.websocket(number, HubProtocol::Json));
        Ok(Self {
            control,
            address: args.address.to_string(),
            callers: callers.collect::<Result<_, _>>()?,
            senders: Vec::new(),
            under_way: 0,
            authorization: authorization(&path())?,
            body: Vec::new(),
            call: Vec::new(),
        })
    }

    /// Prepares what a task sends repeatedly.
    pub(super) fn prepare(&mut self, task: &Task) -> anyhow::Result<()> {
        let text = text(task.frame_bytes);
        match task.publish_path {
            PublishPath::Direct => {}
            PublishPath::Rest => {
                self.body = format!("{{\"target\":\"m\",\"arguments\":[\"{text}\"]}}").into_bytes();
                while self.senders.len() < SENDERS {
                    self.senders.push(Http::connect(&self.address)?);
                }
            }
            PublishPath::Upstream => {
                let call = format!("{{\"type\":1,\"target\":\"m\",\"arguments\":[\"{text}\"]}}\u{1e}");
                self.call = websocket::masked_frame(Opcode::Text, call.as_bytes(), [9, 8, 7, 6]);
            }
        }
        self.control.prepare(task)
    }

    /// Requests a burst, without waiting.
    pub(super) fn publish(&mut self, task: &Task) -> anyhow::Result<()> {
        match task.publish_path {
            PublishPath::Direct => self.control.publish(task.burst),
            PublishPath::Rest => {
                let path = path();
                let headers = [("authorization", self.authorization.as_str())];
                let senders = self.senders.get_mut(..task.burst as usize);
                for sender in senders.context("as many senders as a burst has messages")? {
                    sender.ask("POST", &path, &headers, &self.body)?;
                    self.under_way += 1;
                }
                Ok(())
            }
            PublishPath::Upstream => {
                let callers = self.callers.get_mut(..task.burst as usize);
                for caller in callers.context("as many callers as a burst has messages")? {
                    caller.write_all(&self.call)?;
                }
                Ok(())
            }
        }
    }

    /// Reads the responses to what was published.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        for sender in &mut self.senders[..std::mem::take(&mut self.under_way)] {
            let (status, body) = sender.answer()?;
            if status != 202 {
                bail!("a message was answered {status}: {}", String::from_utf8_lossy(&body));
            }
        }
        Ok(())
    }
}
