//! Any text as a query of documents: it is rejected with a reason, or its pages stay within their budget and together equal the result of
//! the query without a budget.

#![no_main]

use std::sync::OnceLock;

use chappe_fuzz::memory::peak_bytes;
use documents::fuzzing::{QueryLimits, query};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const FREE: QueryLimits = QueryLimits { items: 1000, rows: u64::MAX, steps: u64::MAX };
const TIGHT: QueryLimits = QueryLimits { items: 2, rows: 3, steps: 2000 };
/// Every page with ORDER BY scans all rows again, three at a time.
const PAGES_MAX: usize = ROWS * ROWS;
const ROWS: usize = 12;
/// The cost of one row's JSON, in steps, plus a margin.
const ROW_STEPS_MAX: u64 = 100;
/// The upper bound for any query text: one row builds at most 16 MB.
const MEMORY_MAX: usize = 256 * 1024 * 1024;

fn rows() -> &'static [Value] {
    static MADE: OnceLock<Vec<Value>> = OnceLock::new();
    MADE.get_or_init(|| (0..ROWS).map(row).collect())
}

fn row(n: usize) -> Value {
    let mut row =
        json!({"id": n.to_string(), "n": (n * 7) % 5, "s": "ab".repeat(n), "o": {"v": n, "tags": ["a", n]}});
    if n.is_multiple_of(3) {
        row["n"] = [json!(null), json!("2"), json!(true), json!([1]), json!(1.5)][n / 3].clone();
    }
    row
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let conditions = format!("SELECT VALUE c.id FROM c WHERE {text}");
    for text in [text, &conditions] {
        let ((free, tight), peak) =
            peak_bytes(|| (query(text, rows(), FREE, PAGES_MAX), query(text, rows(), TIGHT, PAGES_MAX)));
        assert!(peak <= MEMORY_MAX, "{peak} bytes for a query of {}", text.len());
        match (free, tight) {
            (Ok(free), Ok(tight)) => {
                assert_eq!(free.rows, tight.rows);
                assert_eq!(free.pages, 1);
                assert!(tight.rows_most <= TIGHT.rows);
                assert!(tight.steps_most <= TIGHT.steps + ROW_STEPS_MAX, "{} steps", tight.steps_most);
                assert!(tight.continuation_bytes_most <= 8 * 1024);
            }
            // One row may cost more than the small budget, or the continuation token may be too long.
            (Ok(_), Err(Some(error))) => {
                let known =
                    ["steps for a single item", "too long for a continuation", "more than one request may"];
                assert!(known.iter().any(|known| error.contains(known)), "{error}");
            }
            (Err(Some(free)), Err(Some(_))) => {
                assert!(free.len() <= 12 * 1024, "{} bytes of reason", free.len())
            }
            (free, tight) => panic!("{free:?} without a budget, {tight:?} with one"),
        }
    }
});
