//! `X-ASRS-Signature`: `sha256=` and the hexadecimal HMAC-SHA256 of the connection id under each access key of the service, separated
//! by commas. Pure.

use identity::AccessKey;
use ring::hmac;

/// Whether one of the signatures is by this key. The duration does not depend on how much of a signature matches.
pub(super) fn is_valid(signatures: &str, connection: &str, key: &AccessKey) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
    signatures.split(',').any(|signature| {
        let (scheme, digits) = signature.trim().split_once('=').unwrap_or_default();
        scheme.eq_ignore_ascii_case("sha256")
            && bytes(digits).is_some_and(|tag| hmac::verify(&key, connection.as_bytes(), &tag).is_ok())
    })
}

/// The bytes of hexadecimal digits in any case.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
