//! The connector for `eventGridTrigger`: the webhook to which Event Grid delivers events.

use std::sync::Arc;

use connect_eventgrid::EventGrid;

use super::row::ConnectorRow;
use crate::config::{ConnectorSection, SectionOptions};

pub(super) static ROW: ConnectorRow = ConnectorRow {
    section: ConnectorSection::of::<connect_eventgrid::Options>("eventgrid"),
    create: |creating| Arc::new(EventGrid::new(creating.options())),
};

impl SectionOptions for connect_eventgrid::Options {}
