//! The section `concurrency` of `host.json`.

use functions_contract::find_property;
use serde_json::{Map, Value as Json};

/// How the host adjusts the deliveries of a trigger that run at a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConcurrencySection {
    /// Whether it does (`dynamicConcurrencyEnabled`). Default false.
    pub(crate) is_enabled: bool,
    /// The most deliveries of one function at a time (`maximumFunctionConcurrency`); `None` = only the limit of its source (-1).
    /// Default 500.
    pub(crate) function_max: Option<usize>,
    /// The share of all processors that host and workers may use before less runs at a time (`CPUThreshold`). Default 0.8.
    pub(crate) cpu_threshold: f64,
    /// Whether what was found out is stored for the next start (`snapshotPersistenceEnabled`). Default true.
    pub(crate) is_snapshot_stored: bool,
}

impl Default for ConcurrencySection {
    fn default() -> Self {
        Self { is_enabled: false, function_max: Some(500), cpu_threshold: 0.8, is_snapshot_stored: true }
    }
}

impl ConcurrencySection {
    /// Reads the section. The error says what is wrong with it.
    pub(crate) fn parse(section: Option<&Map<String, Json>>) -> Result<Self, String> {
        let (default, empty) = (Self::default(), Map::new());
        let section = section.unwrap_or(&empty);
        let function_max = match number(section, "maximumFunctionConcurrency")? {
            None => default.function_max,
            Some(-1.0) => None,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a whole number above 0"
            )]
            Some(max) if max >= 1.0 && max.fract() == 0.0 => Some(max as usize),
            Some(_) => {
                return Err(
                    "concurrency.maximumFunctionConcurrency must be a number above 0, or -1 for no limit"
                        .to_owned(),
                );
            }
        };
        let cpu_threshold = number(section, "CPUThreshold")?.unwrap_or(default.cpu_threshold);
        if cpu_threshold <= 0.0 || cpu_threshold >= 1.0 {
            return Err("concurrency.CPUThreshold must be a number between 0 and 1, such as 0.8".to_owned());
        }
        Ok(Self {
            is_enabled: flag(section, "dynamicConcurrencyEnabled", default.is_enabled)?,
            function_max,
            cpu_threshold,
            is_snapshot_stored: flag(section, "snapshotPersistenceEnabled", default.is_snapshot_stored)?,
        })
    }
}

/// A number. Overrides are text, so text with a number is accepted.
fn number(section: &Map<String, Json>, name: &str) -> Result<Option<f64>, String> {
    let found = match find_property(section, name) {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) => text.trim().parse().ok(),
        Some(other) => other.as_f64(),
    };
    found.map(Some).ok_or_else(|| format!("concurrency.{name} must be a number"))
}

fn flag(section: &Map<String, Json>, name: &str, default: bool) -> Result<bool, String> {
    match find_property(section, name) {
        None | Some(Json::Null) => Ok(default),
        Some(Json::Bool(value)) => Ok(*value),
        Some(Json::String(text)) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
        Some(Json::String(text)) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(format!("concurrency.{name} must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(section: &Json) -> Result<ConcurrencySection, String> {
        ConcurrencySection::parse(section.as_object())
    }

    #[test]
    fn the_section_has_the_defaults_of_the_azure_host_and_accepts_overrides_as_text() {
        let default = ConcurrencySection::default();
        assert_eq!(ConcurrencySection::parse(None), Ok(default.clone()));
        let all = json!({
            "dynamicConcurrencyEnabled": true, "maximumFunctionConcurrency": -1, "cpuThreshold": 0.5,
            "snapshotPersistenceEnabled": false,
        });
        let expected = ConcurrencySection {
            is_enabled: true,
            function_max: None,
            cpu_threshold: 0.5,
            is_snapshot_stored: false,
        };
        assert_eq!(parse(&all), Ok(expected));
        let text = json!({ "dynamicConcurrencyEnabled": "True", "maximumFunctionConcurrency": "20" });
        assert_eq!(
            parse(&text),
            Ok(ConcurrencySection { is_enabled: true, function_max: Some(20), ..default })
        );
    }

    #[test]
    fn a_value_out_of_range_is_rejected_with_its_name() {
        for (section, name) in [
            (json!({ "maximumFunctionConcurrency": 0 }), "maximumFunctionConcurrency"),
            (json!({ "CPUThreshold": 1 }), "CPUThreshold"),
            (json!({ "CPUThreshold": "high" }), "CPUThreshold"),
            (json!({ "dynamicConcurrencyEnabled": 1 }), "dynamicConcurrencyEnabled"),
        ] {
            let error = parse(&section).expect_err("out of range");
            assert!(error.starts_with(&format!("concurrency.{name} must be ")), "{error}");
        }
    }
}
