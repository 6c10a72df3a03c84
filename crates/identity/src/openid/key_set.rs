//! [`JsonWebKeySet`]: the public keys of an OpenID provider (RFC 7517), for RS256 and ES256.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};

/// Most keys of a set; providers have a few.
const KEYS_MAX: usize = 100;

/// The public keys of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonWebKeySet {
    keys: Vec<Key>,
}

/// Why a text is not a valid key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonWebKeySetError {
    /// It is not a JSON object with a list `keys`.
    #[error("a key set must be a JSON object with a list 'keys'")]
    Shape,
    /// It has too many keys.
    #[error("the key set has {0} keys, more than the {KEYS_MAX} allowed")]
    TooMany(usize),
    /// It has no key that can verify tokens.
    #[error("the key set has no key for RS256 (RSA) or ES256 (EC, P-256)")]
    Empty,
}

/// The signature algorithm of a provider's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublicKeyAlgorithm {
    Rs256,
    Es256,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point: 4, x, y.
    P256(Vec<u8>),
}

impl JsonWebKeySet {
    /// Parses a key set. Skips keys of other types or uses, as RFC 7517, section 5, requires.
    ///
    /// # Errors
    ///
    /// If it is not a key set, or has no usable key.
    pub fn parse(text: &[u8]) -> Result<Self, JsonWebKeySetError> {
        let object: Map<String, Value> =
            serde_json::from_slice(text).map_err(|_| JsonWebKeySetError::Shape)?;
        let keys = object.get("keys").and_then(Value::as_array).ok_or(JsonWebKeySetError::Shape)?;
        if keys.len() > KEYS_MAX {
            return Err(JsonWebKeySetError::TooMany(keys.len()));
        }
        let keys: Vec<Key> = keys.iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err(JsonWebKeySetError::Empty) } else { Ok(Self { keys }) }
    }

    /// Whether a key made the signature; `None` if no key has this `kid`.
    pub(super) fn verify(
        &self,
        algorithm: PublicKeyAlgorithm,
        id: Option<&str>,
        signed: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let mut named = self.keys.iter().filter(|key| id.is_none() || key.id.as_deref() == id).peekable();
        named.peek()?;
        Some(named.any(|key| key.material.verify(algorithm, signed, signature)))
    }
}

impl Key {
    fn read(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let material = match (text("kty")?, text("alg")) {
            ("RSA", None | Some("RS256")) => {
                // RFC 7518 forbids leading zeros, and ring rejects them; some providers write one.
                let strip = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect();
                Material::Rsa { n: strip(bytes("n")?), e: strip(bytes("e")?) }
            }
            ("EC", None | Some("ES256")) if text("crv") == Some("P-256") => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                Material::P256([&[4], x.as_slice(), y.as_slice()].concat())
            }
            _ => return None,
        };
        Some(Self { id: text("kid").map(str::to_owned), material })
    }
}

impl Material {
    fn verify(&self, algorithm: PublicKeyAlgorithm, signed: &[u8], bytes: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Rsa { n, e }, PublicKeyAlgorithm::Rs256) => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, bytes).is_ok()
            }
            (Self::P256(point), PublicKeyAlgorithm::Es256) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(signed, bytes)
                    .is_ok()
            }
            _ => false,
        }
    }
}

impl PublicKeyAlgorithm {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}
