//! The configuration of the measured realtime services, the same in each bench.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use realtime::Dependencies;
use realtime::events::ConnectionListener;
use realtime_engine::NodeId;
use state_embedded::Store;
use supervision::Supervisor;
use trace::Tracer;

/// Spans that are kept. The benches send no trace context, so there are none.
const SPANS_MAX: usize = 16;

/// State in `store`; outgoing requests by a client of our own, as in the binary.
pub(crate) fn dependencies(
    store: &Store,
    listeners: Vec<Arc<dyn ConnectionListener>>,
    registry: &mut Registry,
) -> anyhow::Result<Dependencies> {
    let egress = egress::Client::new(&egress::Options::default(), &egress::Metrics::register(registry))?;
    Ok(Dependencies {
        node: NodeId(0),
        tracer: Tracer::new(SPANS_MAX),
        journal: store.journal(),
        registry: store.registry(),
        egress,
        bodies: http_messages::Budget::default(),
        supervisor: Supervisor::default(),
        listeners,
    })
}
