//! The transports that an app allows its clients.

use identity::Claims;
use signalr_protocol::TransportType;

/// Whether the app allows a transport: the claim `asrs.s.htt` has a bit for each (reference, 1.9; the flags are those of
/// `HttpTransportType`).
pub(super) fn is_allowed(claims: &Claims, transport: TransportType) -> bool {
    let Some(allowed) = claims.get("asrs.s.htt").and_then(|flags| flags.parse::<u32>().ok()) else {
        return true;
    };
    let bit = match transport {
        TransportType::WebSockets => 1,
        TransportType::ServerSentEvents => 2,
        TransportType::LongPolling => 4,
    };
    allowed & bit != 0
}
