//! Tokens with any header, payload and signature, signed with our key or not: a token that is not signed, has expired, or has another
//! audience is rejected.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chappe_fuzz::memory::peak_bytes;
use identity::{AccessKey, Audience, KeySet, Resource, TokenRules, verify};
use libfuzzer_sys::fuzz_target;
use ring::hmac;
use serde_json::Value;

const KEY: &str = "a-key-of-the-fuzz-target";
const NOW: u64 = 1_800_000_000;

fuzz_target!(|data: &[u8]| {
    let keys = KeySet::single(AccessKey::new(KEY).expect("the key is not empty"));
    let expected = Audience { resource: Resource::Client { hub: "chat" }, host: None };
    let rules = TokenRules { token_bytes_max: 4096, ..TokenRules::default() };
    let check = |token: &str| {
        let (outcome, peak) = peak_bytes(|| verify(token, &keys, &expected, NOW, &rules));
        assert!(peak <= 256 * token.len().min(4096) + 4096, "{peak} bytes for a token of {}", token.len());
        if let Err(error) = &outcome {
            assert!(error.to_string().len() <= 2048, "the reason goes to the caller");
        }
        outcome.ok()
    };
    if let Ok(token) = std::str::from_utf8(data) {
        assert!(check(token).is_none(), "nobody signed this");
    }
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (header, payload) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    for algorithm in [hmac::HMAC_SHA256, hmac::HMAC_SHA512] {
        let name = if algorithm == hmac::HMAC_SHA256 { "HS256" } else { "HS512" };
        let signature = hmac::sign(&hmac::Key::new(algorithm, KEY.as_bytes()), signed.as_bytes());
        let Some(verified) = check(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))) else {
            continue;
        };
        let header: Value = serde_json::from_slice(header).expect("the header is JSON");
        assert!(header["alg"] == name && header.get("crit").is_none());
        let payload: Value = serde_json::from_slice(payload).expect("the payload is JSON");
        assert!(
            verified.expires_at.saturating_add(rules.leeway.as_secs()) > NOW && !payload["exp"].is_null()
        );
        assert!(!payload["aud"].is_null());
    }
});
