//! `chappe functions usage`: what the functions of a running process used, as a table, JSON or comma-separated values.

use std::fmt::Write as _;

use anyhow::Context;
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::admin_request;
use crate::cli::UsageArgs;
use crate::command_error::CommandError;
use crate::error_table::configuration;
use crate::ready;

/// Requests the report of the process and prints it.
pub(crate) fn run(arguments: &UsageArgs) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let report = runtime.block_on(fetch(arguments))?;
    let text = match (arguments.json, arguments.csv) {
        (true, _) => serde_json::to_string_pretty(&report)?,
        (_, true) => csv(&report),
        _ => table(&report),
    };
    ready::print(text.trim_end());
    Ok(())
}

async fn fetch(arguments: &UsageArgs) -> anyhow::Result<Value> {
    let url = address(arguments);
    let client = admin_request::client()?;
    let body = admin_request::get(&client, &url, &arguments.url).await?.collect().await;
    let body = body
        .map_err(|cause| {
            let text = format!("the connection to the process was lost: {cause}");
            CommandError::new(&configuration::PROCESS_LOST, text)
        })?
        .to_bytes();
    serde_json::from_slice(&body).with_context(|| format!("{url} does not answer with a usage report"))
}

fn address(arguments: &UsageArgs) -> String {
    let service = arguments.service.as_ref().map(|name| format!(".{name}")).unwrap_or_default();
    let base = arguments.url.trim_end_matches('/');
    let mut url = format!("{base}/chappe/api/functions{service}/usage?by={}", arguments.by.parameter());
    for (name, value) in [("from", &arguments.from), ("to", &arguments.to), ("function", &arguments.function)]
    {
        if let Some(value) = value {
            url.extend(["&", name, "="]);
            url.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
    }
    url
}

/// The columns: the name in a report, and the heading of a table.
const COLUMNS: [(&str, &str); 7] = [
    ("start", "from"),
    ("function", "function"),
    ("executions", "executions"),
    ("failures", "failed"),
    ("milliseconds", "ms"),
    ("executionUnits", "MB-ms"),
    ("gbSeconds", "GB-s"),
];

/// The rows of a report, with the columns that it has.
fn rows(report: &Value) -> (Vec<(&'static str, &'static str)>, Vec<Vec<String>>) {
    let empty = Vec::new();
    let rows = report["rows"].as_array().unwrap_or(&empty);
    let has_start = rows.iter().any(|row| row.get("start").is_some());
    let columns: Vec<_> = COLUMNS.into_iter().filter(|(name, _)| has_start || *name != "start").collect();
    let cells = rows.iter().map(|row| columns.iter().map(|(name, _)| cell(&row[*name])).collect());
    (columns.clone(), cells.collect())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.3}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

fn csv(report: &Value) -> String {
    let (columns, rows) = rows(report);
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    // Names of functions contain neither commas nor quotes.
    rows.iter().fold(names.join(",") + "\n", |text, row| text + &row.join(",") + "\n")
}

fn table(report: &Value) -> String {
    let (columns, mut rows) = rows(report);
    if rows.is_empty() {
        return "No function was executed in this time.".to_owned();
    }
    let total = &report["total"];
    let last = columns.iter().map(|(name, _)| match *name {
        "function" => "total".to_owned(),
        name => cell(&total[name]),
    });
    rows.push(last.collect());
    let heading: Vec<String> = columns.iter().map(|(_, heading)| (*heading).to_owned()).collect();
    rows.insert(0, heading);
    let widths: Vec<usize> =
        (0..columns.len()).map(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), (name, _)) in row.iter().zip(&widths).zip(&columns) {
            let is_text = matches!(*name, "start" | "function");
            // Writing to a string does not fail.
            let _ = if is_text { write!(line, "{cell:<width$}  ") } else { write!(line, "{cell:>width$}  ") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(start: Option<&str>) -> Value {
        let counts = json!({"executions": 12, "failures": 1, "milliseconds": 1_234, "executionUnits": 157_952, "gbSeconds": 0.154_25});
        let mut row = counts.clone();
        row["function"] = json!("orders");
        if let Some(start) = start {
            row["start"] = json!(start);
        }
        json!({"rows": [row], "total": counts})
    }

    #[test]
    fn a_report_is_a_table_with_a_total_or_comma_separated_values() {
        assert_eq!(
            table(&report(None)),
            "function  executions  failed    ms   MB-ms   GB-s\n\
             orders            12       1  1234  157952  0.154\n\
             total             12       1  1234  157952  0.154\n"
        );
        assert_eq!(
            csv(&report(Some("2026-11-30T10:00:00Z"))),
            "start,function,executions,failures,milliseconds,executionUnits,gbSeconds\n\
             2026-11-30T10:00:00Z,orders,12,1,1234,157952,0.154\n"
        );
        assert_eq!(table(&json!({"rows": [], "total": {}})), "No function was executed in this time.");
    }
}
