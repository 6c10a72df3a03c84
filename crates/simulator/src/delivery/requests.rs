//! Clients without a WebSocket: posts, one poll after the other, and one long response with events.

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use serde_json::Value;

use super::Delivery;
use super::client::Link;
use super::process::{body, request};

/// Frames of a long response that a client reads at a time.
const FRAMES_MAX: usize = 4;

impl Delivery<'_> {
    /// Opens the long response of a client over Server-Sent Events.
    pub(super) fn open_events(&self, token: &str, secret: &str) -> Result<Link> {
        let get = request("GET", &format!("/client/?hub=chat&id={secret}"), token)
            .header("accept", "text/event-stream")
            .body(body(""))?;
        let process = self.process()?;
        let response = process.finish(process.respond(get), || Ok(()))?;
        ensure!(
            response.status().is_success(),
            "Server-Sent Events were answered with {}",
            response.status()
        );
        Ok(Link::Events(Box::new(response.into_body())))
    }

    /// Posts what a client has to send, one by one. Returns whether the service accepts it.
    fn post(&mut self, number: usize) -> Result<bool> {
        let process = self.process.as_ref().context("a process runs")?;
        let Some(client) = &mut self.clients[number] else { return Ok(true) };
        let path = format!("/client/?hub=chat&id={}", client.secret);
        while let Some(bytes) = client.posts.pop_front() {
            let post = request("POST", &path, &client.token).body(body(bytes))?;
            let status = process.finish(process.respond(post), || Ok(()))?.status();
            if !status.is_success() {
                self.events.add(format_args!("client {number}: a POST was answered with {status}"));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What arrived in the long response. The second value says that it has ended.
    pub(super) fn serve_events(&mut self, number: usize) -> Result<(Vec<Value>, bool)> {
        if !self.post(number)? {
            return Ok((Vec::new(), true));
        }
        let process = self.process.as_ref().context("a process runs")?;
        let Some(client) = &mut self.clients[number] else { return Ok((Vec::new(), false)) };
        let mut messages = Vec::new();
        for _ in 0..FRAMES_MAX {
            if client.is_paused {
                break;
            }
            let Link::Events(response) = &mut client.link else { break };
            let Some(frame) = process.ready(response.frame()) else { break };
            let Some(frame) = frame else { return Ok((messages, true)) };
            let bytes = frame.map_err(|error| anyhow::anyhow!("{error}"))?.into_data().unwrap_or_default();
            messages.extend(client.events(&bytes)?);
        }
        Ok((messages, false))
    }

    /// Long polling: one poll is always pending.
    pub(super) fn serve_polls(&mut self, number: usize) -> Result<(Vec<Value>, bool)> {
        if !self.post(number)? {
            return Ok((Vec::new(), true));
        }
        let process = self.process.as_ref().context("a process runs")?;
        let Some(client) = &mut self.clients[number] else { return Ok((Vec::new(), false)) };
        let path = format!("/client/?hub=chat&id={}", client.secret);
        let Link::Polls(poll) = &mut client.link else { return Ok((Vec::new(), false)) };
        if let Some(ended) = poll.take_if(|poll| poll.is_finished()) {
            let polled = process.runtime.block_on(ended).context("a poll was dropped")?;
            let Some(bytes) = polled else { return Ok((Vec::new(), true)) };
            return Ok((client.polled(&bytes)?, false));
        }
        if poll.is_none() && !client.is_paused {
            let response = process.respond(request("GET", &path, &client.token).body(body(""))?);
            *poll = Some(process.runtime.spawn(async move {
                let response = response.await;
                let is_alive = response.status() == http::StatusCode::OK;
                let bytes = response.into_body().collect().await.ok()?.to_bytes().to_vec();
                is_alive.then_some(bytes)
            }));
        }
        Ok((Vec::new(), false))
    }
}
