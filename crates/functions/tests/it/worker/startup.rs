//! Errors of a start, with what to do about them.

use super::*;

#[tokio::test]
async fn an_error_of_an_app_says_what_is_wrong_and_what_to_do() {
    let check = async |files: &[(&str, &str)], expected: Expect| {
        expected.assert_eq(&start_refused(files).await);
    };
    let main = ("package.json", r#"{"main": "src/*.js"}"#);
    check(&[], expect![[r#"there is no package.json in APP. Create one with "main": "src/functions/*.js" and run 'npm install @azure/functions'"#]]).await;
    check(
        &[("package.json", "{}")],
        expect![[
            r#"package.json in APP has no "main", so no file is loaded. Add "main": "src/functions/*.js""#
        ]],
    )
    .await;
    check(
        &[("package.json", "{")],
        expect!["APP/package.json is not valid JSON: Expected property name or '}' in JSON at position 1"],
    )
    .await;
    check(&[main], expect![[r#""main" of APP/package.json is "src/*.js", which matches no file. Correct the pattern, or build the app if these files are made by a build"#]]).await;
    check(&[("package.json", r#"{"main": "index.js"}"#)], expect![[r#""main" of APP/package.json is "index.js", but there is no such file. Correct it, or build the app if that file is made by a build"#]]).await;
    check(
        &[main, ("src/a.js", "let x = ;")],
        expect![[r#"
            Cannot load src/a.js: syntax error at APP/src/a.js:1: Unexpected token ';'
            APP/src/a.js:1
            let x = ;
                    ^

            SyntaxError: Unexpected token ';'"#]],
    )
    .await;
    check(
        &[("package.json", r#"{"main": "a.mjs"}"#), ("a.mjs", "\nlet x = ;")],
        expect![[r#"
            Cannot load a.mjs: syntax error at APP/a.mjs:2: Unexpected token ';'
            SyntaxError: Unexpected token ';'"#]],
    )
    .await;
    check(&[main, ("src/a.js", "require('@azure/functions')")], expect!["Cannot load src/a.js: the package '@azure/functions' is not installed. Run 'npm install @azure/functions' in APP"]).await;
    check(
        &[
            ("package.json", r#"{"main": "a.mjs", "dependencies": {"left": "1"}}"#),
            ("a.mjs", "import 'left/x'"),
        ],
        expect!["Cannot load a.mjs: the package 'left' is not installed. Run 'npm install' in APP"],
    )
    .await;
    check(
        &[main, ("src/a.js", "throw new TypeError('at load')")],
        expect![[r#"
        Cannot load src/a.js: at load
        TypeError: at load
            at Object.<anonymous> (APP/src/a.js:1:7)"#]],
    )
    .await;
    check(&[main, ("src/a.js", "")], expect![[r#"no function is registered. src/a.js was loaded, but did not call app.http(...), app.timer(...) or the like; register functions there, or correct "main" in package.json"#]]).await;
    check(&[main, ("src/a.js", ""), ("f/function.json", "{}")], expect!["APP describes its functions by function.json files (programming model 3), which this worker cannot run yet. Move to @azure/functions 4 (app.http(...)), or set languageWorkers__node__workerDirectory to the folder of the official worker"]).await;
}

async fn start_with_command(script: &str) -> StartError {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let mut spec = WorkerSpec::resolve("node", &stand_in(), environment(&[]), cache.path(), "4.1")
        .expect("our own worker");
    spec.timeouts.startup = Duration::from_millis(300);
    spec.command = "sh".into();
    spec.arguments = vec!["-c".into(), script.into()];
    let running = start_spec(spec, PoolOptions::default(), cache);
    let error = running.pool.index().await.expect_err("no worker");
    running.pool.drain(Duration::from_secs(1)).await;
    drop(running);
    Arc::into_inner(error).expect("the pool is gone")
}

#[tokio::test]
async fn an_error_of_the_runtime_says_what_is_wrong_and_what_to_do() {
    let old = "echo LanguageWorkerConsoleLognode-version 12.1.0 >&2; exit 3";
    expect!["'sh' is version 12.1.0, but node functions need 18 or newer; install Node.js 20 or newer (https://nodejs.org), or set languageWorkers__node__defaultExecutablePath to its program"].assert_eq(&start_with_command(old).await.to_string());
    expect![[r#"
        the node worker ended (exit status: 9) while it was to connect to the host
        oh no"#]]
    .assert_eq(&start_with_command("echo oh no; exit 9").await.to_string());
    expect![[r#"
        the node worker did not connect to the host within 300ms; raise the timeout or look at its output
        busy"#]]
    .assert_eq(&start_with_command("echo busy; sleep 100").await.to_string());

    let cache = tempfile::tempdir().expect("a temporary folder");
    let program = cache.path().join("program");
    std::fs::write(&program, "").expect("writable");
    let env = BTreeMap::from([(
        "languageWorkers__node__defaultExecutablePath".to_owned(),
        program.display().to_string(),
    )]);
    let spec = WorkerSpec::resolve("node", &stand_in(), env, cache.path(), "4.1").expect("our own worker");
    let running = start_spec(spec, PoolOptions::default(), cache);
    let error = running.pool.index().await.expect_err("not executable").to_string();
    assert!(error.ends_with(&format!("make it executable: chmod +x '{}'", program.display())), "{error}");

    let cache = tempfile::tempdir().expect("a temporary folder");
    let env = BTreeMap::from([("PATH".to_owned(), "/nowhere".to_owned())]);
    let spec = WorkerSpec::resolve("node", &stand_in(), env, cache.path(), "4.1").expect("our own worker");
    let running = start_spec(spec, PoolOptions::default(), cache);
    let error = running.pool.index().await.expect_err("no node");
    expect!["cannot start 'node', which runs node functions: it is not installed or not on the PATH; install Node.js 20 or newer (https://nodejs.org), or set languageWorkers__node__defaultExecutablePath to its program"].assert_eq(&error.to_string());
    let refused = tokio::time::timeout(Duration::from_secs(5), running.call("pid")).await.expect("at once");
    assert!(matches!(refused, Err(InvokeError::NoWorker { .. })));
}
