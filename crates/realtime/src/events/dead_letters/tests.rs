use std::time::UNIX_EPOCH;

use signalr_protocol::HubProtocol;
use state_embedded::Store;

use super::*;
use realtime_engine::{ClientConnection, ClientContext, ConnectionId, Hub, UserId};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn letters(store: &Store, letters_max: u64, age_max_s: u64) -> DeadLetters {
    let options = Options {
        dead_letters_max: letters_max.try_into().unwrap(),
        dead_letter_age_s: age_max_s.try_into().unwrap(),
        ..Options::default()
    };
    DeadLetters::new(store.journal(), Instance::new("test").unwrap(), &options)
}

fn letter(cause: &str, given_up_at: u64) -> DeadLetter {
    let client = ClientConnection {
        id: ConnectionId::parse(&"A".repeat(27)).unwrap(),
        hub: Hub::new(Instance::new("test").unwrap(), "chat"),
        user: Some(UserId::new("ada")),
        protocol: HubProtocol::Json,
        client_context: Some(Arc::new(ClientContext {
            claims: "{}".into(),
            query: "hub=chat".into(),
            remote: None,
        })),
    };
    let what = ConnectionChange::Disconnected { reason: "ClientClosed".into(), error: None };
    let event = ConnectionEvent { client, change: what, at: at(7) };
    DeadLetter::new("upstream", &event, 3, cause, at(given_up_at))
}

async fn causes(letters: &DeadLetters, after: Option<&str>, max: usize, now: u64) -> (String, String) {
    let page = letters.page(after, max, at(now)).await.unwrap();
    let causes: Vec<_> = page.letters.iter().map(|letter| letter.cause.as_str()).collect();
    (causes.join(" "), page.next)
}

#[tokio::test]
async fn letters_are_returned_page_by_page_with_all_their_fields() {
    let store = Store::ephemeral(&state_embedded::Options::default()).unwrap();
    let letters = letters(&store, 100, 1000);
    for number in 0..5 {
        letters.append(&letter(&number.to_string(), 10)).await.unwrap();
    }
    let page = letters.page(None, 1, at(20)).await.unwrap();
    assert_eq!(
        serde_json::to_string(&page.letters).unwrap(),
        concat!(
            r#"[{"number":0,"listener":"upstream","event":"disconnected","hub":"chat","#,
            r#""connectionId":"AAAAAAAAAAAAAAAAAAAAAAAAAAA","userId":"ada","claims":"{}","query":"hub=chat","#,
            r#""reason":"ClientClosed","atUnixMs":7000,"attempts":3,"cause":"0","givenUpAtUnixMs":10000}]"#
        )
    );
    let (second, next) = causes(&letters, Some(&page.next), 3, 20).await;
    assert_eq!(second, "1 2 3");
    let (third, next) = causes(&letters, Some(&next), 3, 20).await;
    assert_eq!(third, "4");
    // After the last page, the cursor returns letters that were added later.
    assert_eq!(causes(&letters, Some(&next), 3, 20).await, (String::new(), next.clone()));
    letters.append(&letter("later", 20)).await.unwrap();
    assert_eq!(causes(&letters, Some(&next), 3, 20).await.0, "later");
    store.close().await;
}

#[tokio::test]
async fn above_the_limit_the_oldest_letters_are_removed() {
    let store = Store::ephemeral(&state_embedded::Options::default()).unwrap();
    let letters = letters(&store, 10, 1000);
    for number in 0..TRIM_EVERY * 3 + 2 {
        letters.append(&letter(&number.to_string(), 10)).await.unwrap();
    }
    let expected: Vec<_> = (184..194).map(|number: u32| number.to_string()).collect();
    assert_eq!(causes(&letters, None, 100, 10).await.0, expected.join(" "));
    // A cursor that points to removed letters continues with the oldest one left.
    let info = store.journal().info(&letters.instance, &letters.name).await.unwrap();
    let cursor = format!("{:x}.3", info.epoch.0);
    assert_eq!(causes(&letters, Some(&cursor), 1, 10).await.0, "184");
    store.close().await;
}

#[tokio::test]
async fn letters_above_the_age_limit_are_not_returned() {
    let store = Store::ephemeral(&state_embedded::Options::default()).unwrap();
    let letters = letters(&store, 1000, 50);
    for given_up_at in [10, 20, 60, 70] {
        letters.append(&letter(&given_up_at.to_string(), given_up_at)).await.unwrap();
    }
    assert_eq!(causes(&letters, None, 100, 70).await.0, "20 60 70");
    letters.trim(at(100)).await.unwrap();
    letters.trim(at(100)).await.unwrap();
    // Letters that are too old are not returned, also if the journal still has them.
    assert_eq!(causes(&letters, None, 100, 70).await.0.split(' ').next_back(), Some("70"));
    assert_eq!(causes(&letters, None, 100, 100).await.0, "60 70");
    letters.trim(at(1000)).await.unwrap();
    assert_eq!(causes(&letters, None, 100, 1000).await.0, "");
    store.close().await;
}

#[tokio::test]
async fn an_invalid_cursor_is_refused_and_a_cursor_of_a_lost_journal_starts_with_the_oldest() {
    let store = Store::ephemeral(&state_embedded::Options::default()).unwrap();
    let letters = letters(&store, 10, 1000);
    letters.append(&letter("only", 10)).await.unwrap();
    for cursor in ["", "x", "1", "z.1", "1.x"] {
        let error = letters.page(Some(cursor), 10, at(10)).await.unwrap_err();
        assert!(matches!(&error, DeadLettersError::Cursor(text) if text == cursor), "{error}");
    }
    for cursor in ["1.7", "ffffffffffffffff.0"] {
        assert_eq!(causes(&letters, Some(cursor), 10, 10).await.0, "only");
    }
    store.close().await;
}
