//! `chappe tail`: prints the live trace of a running process, as text or as JSON.

use std::io::Write;

use anyhow::Context;
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::admin_request;
use crate::cli::TailArgs;
use crate::command_error::CommandError;
use crate::error_table::{configuration, process};

/// Longest line that is accepted from the process; the process itself sends no longer ones.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Prints until the process ends, or until the command is interrupted.
pub(crate) fn run(arguments: &TailArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context(CommandError::new(&process::RUNTIME, "start the runtime"))?;
    runtime.block_on(follow(arguments))
}

async fn follow(arguments: &TailArgs) -> anyhow::Result<()> {
    let url = address(arguments);
    let client = admin_request::client()?;
    let mut body = admin_request::get(&client, &url, &arguments.url).await?;
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| {
            let text = format!("the connection to the process was lost: {cause}");
            CommandError::new(&configuration::PROCESS_LOST, text)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if !print(&line, arguments.json)? {
                return Ok(());
            }
        }
        if rest.len() > LINE_BYTES_MAX {
            let text =
                format!("the response of {url} is not a trace; name the gateway of a process with --url");
            return Err(CommandError::new(&configuration::NOT_OUR_RESPONSE, text).into());
        }
    }
    Ok(())
}

fn address(arguments: &TailArgs) -> String {
    let mut url = format!("{}/chappe/api/realtime/tail", arguments.url.trim_end_matches('/'));
    let wanted = [
        ("hub", &arguments.hub),
        ("user", &arguments.user),
        ("group", &arguments.group),
        ("connection", &arguments.connection),
    ];
    let mut separator = '?';
    for (name, value) in wanted {
        if let Some(value) = value {
            url.push(separator);
            url.push_str(name);
            url.push('=');
            url.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
            separator = '&';
        }
    }
    url
}

/// Prints one line; returns whether the output is still open.
fn print(line: &[u8], as_json: bool) -> anyhow::Result<bool> {
    let text = if as_json {
        String::from_utf8_lossy(line).trim_end().to_owned()
    } else {
        let event: Value = serde_json::from_slice(line).context(CommandError::new(
            &configuration::NOT_OUR_RESPONSE,
            "the response of the process is not a trace",
        ))?;
        match describe(&event) {
            Some(text) => text,
            None => return Ok(true),
        }
    };
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => Ok(true),
        // A reader such as `head` closes the pipe when it has enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// One event as text; `None` for a keep-alive event.
fn describe(event: &Value) -> Option<String> {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let what = match text("event") {
        "alive" => return None,
        "watching" => return Some("watching; what happens from now on is shown".to_owned()),
        "missed" => {
            return Some(format!("{} events were left out, because they came too fast", event["count"]));
        }
        "end" => return Some(format!("the trace ends: {}", text("reason"))),
        "connected" => format!("connected, {} over {}", text("protocol"), text("transport")),
        "disconnected" => match event["error"].as_str() {
            Some(error) => format!("ended: {} ({error})", text("reason")),
            None => format!("ended: {}", text("reason")),
        },
        "suspended" => "lost its socket, and may come back".to_owned(),
        "resumed" => "came back on a new socket".to_owned(),
        "joined" => format!("joined {}", text("group")),
        "left" => format!("left {}", text("group")),
        "sent" => {
            let method =
                event["method"].as_str().map_or_else(|| "a message".to_owned(), |name| format!("{name}()"));
            format!("{method} to {}, {} receivers", text("to"), event["receivers"])
        }
        "received" => {
            let method = event["method"]
                .as_str()
                .map_or_else(|| format!("type {}", event["type"]), |name| format!("{name}()"));
            format!("called {method}, {} bytes", event["bytes"])
        }
        other => other.to_owned(),
    };
    let at = event["at"].as_u64().unwrap_or_default();
    let (seconds, ms) = (at / 1000, at % 1000);
    let time = format!("{:02}:{:02}:{:02}.{ms:03}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut line = format!("{time}  {}", text("hub"));
    for name in ["connectionId", "userId"] {
        if let Some(value) = event[name].as_str() {
            line.push_str("  ");
            line.push_str(value);
        }
    }
    Some(format!("{line}  {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_printed_as_readable_lines() {
        let check = |event: Value, expected: &str| assert_eq!(describe(&event).as_deref(), Some(expected));
        let at = 1_700_000_000_123_u64;
        check(
            json!({ "event": "connected", "at": at, "hub": "chat", "connectionId": "C", "userId": "ada", "protocol": "json", "transport": "WebSockets" }),
            "22:13:20.123Z  chat  C  ada  connected, json over WebSockets",
        );
        check(
            json!({ "event": "disconnected", "at": at, "hub": "chat", "connectionId": "C", "reason": "Closed", "error": "enough" }),
            "22:13:20.123Z  chat  C  ended: Closed (enough)",
        );
        check(
            json!({ "event": "sent", "at": at, "hub": "chat", "to": "group g", "method": "news", "receivers": 3 }),
            "22:13:20.123Z  chat  news() to group g, 3 receivers",
        );
        check(json!({ "event": "missed", "count": 7 }), "7 events were left out, because they came too fast");
        assert_eq!(describe(&json!({ "event": "alive" })), None);
    }

    #[test]
    fn the_url_of_tail_contains_its_filters() {
        let arguments = TailArgs {
            hub: Some("chat".to_owned()),
            user: None,
            group: Some("a&b".to_owned()),
            connection: None,
            url: "http://localhost:8080/".to_owned(),
            json: false,
        };
        let expected = "http://localhost:8080/chappe/api/realtime/tail?hub=chat&group=a%26b";
        assert_eq!(address(&arguments), expected);
    }
}
