//! Which transports an app allows its clients.

use identity::Claims;
use signalr_protocol::Transport;

/// Whether the app allows a transport: the claim `asrs.s.htt` has a bit for each (reference, 1.9; the flags are those of
/// `HttpTransportType`).
pub(super) fn is_allowed(claims: &Claims, transport: Transport) -> bool {
    let Some(allowed) = claims.get("asrs.s.htt").and_then(|flags| flags.parse::<u32>().ok()) else {
        return true;
    };
    let bit = match transport {
        Transport::WebSockets => 1,
        Transport::ServerSentEvents => 2,
        Transport::LongPolling => 4,
    };
    allowed & bit != 0
}
