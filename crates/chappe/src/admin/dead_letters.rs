//! The connection events that could not be delivered, page by page.

use http::Response;
use http_messages::error_chain;
use realtime::events::DeadLettersError;
use serde_json::json;

use super::{Body, Refusal, json_answer};

/// Letters in a page where nobody says how many, and at most.
const PAGE_LETTERS: usize = 100;
const PAGE_LETTERS_MAX: usize = 1000;

/// Answers `?after=<next of the page before>&max=<letters>`.
pub(super) async fn answer(realtime: &realtime::Handle, query: Option<&str>) -> Response<Body> {
    let value = |name: &str| {
        let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value)
    };
    let max = value("max").and_then(|number| number.parse().ok()).unwrap_or(PAGE_LETTERS);
    match realtime.dead_letters(value("after"), max.clamp(1, PAGE_LETTERS_MAX)).await {
        Ok(page) => json_answer(&json!({ "letters": page.letters, "next": page.next })),
        Err(DeadLettersError::Cursor(_)) => Refusal::NoSuchPlace.respond(),
        Err(error) => {
            tracing::error!("the dead letters cannot be read: {}", error_chain(&error));
            Refusal::UnreadableLetters.respond()
        }
    }
}
