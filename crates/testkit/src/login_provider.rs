//! [`LoginProvider`]: an OpenID Connect provider that signs any claims, with a key of each kind.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::{Value, json};

/// A public test key that protects nothing; none of our crates can generate an RSA key.
const RSA: &str = include_str!("../data/test-only-rsa-2048.pk8.base64");

/// A login provider with two keys: `rsa` for RS256, `ec` for ES256.
pub struct LoginProvider {
    /// Its issuer name, the `iss` of its tokens.
    pub issuer: String,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl LoginProvider {
    /// A provider with that issuer name. Its `ec` key is new; its `rsa` key is always the same.
    pub fn new(issuer: &str) -> Self {
        let rsa = STANDARD.decode(RSA.split_whitespace().collect::<String>()).expect("the key is base64");
        let random = SystemRandom::new();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a new key");
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random);
        Self {
            issuer: issuer.to_owned(),
            rsa: RsaKeyPair::from_pkcs8(&rsa).expect("the key is an RSA key"),
            ec: ec.expect("the key was just generated"),
        }
    }

    /// Its public keys, as it publishes them.
    pub fn key_set(&self) -> Value {
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let (n, e) = (URL_SAFE_NO_PAD.encode(rsa.n), URL_SAFE_NO_PAD.encode(rsa.e));
        let point = self.ec.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({ "keys": [
            { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "rsa", "n": n, "e": e },
            { "kty": "EC", "use": "sig", "crv": "P-256", "kid": "ec", "x": x, "y": y },
        ] })
    }

    /// A token with these claims. `algorithm` is RS256 or ES256 and selects the key.
    pub fn token(&self, algorithm: &str, claims: &Value) -> String {
        let kid = if algorithm == "ES256" { "ec" } else { "rsa" };
        self.sign(algorithm, &json!({ "alg": algorithm, "typ": "JWT", "kid": kid }), claims)
    }

    /// A token with this header; `algorithm` only selects the key.
    pub fn sign(&self, algorithm: &str, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = if algorithm == "ES256" {
            self.ec.sign(&random, signed.as_bytes()).expect("the key signs").as_ref().to_vec()
        } else {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa
                .sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
                .expect("the key signs");
            signature
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
