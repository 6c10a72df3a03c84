//! Clients that repeat what the recorded clients did.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use signalr_protocol::HubProtocol;
use testkit::{Http, HubClient, PATIENCE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use websocket::Opcode;

use super::{Recorded, Sent};
use crate::fixture::{KEY, Listening, now, token};
use crate::webhook::Webhook;

/// The input of a client.
pub(super) struct Input {
    hub: &'static str,
    /// The claims of its token, after those that every token has.
    claims: &'static str,
    /// The part of its query between the hub and the token.
    query: String,
    protocol: HubProtocol,
    transport: Transport,
    /// The message that it sends, without the framing.
    message: Option<Vec<u8>>,
    end: End,
}

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    WebSockets,
    LongPolling,
    ServerSentEvents,
}

/// How its connection ends.
#[derive(Clone, Copy)]
enum End {
    /// With this WebSocket frame.
    Frame(Opcode, &'static [u8]),
    /// The connection is closed without a frame.
    Cut,
    /// The app closes it over REST, with this query.
    Rest(&'static str),
}

/// The claims of the scenarios `claims/…`.
const CLAIMS: [(&str, &str); 21] = [
    ("anonymous", ""),
    ("nameid", r#""nameid":"ada""#),
    ("sub", r#""sub":"ada""#),
    ("uid", r#""asrs.s.uid":"ada""#),
    ("sub-nameid", r#""sub":"s1","nameid":"n1""#),
    ("nameid-sub", r#""nameid":"n1","sub":"s1""#),
    ("uid-nameid-sub", r#""nameid":"n1","sub":"s1","asrs.s.uid":"u1""#),
    ("longid", r#""http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier":"long1""#),
    (
        "long-and-short",
        r#""nameid":"short1","http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier":"long1""#,
    ),
    ("nameid-array", r#""nameid":["n1","n2"]"#),
    ("uid-empty", r#""asrs.s.uid":"","nameid":"n1""#),
    ("uid-number", r#""asrs.s.uid":42"#),
    ("roles", r#""nameid":"a","role":["r1","r2"],"roles":["r3","r4"]"#),
    (
        "common-short",
        concat!(
            r#""nameid":"s","name":"N","unique_name":"U","given_name":"G","family_name":"F","email":"e@x","upn":"u@x","oid":"o","tid":"t","#,
            r#""scp":"a b","groups":["g1","g2"],"sid":"si","amr":["pwd","mfa"],"acr":"1","idp":"i","website":"w","gender":"x","#,
            r#""birthdate":"2000-01-01","actort":"ac","preferred_username":"p","azp":"z","appid":"ap","ver":"1.0","jti":"j","nonce":"no""#,
        ),
    ),
    (
        "system",
        concat!(
            r#""nameid":"a","asrs.s.aut":"Cookies","asrs.s.nt":"n","asrs.s.rt":"r","asrs.s.vn":"1","asrs.s.derror":"True","#,
            r#""asrs.s.dc":"True","asrs.s.secn":"1","asrs.u.exp":"x","asrs.u.sub":"y","asrs.u.role":"z""#,
        ),
    ),
    ("comma", r#""nameid":"a","name":"Last, First","x":"a: b, role: admin""#),
    ("space", r#""nameid":" a b ","x":" lead","y":"trail ","z":"","tab":"a\tb""#),
    ("percent", r#""nameid":"a%2Fb","x":"100%""#),
    (
        "types",
        concat!(
            r#""nameid":"a","i":5,"f":1.5,"big":12345678901234567890,"neg":-1,"t":true,"fa":false,"n":null,"o":{"k":[1,{"z":null}]},"#,
            r#""arr":[1,"a",true,null,{"q":1}],"eo":{},"date":"2020-01-01T00:00:00Z""#,
        ),
    ),
    ("issuer", r#""nameid":"a","iss":"me","jti":"1""#),
    ("colon-type", r#""nameid":"a","a: b":"c","x,y":"z","":"emptytype""#),
];

/// The ends of the scenarios `end/…`; 03 e9 is the status 1001 of a WebSocket, 0b b8 is 3000.
const ENDS: [(&str, End); 11] = [
    ("close-frame", End::Frame(Opcode::Close, &[0x03, 0xe8])),
    ("close-1001", End::Frame(Opcode::Close, &[0x03, 0xe9])),
    ("close-3000", End::Frame(Opcode::Close, &[0x0b, 0xb8])),
    ("kill", End::Cut),
    ("closemsg", End::Frame(Opcode::Text, b"{\"type\":7}\x1e")),
    ("closemsg-error", End::Frame(Opcode::Text, b"{\"type\":7,\"error\":\"e\"}\x1e")),
    ("rest", End::Rest("")),
    ("rest-reason", End::Rest("&reason=because")),
    ("badjson", End::Frame(Opcode::Text, b"{nonsense\x1e")),
    ("notype", End::Frame(Opcode::Text, b"{}\x1e")),
    ("array", End::Frame(Opcode::Text, b"[]\x1e")),
];

impl Input {
    /// The input of the client in a scenario; `None` for scenarios that are not repeated here.
    pub(super) fn of(scenario: &str, requests: &[Recorded]) -> Option<Self> {
        let (group, name) = scenario.split_once('/').unwrap();
        let call = requests.iter().find(|request| request.target.contains("/messages/"));
        let is_binary = call.is_some_and(|call| call.content_type == "application/x-msgpack");
        let mut input = Self {
            hub: "chat",
            claims: r#""nameid":"a""#,
            query: String::new(),
            protocol: if is_binary { HubProtocol::MessagePack } else { HubProtocol::Json },
            transport: Transport::WebSockets,
            message: call.map(|call| if is_binary { unhex(&call.body) } else { call.body.clone().into() }),
            end: End::Frame(Opcode::Close, &[0x03, 0xe8]),
        };
        match (group, name) {
            ("claims", name) => input.claims = CLAIMS.iter().find(|(other, _)| *other == name)?.1,
            // Which of two tokens is used does not concern upstreams.
            ("query", "token2") => return None,
            ("query", _) => {
                let query = requests[0].query.strip_prefix("?hub=chat").unwrap();
                input.query = query.strip_suffix("&access_token=DROPPED").unwrap().to_owned();
            }
            ("end", name) => input.end = ENDS.iter().find(|(other, _)| *other == name)?.1,
            ("transport", "long-polling") => {
                input.query = "&a=b".to_owned();
                (input.claims, input.transport) = (r#""nameid":"ada""#, Transport::LongPolling);
            }
            ("transport", _) => {
                input.query = "&a=b".to_owned();
                (input.claims, input.transport) = (r#""nameid":"ada""#, Transport::ServerSentEvents);
            }
            ("hub", _) => (input.hub, input.claims) = ("NewHub", r#""nameid":"ada""#),
            // The recorded body is the message of such a client.
            _ if call.is_some() => {}
            _ => return None,
        }
        Some(input)
    }

    fn token(&self) -> String {
        let mut payload = format!(
            r#"{{"aud":"http://localhost:36000/client/?hub={}","iat":{now},"nbf":{now},"exp":{}"#,
            self.hub,
            now() + 60,
            now = now()
        );
        if !self.claims.is_empty() {
            payload.push(',');
            payload.push_str(self.claims);
        }
        payload.push('}');
        let encode = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(payload.as_bytes()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
        let signature = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", encode(signature.as_ref()))
    }

    fn framed(&self) -> Option<Vec<u8>> {
        let message = self.message.as_ref()?;
        let mut framed = Vec::new();
        if self.protocol == HubProtocol::MessagePack {
            framed.push(u8::try_from(message.len()).expect("a short message"));
        }
        framed.extend(message);
        if self.protocol == HubProtocol::Json {
            framed.push(0x1e);
        }
        Some(framed)
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// Repeats what a client did, and responds to every request of the service. Returns the requests.
pub(super) async fn play(listening: &Listening, webhook: &mut Webhook, input: &Input) -> Vec<Sent> {
    match input.transport {
        Transport::WebSockets => web_sockets(listening, webhook, input).await,
        Transport::LongPolling | Transport::ServerSentEvents => of_requests(listening, webhook, input).await,
    }
}

async fn web_sockets(listening: &Listening, webhook: &mut Webhook, input: &Input) -> Vec<Sent> {
    let path = format!("/client/?hub={}{}&access_token={}", input.hub, input.query, input.token());
    let mut client = HubClient::connect(&listening.authority, &path, input.protocol).await.unwrap();
    let mut seen = vec![answered(webhook).await];
    if let Some(framed) = input.framed() {
        client.send(&framed).await.unwrap();
        seen.push(answered(webhook).await);
    }
    match input.end {
        End::Frame(opcode, payload) => client.send_frame(opcode, payload).await.unwrap(),
        End::Cut => {}
        End::Rest(query) => {
            let id = seen[0].connection.clone();
            let path = format!("/api/v1/hubs/chat/connections/{id}?api-version=1{query}");
            let authorization = format!("Bearer {}", token(&format!("http://service{path}"), &[]));
            let headers = [("authorization", authorization.as_str())];
            let answer = Http::new(&listening.authority).send("DELETE", &path, &headers, "").await.unwrap();
            assert_eq!(answer.status, 202);
        }
    }
    if !matches!(input.end, End::Cut) {
        while client.next().await.unwrap().is_some() {}
    }
    drop(client);
    seen.push(answered(webhook).await);
    seen
}

/// A client of long polling or Server-Sent Events.
async fn of_requests(listening: &Listening, webhook: &mut Webhook, input: &Input) -> Vec<Sent> {
    let http = Http::new(&listening.authority);
    let token = input.token();
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let negotiate = format!("/client/negotiate?hub={}&negotiateVersion=1", input.hub);
    let negotiated = http.send("POST", &negotiate, &headers, "").await.unwrap().json().unwrap();
    let id = negotiated["connectionToken"].as_str().unwrap();
    let path = format!("/client/?hub={}{}&id={id}", input.hub, input.query);
    let mut events = TcpStream::connect(&listening.authority).await.unwrap();
    if input.transport == Transport::ServerSentEvents {
        let head = format!(
            "GET {path}&access_token={token} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n"
        );
        events.write_all(head.as_bytes()).await.unwrap();
        let mut byte = [0];
        tokio::time::timeout(PATIENCE, events.read_exact(&mut byte)).await.unwrap().unwrap();
    } else {
        assert_eq!(http.send("GET", &path, &headers, "").await.unwrap().status, 200);
    }
    let handshake = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
    assert_eq!(http.send("POST", &path, &headers, handshake).await.unwrap().status, 200);
    let mut seen = vec![answered(webhook).await];
    let framed = input.framed().expect("it calls");
    assert_eq!(http.send("POST", &path, &headers, framed).await.unwrap().status, 200);
    seen.push(answered(webhook).await);
    if input.transport == Transport::LongPolling {
        assert_eq!(http.send("DELETE", &path, &headers, "").await.unwrap().status, 202);
    }
    drop(events);
    seen.push(answered(webhook).await);
    seen
}

async fn answered(webhook: &mut Webhook) -> Sent {
    let received = webhook.next().await;
    let sent = Sent::of(&received);
    received.answer(204, "");
    sent
}
