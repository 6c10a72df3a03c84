//! The trigger data of a batch, and the `feed` span of its change feed.

use trace::{Span, Tracer};

use crate::function::Binding;
use crate::invoke::TriggerData;
use crate::to_protocol::{binding_data, trigger_metadata, typed_data};
use functions_contract::Batch;

/// What the function gets, and the `feed` span, which ends when it is dropped: it reaches from the moment at which the newest
/// item was accepted to the invocation, is a child of the write that made the item, and the parent of the invocation. Other
/// writes are linked.
pub(super) fn of_batch(batch: &Batch, trigger: &Binding, tracer: &Tracer) -> (TriggerData, Span) {
    let newest = batch.origins.last();
    let links: Vec<_> = batch.origins.iter().rev().skip(1).map(|origin| origin.trace).collect();
    let mut feed = tracer.start("feed", newest.map(|origin| origin.trace));
    feed.set("function", trigger.spec.function.as_str());
    feed.set("items", batch.item_count.to_string());
    if let Some(newest) = newest {
        feed.began_at(newest.accepted_at);
    }
    for link in &links {
        feed.link(*link);
    }
    let trigger_data = TriggerData {
        data: typed_data(batch.data.clone(), trigger.data_type),
        metadata: trigger_metadata(&batch.metadata),
        binding_data: binding_data(&batch.data, &batch.metadata),
        reason: batch.reason.clone(),
        parent: Some(feed.context()),
        links,
        ..TriggerData::default()
    };
    (trigger_data, feed)
}
