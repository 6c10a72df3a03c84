use expect_test::{Expect, expect};
use serde_json::{Value, json};
use testkit::LoginProvider;

use super::*;
use crate::{AccessKey, Algorithm, Audience, Claims, KeySet, Resource};

const NOW: UnixSeconds = 1_700_000_000;
const ISSUER: &str = "https://login.example/tenant/v2.0";

fn login_provider() -> LoginProvider {
    LoginProvider::new(ISSUER)
}

fn keys(login: &LoginProvider) -> JsonWebKeySet {
    JsonWebKeySet::parse(login.key_set().to_string().as_bytes()).unwrap()
}

/// Valid claims with changes; null removes a claim.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "https://signalr.azure.com", "exp": NOW + 60, "nbf": NOW - 60, "sub": "app-1",
        "roles": ["SignalR REST API Owner"],
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn outcome(login: &LoginProvider, token: &str) -> String {
    let (keys, audiences) = (keys(login), ["https://signalr.azure.com/".to_owned()]);
    let provider = Provider { issuer: ISSUER, audiences: &audiences, keys: &keys };
    match verify(token, provider, NOW, &TokenRules::default()) {
        Ok(verified) => format!("{:?} {:?}", verified.claims.user_id(), verified.claims.values("roles")),
        Err(error) => error.to_string(),
    }
}

#[test]
fn tokens_of_both_algorithms_are_valid_with_and_without_a_key_id() {
    let login = login_provider();
    let good = expect![[r#"Some("app-1") ["SignalR REST API Owner"]"#]];
    for algorithm in ["RS256", "ES256"] {
        let token = login.token(algorithm, &claims(json!({})));
        assert!(is_public_key_token(&token, &TokenRules::default()));
        good.assert_eq(&outcome(&login, &token));
        good.assert_eq(&outcome(
            &login,
            &login.sign(algorithm, &json!({ "alg": algorithm }), &claims(json!({}))),
        ));
    }
    let several = claims(json!({ "aud": ["other", "https://signalr.azure.com"] }));
    good.assert_eq(&outcome(&login, &login.token("RS256", &several)));
}

#[test]
fn tokens_of_another_library_are_valid() {
    // RFC 7515, appendices A.2 and A.3: the same payload, without an audience, so that only the audience is missing in the end.
    let payload =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let a2 = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let a3 = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let keys = json!({ "keys": [
        { "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" },
        { "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" },
    ] });
    let keys = JsonWebKeySet::parse(keys.to_string().as_bytes()).unwrap();
    let provider = Provider { issuer: "joe", audiences: &[], keys: &keys };
    for (header, signature) in [("eyJhbGciOiJSUzI1NiJ9", a2), ("eyJhbGciOiJFUzI1NiJ9", a3)] {
        let token = format!("{header}.{payload}.{signature}");
        let result = verify(&token, provider, 1_300_819_000, &TokenRules::default());
        assert_eq!(result.unwrap_err(), TokenError::Audience(String::new()));
        let forged = format!("{header}.{}.{signature}", payload.replace("eyJpc3", "eyJpc4"));
        let result = verify(&forged, provider, 1_300_819_000, &TokenRules::default());
        assert_eq!(result.unwrap_err(), TokenError::IssuerSignature);
    }
}

#[test]
fn an_invalid_token_is_rejected_with_the_cause() {
    let login = login_provider();
    let check = |changes: Value, expected: Expect| {
        expected.assert_eq(&outcome(&login, &login.token("ES256", &claims(changes))));
    };
    check(
        json!({ "aud": "https://vault.azure.net" }),
        expect!["the token's audience 'https://vault.azure.net' does not match this resource"],
    );
    check(json!({ "aud": null }), expect!["the token's audience '' does not match this resource"]);
    check(
        json!({ "iss": "https://evil.example" }),
        expect!["the token's issuer 'https://evil.example' is not the one that is configured"],
    );
    check(json!({ "iss": null }), expect!["the token's issuer '' is not the one that is configured"]);
    check(json!({ "exp": NOW - 6 }), expect!["the token expired at 1699999994 (Unix time), 6 seconds ago"]);
    check(json!({ "exp": null }), expect!["the token has no 'exp' claim"]);
    check(
        json!({ "nbf": NOW + 301 }),
        expect!["the token is not valid before 1700000301 (Unix time), in 301 seconds"],
    );
    check(json!({ "nbf": NOW + 300 }), expect![[r#"Some("app-1") ["SignalR REST API Owner"]"#]]);
}

#[test]
fn forged_tokens_are_rejected() {
    let login = login_provider();
    let good = claims(json!({}));
    let check = |algorithm: &str, header: Value, expected: Expect| {
        expected.assert_eq(&outcome(&login, &login.sign(algorithm, &header, &good)));
    };
    // The algorithm of one key with the other's signature, an unknown key, and unknown extensions.
    check(
        "RS256",
        json!({ "alg": "ES256" }),
        expect!["the token's signature does not match a key of its issuer"],
    );
    check(
        "RS256",
        json!({ "alg": "RS256", "kid": "ec" }),
        expect!["the token's signature does not match a key of its issuer"],
    );
    check(
        "RS256",
        json!({ "alg": "RS256", "kid": "gone" }),
        expect!["the token's 'kid' names 'gone', which is not a key of its issuer"],
    );
    check(
        "RS256",
        json!({ "alg": "RS256", "crit": ["b64"], "b64": false }),
        expect!["the token's header has 'crit', which names extensions that are not supported"],
    );
    check(
        "RS256",
        json!({ "alg": "none" }),
        expect!["the token's algorithm 'none' is not accepted; use RS256 or ES256"],
    );
    check(
        "RS256",
        json!({ "alg": "PS256" }),
        expect!["the token's algorithm 'PS256' is not accepted; use RS256 or ES256"],
    );
    // A key of another provider with the same id.
    let other = LoginProvider::new(ISSUER);
    expect!["the token's signature does not match a key of its issuer"]
        .assert_eq(&outcome(&login, &other.token("ES256", &good)));
}

#[test]
fn a_token_signed_with_the_public_key_as_secret_is_rejected() {
    // Algorithm confusion: the attacker signs by HMAC with the public key, and hopes that the verifier uses it as a secret.
    let login = login_provider();
    let secrets = [login.key_set()["keys"][0]["n"].as_str().unwrap().to_owned(), login.key_set().to_string()];
    for secret in secrets {
        let key = AccessKey::new(secret).unwrap();
        let forged: Claims = [("iss", ISSUER), ("sub", "app-1")].into_iter().collect();
        let token = crate::sign(&forged, "https://signalr.azure.com", NOW, NOW + 60, &key, Algorithm::Hs256);
        assert_eq!(
            outcome(&login, &token),
            "the token's algorithm 'HS256' is not accepted; use RS256 or ES256"
        );
        let ours = KeySet::single(AccessKey::new("ours").unwrap());
        let audience = Audience { resource: Resource::Rest { path: "/api" }, host: None };
        let result = crate::verify(&token, &ours, &audience, NOW, &TokenRules::default());
        assert_eq!(result.unwrap_err(), TokenError::Signature);
    }
    // The other verifier does not accept a token of the provider either.
    let ours = KeySet::single(AccessKey::new("ours").unwrap());
    let audience = Audience { resource: Resource::Rest { path: "/api" }, host: None };
    let token = login.token("RS256", &claims(json!({})));
    let result = crate::verify(&token, &ours, &audience, NOW, &TokenRules::default());
    assert_eq!(result.unwrap_err(), TokenError::Algorithm("RS256".to_owned(), "HS256 or HS512"));
}

#[test]
fn unusable_keys_are_skipped_and_an_empty_key_set_is_an_error() {
    let check = |text: &str, expected: Expect| {
        let shown = match JsonWebKeySet::parse(text.as_bytes()) {
            Ok(keys) => format!("{} keys", format!("{keys:?}").matches("material").count()),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    };
    check("[]", expect!["a key set must be a JSON object with a list 'keys'"]);
    check(r#"{"keys":{}}"#, expect!["a key set must be a JSON object with a list 'keys'"]);
    check(r#"{"keys":[]}"#, expect!["the key set has no key for RS256 (RSA) or ES256 (EC, P-256)"]);
    check(
        r#"{"keys":[5,{"kty":"oct","k":"AA"},{"kty":"EC","crv":"P-384","x":"","y":""}]}"#,
        expect!["the key set has no key for RS256 (RSA) or ES256 (EC, P-256)"],
    );
    check(
        r#"{"keys":[{"kty":"RSA","use":"enc","n":"AQAB","e":"AQAB"}]}"#,
        expect!["the key set has no key for RS256 (RSA) or ES256 (EC, P-256)"],
    );
    check(
        &format!(r#"{{"keys":[{}]}}"#, vec!["5"; 101].join(",")),
        expect!["the key set has 101 keys, more than the 100 allowed"],
    );
    // A key that is too short is in the set and verifies nothing: ring requires 2048 bits.
    check(r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct"}],"more":1}"#, expect!["1 keys"]);
}
