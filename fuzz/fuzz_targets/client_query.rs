//! Any text as the query of a client: it names one hub, or is rejected with a reason; the part that is kept has the same meaning.

#![no_main]

use libfuzzer_sys::fuzz_target;
use realtime::fuzzing::client_query;

fuzz_target!(|data: &[u8]| {
    let Ok(query) = std::str::from_utf8(data) else { return };
    match client_query(query) {
        Ok(hub) => {
            assert!((1..=128).contains(&hub.len()) && hub.as_bytes()[0].is_ascii_lowercase());
            assert!(hub.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
        }
        Err(told) => assert!(told.len() <= 1024, "{} bytes of reason", told.len()),
    }
});
