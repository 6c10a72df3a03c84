//! [`EventGrid`]: creates the triggers of this crate.

use std::sync::Arc;

use functions_contract::{
    AppSettings, BindingError, BindingSpec, Connector, Direction, PushExtension, PushTrigger,
};
use serde_json::Value as Json;

use crate::options::Options;
use crate::routing::Routing;
use crate::trigger::{Cardinality, EventGridTrigger};

const TRIGGER: &str = "eventGridTrigger";

/// The connector for `eventGridTrigger`.
#[derive(Debug, Default)]
pub struct EventGrid {
    options: Options,
}

impl EventGrid {
    /// A connector with these options.
    pub fn new(options: Options) -> Self {
        Self { options }
    }
}

#[async_trait::async_trait]
impl Connector for EventGrid {
    fn kinds(&self) -> &'static [(&'static str, Direction)] {
        &[(TRIGGER, Direction::In)]
    }

    fn push_extension(&self, kind: &str) -> Option<Arc<dyn PushExtension>> {
        kind.eq_ignore_ascii_case(TRIGGER).then(|| Arc::new(Routing) as Arc<dyn PushExtension>)
    }

    async fn push_trigger(
        &self,
        spec: &BindingSpec,
        _: &dyn AppSettings,
    ) -> Result<Arc<dyn PushTrigger>, BindingError> {
        let cardinality = cardinality(spec)?;
        let is_text = spec.text("dataType").is_some_and(|kind| kind.eq_ignore_ascii_case("string"));
        Ok(Arc::new(EventGridTrigger {
            function: spec.function.clone(),
            cardinality,
            is_text,
            invocations_max: self.options.delivery_invocations_max.get(),
        }))
    }
}

/// Whether an invocation gets one event or all events of a delivery: `cardinality`, or `isBatched` of .NET isolated.
fn cardinality(spec: &BindingSpec) -> Result<Cardinality, BindingError> {
    let is_batched = spec.property("isBatched").and_then(Json::as_bool).unwrap_or(false);
    match spec.text("cardinality").map(str::to_ascii_lowercase).as_deref() {
        None if is_batched => Ok(Cardinality::Many),
        None | Some("one") => Ok(Cardinality::One),
        Some("many") => Ok(Cardinality::Many),
        Some(other) => Err(BindingError::Declaration(format!(
            "the eventGridTrigger of function '{}' has cardinality \"{other}\", which does not exist; use one or many",
            spec.function
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cardinality_is_one_unless_the_declaration_says_many() {
        let parse = |properties: Json| {
            cardinality(&BindingSpec {
                function: "f".to_owned(),
                name: "event".to_owned(),
                kind: TRIGGER.to_owned(),
                direction: Direction::In,
                properties: properties.as_object().cloned().expect("an object"),
            })
        };
        assert_eq!(parse(json!({})).ok(), Some(Cardinality::One));
        assert_eq!(parse(json!({"Cardinality": "ONE"})).ok(), Some(Cardinality::One));
        assert_eq!(parse(json!({"cardinality": "Many"})).ok(), Some(Cardinality::Many));
        assert_eq!(parse(json!({"isBatched": true})).ok(), Some(Cardinality::Many));
        let error = parse(json!({"cardinality": "two"})).expect_err("invalid").to_string();
        assert!(error.contains("use one or many"), "{error}");
    }
}
