//! Apps with functions in error, disabled ones, and ones that do not start.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use expect_test::expect;
use functions::FunctionState;
use serde_json::json;
use worker_protocol::TypedData;

use crate::fake::{Setup, returned};
use crate::feed::Feed;

fn http_trigger(name: &str) -> Vec<serde_json::Value> {
    vec![
        json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous", "route": name}),
    ]
}

#[tokio::test]
async fn functions_in_error_do_not_prevent_the_others_from_running() {
    let ok = |_| async { returned(TypedData::Null) };
    let refused =
        json!({"type": "feed", "name": "out", "direction": "out", "refuse": "the setting Db is missing"});
    let host = Setup::default()
        .connector(Arc::new(Feed::default()))
        .setting("AzureWebJobs.off.Disabled", "1")
        .function("good", &http_trigger("good"), ok)
        .function("off", &http_trigger("off"), ok)
        .function("GOOD", &http_trigger("again"), ok)
        .function(
            "unknown",
            &[http_trigger("u"), vec![json!({"type": "blob", "name": "b", "direction": "out"})]].concat(),
            ok,
        )
        .function("refused", &[http_trigger("r"), vec![refused]].concat(), ok)
        .function("unloadable", &http_trigger("l"), ok)
        .metadata(|metadata| metadata.entry_point = "broken".to_owned())
        .start()
        .await;
    expect![[r#"

        Functions:

        	The 'GOOD' function is in error: another function has the same name; names must differ by more than case

        	good: [ANY] http://localhost:7071/api/good

        	Function off is disabled.

        	The 'refused' function is in error: the binding 'out' cannot be used: the setting Db is missing

        	The 'unknown' function is in error: the binding 'b' has type 'blob' (out), which is not supported; use one of httpTrigger (in), timerTrigger (in), manualTrigger (in), http (out), feedTrigger (in), feed (in), feed (out), warmupTrigger (in), webhookTrigger (in)

        	The 'unloadable' function is in error: the node worker could not load it: SyntaxError: Unexpected token. Correct its code or its declaration, then start again
    "#]]
    .assert_eq(&host.handle.startup_listing("http://localhost:7071/"));
    assert_eq!(host.supervisor.not_ready(), [], "functions in error do not keep the app from being ready");
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
async fn a_disabled_function_is_found_only_with_the_master_key() {
    let host = Setup::default()
        .options(|options| options.enable_auth = true)
        .setting("AzureWebJobs.off.Disabled", "true")
        .function("off", &http_trigger("off"), |_| async { returned(TypedData::Null) })
        .start()
        .await;
    assert_eq!(host.send("GET /api/off").await.status, 404);
    assert_eq!(host.send("GET /api/off?code=wrong").await.status, 404);
}

#[tokio::test]
async fn only_the_selected_functions_run() {
    let ok = |_| async { returned(TypedData::Null) };
    let host = Setup::default()
        .host_json(r#"{"version":"2.0","functions":["a","b"]}"#)
        .options(|options| options.functions = vec!["B".to_owned(), "c".to_owned()])
        .function("a", &http_trigger("a"), ok)
        .function("b", &http_trigger("b"), ok)
        .function("c", &http_trigger("c"), ok)
        .start()
        .await;
    let names: Vec<String> = host.handle.functions().into_iter().map(|function| function.name).collect();
    assert_eq!(names, ["b"]);
}

#[tokio::test]
async fn headers_and_limits_of_host_json_apply() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let http = json!({"maxConcurrentRequests": 2, "customHeaders": {"X-Frame-Options": "DENY"}});
    let host = Setup::default()
        .host_json(&json!({"version": "2.0", "extensions": {"http": http}}).to_string())
        .function("f", &http_trigger("f"), move |_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&seen));
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                running.fetch_sub(1, Ordering::SeqCst);
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    let calls = (0..10).map(|_| host.send("GET /api/f"));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.status, 204);
    }
    assert_eq!(most.load(Ordering::SeqCst), 2, "two run, the others wait");
    assert_eq!(host.send("GET /api/f").await.text(), "204\nx-frame-options: DENY");
    assert_eq!(host.send("GET /api/none").await.text(), "404\nx-frame-options: DENY");
}

#[tokio::test]
async fn unsupported_parts_of_the_admin_api_are_404() {
    let host = Setup::default()
        .function("f", &http_trigger("f"), |_| async { returned(TypedData::Null) })
        .start()
        .await;
    for request in [
        "DELETE /admin/functions/g",
        "POST /admin/host/drain",
        "GET /admin/host/restart",
        "POST /admin/host/config",
        "GET /admin/vfs/",
        "POST /admin/warmup",
        "POST /runtime/webhooks/signalr",
    ] {
        assert_eq!(host.send(request).await.status, 404, "{request}");
    }
    let status = host.send("GET /admin/functions/f/status").await;
    assert_eq!((status.status, status.body.as_str()), (200, "{}"));
}

#[tokio::test]
async fn admin_shows_a_function_in_error_with_its_declaration() {
    let unknown = json!({"type": "nopeTrigger", "name": "x", "direction": "in"});
    let host = Setup::default()
        .function("good", &http_trigger("good"), |_| async { returned(TypedData::Null) })
        .function("bad", &[unknown], |_| async { returned(TypedData::Null) })
        .function("badroute", &http_trigger("{x"), |_| async { returned(TypedData::Null) })
        .start()
        .await;
    let get = async |path: &str| {
        let response = host.send(&format!("GET {path}\nhost: app.test")).await;
        (response.status, serde_json::from_str::<serde_json::Value>(&response.body).unwrap_or_default())
    };
    let (status, bad) = get("/admin/functions/BAD").await;
    assert_eq!((status, &bad["name"], &bad["invoke_url_template"]), (200, &json!("bad"), &json!(null)));
    assert_eq!(bad["config"]["bindings"][0]["type"], "nopeTrigger");
    let (_, route) = get("/admin/functions/badroute").await;
    assert_eq!(route["invoke_url_template"], "http://app.test:7071/api/{x");
    let (_, all) = get("/admin/functions").await;
    let names: Vec<&str> =
        all.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["bad", "badroute", "good"]);
    assert_eq!(get("/admin/functions/none").await.0, 404);
}

#[tokio::test]
async fn admin_writes_and_deletes_the_folder_of_a_function_and_starts_the_app_again() {
    let host = Setup::default()
        .function("f", &http_trigger("f"), |_| async { returned(TypedData::Null) })
        .start()
        .await;
    let put = async |name: &str, body: &str| {
        let request =
            format!("PUT /admin/functions/{name}\nhost: app.test\ncontent-type: application/json\n\n{body}");
        host.send(&request).await
    };
    let created = put("f", r#"{"config":{"bindings":[]},"files":{"index.js":"1"}}"#).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(created.headers["location"], "http://app.test:7071/admin/functions/f");
    assert!(created.body.starts_with(r#"{"name":"f","#), "{}", created.body);
    let folder = host.dir.path().join("f");
    assert_eq!(std::fs::read_to_string(folder.join("index.js")).expect("written"), "1");
    assert!(folder.join("function.json").is_file());
    assert_eq!(put("f", "{}").await.status, 201, "nothing to write");
    // A name in another case is that of the same function.
    let other_case = put("F", r#"{"files":{"index.js":"2"}}"#).await;
    assert_eq!(other_case.headers["location"], "http://app.test:7071/admin/functions/f");
    assert_eq!(std::fs::read_to_string(folder.join("index.js")).expect("written"), "2");
    assert!(!host.dir.path().join("F").exists());
    assert_eq!(host.send("PUT /admin/functions/f\n\n{}").await.status, 415);
    for (name, body, why) in [
        ("f", r#"{"files":{"../x":""}}"#, "\"../x\" is not the name of a file"),
        ("f", "[]", "The body must be a JSON object"),
        ("1f", "{}", "'1f' is not a valid function name"),
    ] {
        let refused = put(name, body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.body.starts_with(why), "{}", refused.body);
    }
    // These workers index the same functions whatever the folder has.
    let other = put("g", r#"{"config":{"bindings":[]}}"#).await;
    assert_eq!(other.status, 500);
    assert!(other.body.starts_with("The app has no function 'g' after the change"), "{}", other.body);
    assert_eq!(host.send("DELETE /admin/functions/F").await.status, 204);
    assert!(!folder.exists());
    assert_eq!(host.send("DELETE /admin/functions/none").await.status, 404);
}
