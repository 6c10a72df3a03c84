//! The data folder under faults: repeated kills, a full disk, a newer version, a folder that is not writable.

use std::path::Path;
use std::process::Command;

use testkit::ChildProcess;

use crate::account::Account;
use crate::configuration::check;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
const ARGUMENTS: [&str; 4] = ["start", "--no-functions", "--data-dir", "data"];

#[tokio::test]
async fn acknowledged_data_survives_ten_kills() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..10 {
        let process = ChildProcess::start(BINARY, folder.path(), &ARGUMENTS).await.expect("it starts");
        let account = Account::of(&process);
        if round == 0 {
            account.container().await;
        }
        assert_eq!(lost(&account, &acknowledged).await, None, "after {round} kills");
        // Writers continue until the kill closes their connections.
        let enough = tokio::sync::Semaphore::new(0);
        let write = async |writer: usize| {
            let mut stored = Vec::new();
            for number in 0.. {
                let id = format!("{round}-{writer}-{number}");
                match account.put(&id, 2000).await {
                    Ok(answer) if answer.status == 201 => stored.push(id),
                    Ok(answer) => panic!("{}", answer.text()),
                    Err(_) => break,
                }
                enough.add_permits(1);
            }
            stored
        };
        let kill = async {
            enough.acquire_many(20).await.expect("it is open").forget();
            process.kill().await.expect("it can be killed")
        };
        let (first, second, third, log) = tokio::join!(write(0), write(1), write(2), kill);
        assert!(!log.contains("panicked"), "{log}");
        acknowledged.extend([first, second, third].into_iter().flatten());
    }
    assert!(acknowledged.len() >= 200);
    let process = ChildProcess::start(BINARY, folder.path(), &ARGUMENTS).await.expect("it starts");
    assert_eq!(lost(&Account::of(&process), &acknowledged).await, None, "after the last kill");
}

/// The first of these items that does not exist.
async fn lost<'a>(account: &Account, ids: &'a [String]) -> Option<&'a str> {
    for id in ids {
        if !account.has(id).await {
            return Some(id);
        }
    }
    None
}

#[test]
fn a_newer_format_is_rejected_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    let first = runtime.block_on(ChildProcess::start(BINARY, folder.path(), &ARGUMENTS)).expect("it starts");
    drop(runtime.block_on(first.kill()).expect("it can be killed"));
    let format = folder.path().join("data/state/format");
    let text = std::fs::read_to_string(&format).expect("the format is a file");
    std::fs::write(&format, text.replacen("chappe-state 3", "chappe-state 4", 1)).expect("it can be written");
    let words = ["format 4", "start the version that wrote it"];
    check(folder.path(), &[&ARGUMENTS[..], &["--gateway-port", "0"]].concat(), 1, &words);
}

/// Starts a process, stores three items, and kills it.
async fn killed(folder: &Path) {
    let process = ChildProcess::start(BINARY, folder, &ARGUMENTS).await.expect("it starts");
    let account = Account::of(&process);
    account.container().await;
    for id in ["0", "1", "2"] {
        assert_eq!(account.put(id, 2000).await.expect("it answers").status, 201);
    }
    process.kill().await.expect("it can be killed");
}

#[tokio::test]
async fn a_data_folder_with_a_missing_file_is_rejected_until_the_loss_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    killed(folder.path()).await;
    let documents = folder.path().join("data/documents");
    let log = documents.join("documents.sqlite-wal");
    let before = std::fs::read(&log).expect("a killed process leaves a log");
    std::fs::remove_file(documents.join("documents.sqlite")).expect("it is there");
    let words = ["lacks a part", "databases, containers and items", "--accept-loss=documents"];
    let (code, text) = ChildProcess::fail(BINARY, folder.path(), &ARGUMENTS).await.expect("it ends");
    assert!(code == Some(1) && words.iter().all(|word| text.contains(word)), "{text}");
    assert_eq!(std::fs::read(&log).expect("it is there"), before, "the log was changed");
    let (code, text) =
        ChildProcess::fail(BINARY, folder.path(), &["check", "--data=data"]).await.expect("it ends");
    assert!(code == Some(1) && text.contains("documents.sqlite is missing"), "{text}");
    let accepting = [&ARGUMENTS[..], &["--accept-loss", "documents"]].concat();
    let process = ChildProcess::start(BINARY, folder.path(), &accepting).await.expect("it starts");
    let account = Account::of(&process);
    account.container().await;
    assert!(!account.has("0").await);
    process.kill().await.expect("it can be killed");
    let process = ChildProcess::start(BINARY, folder.path(), &ARGUMENTS).await.expect("it starts as always");
    process.kill().await.expect("it can be killed");
}

#[tokio::test]
async fn a_log_that_lost_its_end_makes_the_documents_read_only() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    killed(folder.path()).await;
    let (code, text) =
        ChildProcess::fail(BINARY, folder.path(), &["check", "--data=data"]).await.expect("it ends");
    assert!(code == Some(0) && text.contains("is complete"), "{text}");
    let log = folder.path().join("data/documents/documents.sqlite-wal");
    let bytes = std::fs::read(&log).expect("a killed process leaves a log");
    std::fs::write(&log, &bytes[..bytes.len() - 5000]).expect("it can be cut");
    let (code, text) =
        ChildProcess::fail(BINARY, folder.path(), &["check", "--data=data"]).await.expect("it ends");
    assert!(code == Some(1) && text.contains("acknowledged commits"), "{text}");
    let process = ChildProcess::start(BINARY, folder.path(), &ARGUMENTS).await.expect("it starts");
    let account = Account::of(&process);
    assert!(account.has("0").await, "what is left can be read");
    let refused = account.put("3", 10).await.expect("it answers");
    assert!(refused.status == 503 && refused.text().contains("DataDamaged"), "{}", refused.text());
    let ready = process.http("gateway").get("/readyz").await.expect("it answers");
    assert!(ready.status == 503 && ready.text().contains("lost"), "{}", ready.text());
    let metrics = process.http("gateway").get("/metrics").await.expect("it answers").text();
    assert!(metrics.contains("chappe_documents_read_only 1"), "{metrics}");
    process.kill().await.expect("it can be killed");
}

#[test]
fn a_file_in_place_of_the_data_folder_is_rejected_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(folder.path().join("data"), "").expect("a file can be written");
    check(folder.path(), &ARGUMENTS, 1, &["data", "--data-dir"]);
}

/// Mounts a small file system at the process's data folder, in a separate mount namespace.
const ON_A_SMALL_DISK: &str = "mount -t tmpfs -o size=24m none data && exec \"$0\" \"$@\"";

#[tokio::test]
async fn writes_to_a_full_disk_are_rejected_and_succeed_once_there_is_space() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::create_dir(folder.path().join("data")).expect("a folder can be made");
    let mounts = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(folder.path()).output();
        output.is_ok_and(|output| output.status.success())
    };
    let unshare = ["--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK];
    assert!(
        mounts("unshare", &[&unshare[..], &["true"]].concat()),
        "the test needs 'unshare' and user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0)"
    );
    let arguments = [&unshare[..], &[BINARY], &ARGUMENTS].concat();
    let process = ChildProcess::start("unshare", folder.path(), &arguments).await.expect("it starts");
    let account = Account::of(&process);
    account.container().await;
    let mut stored = 0;
    let refused = loop {
        let answer = account.put(&stored.to_string(), 500_000).await.expect("it answers");
        if answer.status != 201 {
            break answer;
        }
        stored += 1;
    };
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(refused.text().contains("Free some space and retry"), "{}", refused.text());
    for _ in 0..5 {
        assert_eq!(account.put("more", 500_000).await.expect("it answers").status, 507);
    }
    assert!(stored > 3);
    for id in 0..stored {
        assert!(account.has(&id.to_string()).await, "{id} is readable on a full disk");
    }
    // Deleting works on a full disk, and the freed space can be used.
    for id in ["0", "1", "2"] {
        let deleted = account.delete(id).await.expect("it answers");
        assert_eq!(deleted.status, 204, "{}", deleted.text());
    }
    let answer = account.put("freed", 500_000).await.expect("it answers");
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(account.has("freed").await && account.has("3").await && !account.has("0").await);
    let id = process.id().expect("it runs").to_string();
    let data = folder.path().join("data");
    let data = data.to_str().expect("the path is text");
    let grow = ["-t", id.as_str(), "-U", "-m", "mount", "-o", "remount,size=96m", data];
    assert!(mounts("nsenter", &grow), "the disk grows");
    let answer = account.put("with room", 500_000).await.expect("it answers");
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(account.has("3").await);
    let log = process.kill().await.expect("it can be killed");
    let told = log.matches("the disk that holds the documents is full").count();
    assert_eq!(told, 1, "the log is not flooded: {log}");
}

#[tokio::test]
async fn an_ephemeral_process_removes_its_data_folder() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let temporary = tempfile::tempdir().expect("a folder can be made");
    let variable = format!("TMPDIR={}", temporary.path().display());
    let arguments = [variable.as_str(), BINARY, "start", "--no-functions", "--ephemeral"];
    let left = |path: &Path| std::fs::read_dir(path).expect("it can be read").count();
    for times in [1, 2] {
        let process = ChildProcess::start("env", folder.path(), &arguments).await.expect("it starts");
        let account = Account::of(&process);
        account.container().await;
        assert_eq!(account.put("1", 1000).await.expect("it answers").status, 201);
        assert_eq!(left(temporary.path()), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let made = std::fs::read_dir(temporary.path()).expect("it can be read").next();
            let metadata =
                made.expect("it is there").and_then(|entry| entry.metadata()).expect("it is there");
            assert_eq!(metadata.permissions().mode() & 0o777, 0o700, "nobody else looks in");
        }
        // A second signal ends it immediately, in the middle of the first request.
        for _ in 0..times {
            process.terminate().await.expect("it can be asked to end");
        }
        let (code, log) = process.wait().await.expect("it ends");
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(left(temporary.path()), 0, "{log}");
        assert_eq!(left(folder.path()), 0, "{log}");
    }
}

#[tokio::test]
async fn the_folder_of_a_killed_ephemeral_process_is_removed_by_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let temporary = tempfile::tempdir().expect("a folder can be made");
    let variable = format!("TMPDIR={}", temporary.path().display());
    let arguments = [variable.as_str(), BINARY, "start", "--no-functions", "--ephemeral"];
    let left = || std::fs::read_dir(temporary.path()).expect("it can be read").count();
    let living = ChildProcess::start("env", folder.path(), &arguments).await.expect("it starts");
    let killed = ChildProcess::start("env", folder.path(), &arguments).await.expect("it starts");
    killed.kill().await.expect("it can be killed");
    assert_eq!(left(), 2);
    let next = ChildProcess::start("env", folder.path(), &arguments).await.expect("it starts");
    assert_eq!(left(), 2, "that of the killed one is gone, that of the living one is there");
    Account::of(&living).container().await;
    for process in [living, next] {
        process.terminate().await.expect("it can be asked to end");
        let (code, log) = process.wait().await.expect("it ends");
        assert_eq!(code, Some(0), "{log}");
    }
    assert_eq!(left(), 0);
}

/// Writers continue while the copy is made; writes acknowledged before it started are in the copy.
#[tokio::test]
async fn a_backup_of_a_running_process_contains_acknowledged_data_and_can_be_restored() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = ChildProcess::start(BINARY, folder.path(), &ARGUMENTS).await.expect("it starts");
    let account = Account::of(&process);
    account.container().await;
    let mut acknowledged = Vec::new();
    for number in 0..60 {
        let id = format!("before-{number}");
        assert_eq!(account.put(&id, 3000).await.expect("it answers").status, 201);
        acknowledged.push(id);
    }
    let is_copied = tokio::sync::watch::channel(false);
    let write = async {
        for number in 0.. {
            if *is_copied.1.borrow() {
                return number;
            }
            assert_eq!(account.put(&format!("while-{number}"), 3000).await.expect("it answers").status, 201);
        }
        0
    };
    let copy = async {
        let arguments = ["backup", "copy", "--data-dir", "data"];
        let copied = ChildProcess::fail(BINARY, folder.path(), &arguments).await.expect("it ends");
        // The writer has the other end.
        let _ = is_copied.0.send(true);
        copied
    };
    let (written, (code, text)) = tokio::join!(write, copy);
    assert!(code == Some(0) && text.contains("is complete"), "{text}");
    assert!(written > 0, "something was written meanwhile");
    let again = ChildProcess::fail(BINARY, folder.path(), &["backup", "copy", "--data-dir", "data"])
        .await
        .expect("it ends");
    assert!(
        again.0 == Some(64) && again.1.contains("exists") && again.1.contains("code: backup-target-exists"),
        "{}",
        again.1
    );
    process.kill().await.expect("it can be killed");
    let database = folder.path().join("data/documents/documents.sqlite");
    let bytes = std::fs::read(&database).expect("it can be read");
    std::fs::write(&database, &bytes[..bytes.len() / 2]).expect("it can be cut");
    std::fs::rename(folder.path().join("data"), folder.path().join("damaged")).expect("it can be moved");
    std::fs::rename(folder.path().join("copy"), folder.path().join("data")).expect("it can be moved");
    let process = ChildProcess::start(BINARY, folder.path(), &ARGUMENTS).await.expect("the copy starts");
    let account = Account::of(&process);
    assert_eq!(lost(&account, &acknowledged).await, None);
    assert_eq!(account.put("after", 10).await.expect("it answers").status, 201);
    process.kill().await.expect("it can be killed");
}
