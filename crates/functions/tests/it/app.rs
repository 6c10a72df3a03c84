//! Apps with functions in error, disabled ones, and ones that do not start.

use expect_test::expect;
use functions::FunctionState;
use serde_json::json;
use worker_protocol::TypedData;

use crate::fake::{Setup, returned};
use crate::feed::Feed;

fn http(name: &str) -> Vec<serde_json::Value> {
    vec![
        json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous", "route": name}),
    ]
}

#[tokio::test]
async fn functions_in_error_do_not_stop_the_others() {
    let ok = |_| async { returned(TypedData::Null) };
    let refused =
        json!({"type": "feed", "name": "out", "direction": "out", "refuse": "the setting Db is missing"});
    let host = Setup::default()
        .connector(std::sync::Arc::new(Feed::default()))
        .setting("AzureWebJobs.off.Disabled", "1")
        .function("good", &http("good"), ok)
        .function("off", &http("off"), ok)
        .function("GOOD", &http("again"), ok)
        .function(
            "unknown",
            &[http("u"), vec![json!({"type": "blob", "name": "b", "direction": "out"})]].concat(),
            ok,
        )
        .function("refused", &[http("r"), vec![refused]].concat(), ok)
        .function("unloadable", &http("l"), ok)
        .metadata(|metadata| metadata.entry_point = "broken".to_owned())
        .start()
        .await;
    expect![[r#"

        Functions:

        	The 'GOOD' function is in error: another function has the same name; names differ in more than case

        	good: [ANY] http://localhost:7071/api/good

        	Function off is disabled.

        	The 'refused' function is in error: the binding 'out' cannot be used: the setting Db is missing

        	The 'unknown' function is in error: the binding 'b' has type 'blob' (out), which is not supported; known are httpTrigger (in), timerTrigger (in), manualTrigger (in), http (out), feedTrigger (in), feed (in), feed (out)

        	The 'unloadable' function is in error: SyntaxError: Unexpected token
    "#]]
    .assert_eq(&host.handle.startup_listing("http://localhost:7071/"));
    assert_eq!(host.send("GET /api/good").await.status, 204);
    assert_eq!(host.send("GET /api/unknown").await.status, 404);
    assert!(host.log().contains("Error The 'refused' function is in error"), "{}", host.log());
    let off = host.handle.functions().into_iter().find(|function| function.name == "off").expect("listed");
    assert_eq!(off.state, FunctionState::Disabled);
    let by_name = host.handle.invoke("refused", &json!(null)).await.expect_err("in error");
    assert!(by_name.to_string().contains("the setting Db is missing"), "{by_name}");
    assert!(host.handle.invoke("nope", &json!(null)).await.is_err());
    host.handle.invoke("good", &json!("x")).await.expect("it runs");
}

#[tokio::test]
async fn a_disabled_function_is_not_found_unless_an_administrator_calls() {
    let host = Setup::default()
        .options(|options| options.enable_auth = true)
        .setting("AzureWebJobs.off.Disabled", "true")
        .function("off", &http("off"), |_| async { returned(TypedData::Null) })
        .start()
        .await;
    assert_eq!(host.send("GET /api/off").await.status, 404);
    assert_eq!(host.send("GET /api/off?code=wrong").await.status, 404);
}

#[tokio::test]
async fn only_the_functions_that_were_asked_for_run() {
    let ok = |_| async { returned(TypedData::Null) };
    let host = Setup::default()
        .host_json(r#"{"version":"2.0","functions":["a","b"]}"#)
        .options(|options| options.functions = vec!["B".to_owned(), "c".to_owned()])
        .function("a", &http("a"), ok)
        .function("b", &http("b"), ok)
        .function("c", &http("c"), ok)
        .start()
        .await;
    let names: Vec<String> = host.handle.functions().into_iter().map(|function| function.name).collect();
    assert_eq!(names, ["b"]);
}
