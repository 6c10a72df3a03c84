//! Requests with any headers: only those that follow the rules of the opening handshake are accepted, and the response proves knowledge of
//! the key.

#![no_main]

use http::{HeaderName, HeaderValue, Method, Request, Version};
use libfuzzer_sys::fuzz_target;
use websocket::{accept_key, accept_upgrade};

fuzz_target!(|data: &[u8]| {
    let Some((switches, text)) = data.split_first() else { return };
    let mut request = Request::new(());
    *request.method_mut() = if switches & 1 == 0 { Method::GET } else { Method::POST };
    *request.version_mut() = if switches & 2 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
    for line in text.split(|byte| *byte == b'\n').take(64) {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else { continue };
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
            continue;
        };
        request.headers_mut().append(name, value);
    }
    let header = |name: &str| -> Vec<String> {
        let values = request.headers().get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    match accept_upgrade(&request) {
        Ok(accept) => {
            assert!(switches & 3 == 0, "only GET over HTTP/1.1");
            let keys = header("sec-websocket-key");
            assert_eq!(keys.len(), 1);
            assert_eq!(accept, accept_key(keys[0].trim()));
            assert!(header("connection").concat().to_ascii_lowercase().contains("upgrade"));
            assert!(header("upgrade").concat().to_ascii_lowercase().contains("websocket"));
            assert_eq!(header("sec-websocket-version")[0], "13");
        }
        Err(refused) => assert!(refused.status().is_client_error() && !refused.to_string().is_empty()),
    }
});
