//! Any text as the filter of `:execute`: it is rejected with a reason, or it has the same meaning in every notation, and the opposite one
//! when it is negated.

#![no_main]

use chappe_fuzz::memory::peak_bytes;
use libfuzzer_sys::fuzz_target;
use realtime::fuzzing::filter;

const SEEN: [(&str, Option<&str>, &[&str]); 3] = [
    ("AAAAAAAAAAAAAAAAAAAAAAAAAAA", Some("ada"), &["g", "h"]),
    ("BBBBBBBBBBBBBBBBBBBBBBBBBBB", None, &[]),
    ("ccc", Some("\u{130}\u{1f600}"), &["ada"]),
];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let in_parentheses = format!("({text})");
    let negated = format!("not ({text})");
    for (connection, user, groups) in SEEN {
        let ask = |text: &str| filter(text, connection, user, groups);
        let (said, peak) = peak_bytes(|| ask(text));
        assert!(peak <= 1024 * text.len() + 8192, "{peak} bytes for a filter of {}", text.len());
        match said {
            Ok(said) => {
                // Unless it is at the limits of length and depth.
                if let Ok(again) = ask(&in_parentheses) {
                    assert_eq!(again, said);
                }
                if let Ok(opposite) = ask(&negated) {
                    // Null is neither true nor false.
                    assert!(!(said && opposite));
                }
            }
            Err(error) => assert!(error.len() <= 12 * 1024, "{} bytes of reason", error.len()),
        }
    }
});
