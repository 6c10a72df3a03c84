use expect_test::{Expect, expect};

use base64::Engine as _;

use super::*;
use crate::{DynamicKey, Resource};

const NOW: UnixSeconds = 1_700_000_000;

fn keys() -> KeySet {
    KeySet {
        primary: AccessKey::new("primary-secret").unwrap(),
        others: vec![AccessKey::new("secondary-secret").unwrap()],
        dynamic: vec![dynamic("live", NOW + 1), dynamic("ended", NOW)],
    }
}

fn dynamic(id: &str, expires_at: UnixSeconds) -> DynamicKey {
    DynamicKey { id: id.into(), key: AccessKey::new(format!("{id}-secret")).unwrap(), expires_at }
}

/// A token with this header and payload, signed with the primary key as HS256.
fn signed(header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = hmac::sign(&Algorithm::Hs256.key(&keys().primary), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Verifies for hub `chat` and checks the user id or the error.
fn check(token: &str, expected: &Expect) {
    let audience = Audience { resource: Resource::Client { hub: "chat" }, host: None };
    let shown = match verify(token, &keys(), &audience, NOW, &TokenRules::default()) {
        Ok(verified) => format!("{:?} until {}", verified.claims.user_id(), verified.expires_at),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&shown);
}

const HEADER: &str = r#"{"alg":"HS256","kid":"-17"}"#;

fn payload(more: &str) -> String {
    format!(r#"{{"aud":"http://localhost/client/?hub=chat","sub":"ada"{more}}}"#)
}

#[test]
fn tokens_of_both_keys_and_both_algorithms_are_valid() {
    let claims: Claims = [("sub", "ada")].into_iter().collect();
    for key in keys().iter() {
        for algorithm in [Algorithm::Hs256, Algorithm::Hs512] {
            let token = sign(&claims, "http://a/client/?hub=chat", NOW, NOW + 10, key, algorithm);
            check(&token, &expect![[r#"Some("ada") until 1700000010"#]]);
        }
    }
    // A `kid` that is not a dynamic key is ignored, and a fraction in `exp` is truncated.
    check(&signed(HEADER, &payload(r#","exp":1700000001.9"#)), &expect![[r#"Some("ada") until 1700000001"#]]);
    // Of two equal claims the last one is used.
    check(
        &signed(HEADER, &payload(r#","exp":1,"exp":1700000009"#)),
        &expect![[r#"Some("ada") until 1700000009"#]],
    );
}

#[test]
fn a_token_of_another_library_has_the_same_signature() {
    // The example of RFC 7515, appendix A.1, has a key of arbitrary bytes; this one was computed with `openssl dgst -sha256
    // -hmac`.
    let key = AccessKey::new("primary-secret").unwrap();
    let token = sign(&Claims::new(), "a", 1, 2, &key, Algorithm::Hs256);
    expect!["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJhIiwiaWF0IjoxLCJleHAiOjJ9.JZwbJ9v5KK2G28WF1JW7kT3ESClKmQ1f1cNxeFF6aGc"].assert_eq(&token);
}

#[test]
fn an_expired_token_is_accepted_within_the_leeway_only() {
    check(&signed(HEADER, &payload(r#","exp":1699999996"#)), &expect![[r#"Some("ada") until 1699999996"#]]);
    check(
        &signed(HEADER, &payload(r#","exp":1699999995"#)),
        &expect!["the token expired at 1699999995 (Unix time), 5 seconds ago"],
    );
    check(
        &signed(HEADER, &payload(r#","exp":-5"#)),
        &expect!["the token expired at 0 (Unix time), 1700000000 seconds ago"],
    );
    check(&signed(HEADER, &payload("")), &expect!["the token has no 'exp' claim"]);
    check(
        &signed(HEADER, &payload(r#","exp":"x""#)),
        &expect!["the token is malformed: 'exp' is not a number"],
    );
}

#[test]
fn a_token_is_accepted_up_to_five_minutes_before_nbf() {
    let early = |nbf: &str| signed(HEADER, &payload(&format!(r#","exp":1800000000,"nbf":{nbf}"#)));
    check(&early("1700000300"), &expect![[r#"Some("ada") until 1800000000"#]]);
    check(
        &early("1700000301"),
        &expect!["the token is not valid before 1700000301 (Unix time), in 301 seconds"],
    );
    check(
        &early("9999999999"),
        &expect!["the token is not valid before 9999999999 (Unix time), in 8299999999 seconds"],
    );
    check(&early("true"), &expect!["the token is malformed: 'nbf' is not a number"]);
}

#[test]
fn a_dynamic_key_is_used_for_its_kid_until_it_expires() {
    let claims: Claims = [("sub", "ada")].into_iter().collect();
    let audience = "http://a/client/?hub=chat";
    let by = |key: &DynamicKey| sign_dynamic(&claims, audience, NOW, NOW + 10, key);
    check(&by(&dynamic("live", 0)), &expect![[r#"Some("ada") until 1700000010"#]]);
    let refused = expect!["the token's signature does not match any valid access key"];
    // An expired key; an unknown key; a known id with another secret; a known secret without its id.
    check(&by(&dynamic("ended", 0)), &refused);
    check(&by(&dynamic("unknown", 0)), &refused);
    check(&by(&DynamicKey { key: keys().primary, ..dynamic("live", 0) }), &refused);
    check(&sign(&claims, audience, NOW, NOW + 10, &dynamic("live", 0).key, Algorithm::Hs256), &refused);
}

#[test]
fn forged_tokens_are_rejected_with_the_cause() {
    let good = payload(r#","exp":1700000010"#);
    check(
        &signed(r#"{"alg":"none"}"#, &good),
        &expect!["the token's algorithm 'none' is not accepted; use HS256 or HS512"],
    );
    check(
        &signed(r#"{"alg":"hs256"}"#, &good),
        &expect!["the token's algorithm 'hs256' is not accepted; use HS256 or HS512"],
    );
    check(
        &signed(r#"{"alg":"HS256","crit":["exp"]}"#, &good),
        &expect!["the token's header has 'crit', which names extensions that are not supported"],
    );
    check(&signed("{}", &good), &expect!["the token is malformed: the header has no 'alg'"]);
    let token = signed(HEADER, &good);
    let signature = expect!["the token's signature does not match any valid access key"];
    let (unsigned, _) = token.rsplit_once('.').unwrap();
    check(&format!("{unsigned}."), &signature);
    check(&signed(r#"{"alg":"HS512"}"#, &good), &signature);
    let other = payload(r#","exp":1700000011"#);
    let swapped = token.replace(&URL_SAFE_NO_PAD.encode(&good), &URL_SAFE_NO_PAD.encode(&other));
    check(&swapped, &signature);
    let three = expect!["the token is malformed: it does not have three parts with dots between"];
    for malformed in ["", "a", "a.b", "a.b.c.d", &format!("{token}.x")] {
        check(malformed, &three);
    }
    check("!.b.c", &expect!["the token is malformed: the header is not a JSON object in base64url"]);
    check(&"a".repeat(8_193), &expect!["the token has 8193 bytes, more than the 8192 allowed"]);
}

#[test]
fn a_token_for_another_audience_is_rejected() {
    let aud = |aud: &str| signed(HEADER, &format!(r#"{{"aud":{aud},"exp":1700000010}}"#));
    check(
        &aud(r#""http://localhost/client/?hub=other""#),
        &expect!["the token's audience 'http://localhost/client/?hub=other' does not match this resource"],
    );
    check(&aud(r#"["x","http://localhost/client/?hub=chat"]"#), &expect!["None until 1700000010"]);
    check(&aud("[]"), &expect!["the token's audience '' does not match this resource"]);
}
