//! Why connections end: the reason that the service reports for each end, and whether it is true.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use realtime_engine::EndReason;

use super::Delivery;
use super::client::{ClientKind, Link, SimulatedClient};
use super::process::{CLIENT_TIMEOUT, KEEP_ALIVE};

/// How late a deadline may be: time advances in steps, and the service checks its clock once per turn.
const LATE_MAX: Duration = Duration::from_millis(2_500);

impl Delivery<'_> {
    /// The service has closed a connection: it has reported a reason, and the reason is true. False if it has dropped only the socket of a
    /// stateful client, which may reconnect.
    pub(super) fn check_end(&mut self, number: usize) -> Result<bool> {
        let Some(client) = &self.clients[number] else { return Ok(true) };
        let process = self.process()?;
        let reason = process.ends.get(&client.id).copied();
        let is_expired = client.is_expired(Duration::ZERO);
        self.events.add(format_args!("client {number} was ended by the service: {reason:?}"));
        if !self.process()?.supervisor.not_ready().is_empty() {
            return Ok(true);
        }
        let Some(client) = &mut self.clients[number] else { return Ok(true) };
        if reason.is_none() && client.kind == ClientKind::Stateful && client.is_open && !is_expired {
            ensure!(client.is_silent || client.was_slow, "the service dropped the socket without a reason");
            client.link = Link::Lost(Instant::now());
            return Ok(false);
        }
        let is_true = match reason {
            Some(EndReason::TokenExpired) => is_expired && client.expires_at.is_some(),
            Some(EndReason::ClientTimeout) => client.is_silent || client.was_slow,
            Some(EndReason::SlowConsumer) => client.was_slow,
            // Its requests have stopped, or are refused.
            Some(EndReason::ConnectionLost) => client.was_slow || is_expired || client.is_silent,
            Some(_) => false,
            // Its handshake is not complete, or its requests are refused.
            None => !client.is_open || is_expired,
        };
        ensure!(is_true, "the service ended the connection for {reason:?}");
        Ok(true)
    }

    /// A client that is served receives something at least once in each ping interval.
    pub(super) fn check_pings(&self, number: usize) -> Result<()> {
        let Some(client) = &self.clients[number] else { return Ok(()) };
        let is_pinged = matches!(client.link, Link::Socket(..) | Link::Events(_));
        let is_served = client.is_open && !client.is_paused && !client.was_slow;
        let silence = client.heard.elapsed();
        ensure!(
            !is_pinged || !is_served || silence <= KEEP_ALIVE + LATE_MAX,
            "the service has sent nothing for {silence:?}"
        );
        Ok(())
    }

    /// When no work is left, no connection is older than it may be.
    pub(super) fn check_deadlines(&self) -> Result<()> {
        for (number, client) in self.clients.iter().enumerate() {
            let Some(client) = client.as_ref().filter(|client| client.is_open) else { continue };
            let is_connected = !matches!(client.link, Link::Lost(_));
            ensure!(
                !is_connected || !client.is_expired(LATE_MAX),
                "client {number} is open, and its token has expired"
            );
            let is_missed = client.is_silent && matches!(client.link, Link::Socket(..) | Link::Events(_));
            ensure!(
                !is_missed || client.silence() <= CLIENT_TIMEOUT + LATE_MAX,
                "client {number} is open, and has been silent for {:?}",
                client.silence()
            );
        }
        Ok(())
    }

    /// All clients have disconnected: all counts are 0, and each connection that was open has ended for one reason.
    pub(super) fn check_nothing_is_left(&self) -> Result<()> {
        let process = self.process()?;
        for id in &process.opened {
            ensure!(process.ends.contains_key(id), "connection {id} was open and has no end reason");
        }
        for (name, value) in process.gauges()? {
            ensure!(value == 0.0, "{name} is {value}, and no client is connected");
        }
        Ok(())
    }
}

impl SimulatedClient {
    /// Whether the token that ends the connection expired at least this long ago.
    pub(super) fn is_expired(&self, at_least: Duration) -> bool {
        self.expires_at.is_some_and(|at| SystemTime::now() >= at + at_least)
    }
}
