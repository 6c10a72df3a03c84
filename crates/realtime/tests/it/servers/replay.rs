//! Recordings of app servers with the SDK (Microsoft.Azure.SignalR 1.34.0 on ASP.NET Core 10) and JavaScript clients 10.0.11,
//! replayed. Each line of `replay/*.jsonl` is a WebSocket message of a server connection. Messages of idle connections are
//! omitted, and repetitions in `migrate` and `pause-race`. The recorded service was an earlier version of this one; where it was
//! wrong, `recording.rs`, `stage.rs` and the tests have the correct behaviour.

mod meaning;
mod pause_race;
mod recording;
mod stage;

use expect_test::expect;

use self::recording::{Step, steps};
use self::stage::Replay;
use super::{default_mode, listen};

const BASIC: &str = include_str!("replay/basic.jsonl");
const DRAIN: &str = include_str!("replay/drain.jsonl");
const DROP: &str = include_str!("replay/drop.jsonl");
const GROUPS: &str = include_str!("replay/groups.jsonl");
const MIGRATE: &str = include_str!("replay/migrate.jsonl");
const RESULTS: &str = include_str!("replay/results.jsonl");
const STATEFUL: &str = include_str!("replay/stateful.jsonl");
const STREAMING: &str = include_str!("replay/streaming.jsonl");

/// Replays a recording of one service process; returns what its clients received.
async fn heard(recording: &str, names: &[(u32, &'static str)]) -> String {
    let listening = listen(default_mode()).await;
    let mut replay = Replay::new(&listening, "testhub", names);
    replay.play(steps(recording)).await;
    replay.end().await;
    let (heard, _) = tokio::join!(replay.heard(), listening.stop());
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_errors_and_aborts_of_the_sdk_reach_clients_of_both_protocols() {
    expect![[r#"
        ann:
          {"type":3,"invocationId":"0","result":"hello"}
          {"type":3,"invocationId":"1","result":"ann"}
          {"type":3,"invocationId":"2","error":"An unexpected error occurred invoking 'ThrowException' on the server. InvalidOperationException: bad"}
          {"type":1,"target":"Message","arguments":["note"]}
        ben:
          \x95\x03\x80\xa10\x03\xa5hello
        cat:
          {"type":3,"invocationId":"0","result":"hello"}
        dan:
          {"type":7}
        eve:
          {"type":7,"error":"Connection closed with an error. InvalidOperationException: not welcome"}
    "#]].assert_eq(&heard(BASIC, &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_of_the_sdk_to_groups_and_users_with_exclusions_reach_the_right_clients() {
    expect![[r#"
        ann:
          {"type":3,"invocationId":"0","result":null}
          {"type":1,"target":"Message","arguments":["all1"]}
          {"type":1,"target":"Message","arguments":["red1"]}
          {"type":1,"target":"Message","arguments":["ann1"]}
          {"type":3,"invocationId":"1","result":null}
          {"type":1,"target":"Message","arguments":["both"]}
          {"type":3,"invocationId":"2","result":null}
          {"type":1,"target":"Message","arguments":["users"]}
          {"type":3,"invocationId":"3","result":null}
          {"type":3,"invocationId":"4","result":null}
          {"type":1,"target":"Message","arguments":["clients"]}
          {"type":3,"invocationId":"5","result":null}
          {"type":1,"target":"Message","arguments":["except"]}
          {"type":3,"invocationId":"6","result":null}
          {"type":3,"invocationId":"7","result":null}
          {"type":1,"target":"Message","arguments":["green1"]}
        ben:
          \x95\x03\x80\xa10\x03\xc0
          \x96\x01\x80\xc0\xa7Message\x91\xa4all1\x90
          \x96\x01\x80\xc0\xa7Message\x91\xa4red1\x90
          \x96\x01\x80\xc0\xa7Message\x91\xa4ben1\x90
          \x96\x01\x80\xc0\xa7Message\x91\xa3oig\x90
          \x96\x01\x80\xc0\xa7Message\x91\xa4both\x90
          \x96\x01\x80\xc0\xa7Message\x91\xa5users\x90
          \x96\x01\x80\xc0\xa7Message\x91\xa6others\x90
          \x96\x01\x80\xc0\xa7Message\x91\xa7clients\x90
          \x96\x01\x80\xc0\xa7Message\x91\xa4red2\x90
        ben:
          {"type":3,"invocationId":"0","result":null}
          {"type":1,"target":"Message","arguments":["all1"]}
          {"type":1,"target":"Message","arguments":["ben1"]}
          {"type":1,"target":"Message","arguments":["both"]}
          {"type":1,"target":"Message","arguments":["users"]}
          {"type":1,"target":"Message","arguments":["others"]}
          {"type":1,"target":"Message","arguments":["except"]}
    "#]]
    .assert_eq(&heard(GROUPS, &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_the_sdk_work_in_both_directions_and_protocols() {
    expect![[r#"
        ann:
          {"type":2,"invocationId":"0","item":0}
          {"type":2,"invocationId":"0","item":1}
          {"type":2,"invocationId":"0","item":2}
          {"type":2,"invocationId":"0","item":3}
          {"type":2,"invocationId":"0","item":4}
          {"type":3,"invocationId":"0"}
          {"type":3,"invocationId":"2","result":"abc"}
          {"type":3,"invocationId":"4","error":"An unexpected error occurred invoking 'StreamingConcat' on the server. HubException: bad"}
          {"type":2,"invocationId":"6","item":"X"}
          {"type":2,"invocationId":"6","item":"Y"}
          {"type":3,"invocationId":"6"}
          {"type":3,"invocationId":"7"}
          {"type":1,"target":"StreamCanceled","arguments":[]}
          {"type":3,"invocationId":"8","error":"An unexpected error occurred invoking 'StreamThrowException' on the server. InvalidOperationException: oops"}
        ben:
          \x94\x02\x80\xa10\x00
          \x94\x02\x80\xa10\x01
          \x94\x02\x80\xa10\x02
          \x94\x02\x80\xa10\x03
          \x94\x02\x80\xa10\x04
          \x94\x03\x80\xa10\x02
          \x95\x03\x80\xa12\x03\xa3abc
          \x95\x03\x80\xa14\x01\xd9XAn unexpected error occurred invoking \'StreamingConcat\' on the server. HubException: bad
          \x94\x02\x80\xa16\xa1X
          \x94\x02\x80\xa16\xa1Y
          \x94\x03\x80\xa16\x02
          \x94\x03\x80\xa17\x02
          \x96\x01\x80\xc0\xaeStreamCanceled\x90\x90
          \x95\x03\x80\xa18\x01\xd9kAn unexpected error occurred invoking \'StreamThrowException\' on the server. InvalidOperationException: oops
    "#]].assert_eq(&heard(STREAMING, &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_results_reach_the_calling_server_of_the_sdk() {
    let names = [(1, "vm_7a6956d0365144938bbd9c66d5d3f5ae"), (2, "vm_789fa39dd9e54a35b17c97ff01345ad4")];
    expect![[r#"
        ann:
          {"type":3,"invocationId":"0","result":"a"}
          {"type":1,"invocationId":"<id>-513589d3f2644b06b078ae23ab594a90-1","target":"Result","arguments":[]}
          {"type":1,"invocationId":"<id>-513589d3f2644b06b078ae23ab594a90-2","target":"Result","arguments":[]}
          {"type":1,"invocationId":"<id>-3914f0ed1dd546a889116bf950c65e2e-1","target":"Result","arguments":[]}
          {"type":1,"invocationId":"<id>-513589d3f2644b06b078ae23ab594a90-3","target":"Result","arguments":[]}
          {"type":1,"invocationId":"<id>-3914f0ed1dd546a889116bf950c65e2e-2","target":"Result","arguments":[]}
          {"type":1,"invocationId":"<id>-513589d3f2644b06b078ae23ab594a90-4","target":"Result","arguments":[]}
          {"type":1,"invocationId":"<id>-3914f0ed1dd546a889116bf950c65e2e-3","target":"Result","arguments":[]}
        ben:
          \x96\x01\x80\xd9><id>-3914f0ed1dd546a889116bf950c65e2e-4\xa6Result\x90\x90
          \x96\x01\x80\xd9><id>-513589d3f2644b06b078ae23ab594a90-5\xa6Result\x90\x90
          \x96\x01\x80\xd9><id>-3914f0ed1dd546a889116bf950c65e2e-5\xa6Result\x90\x90
          \x96\x01\x80\xd9><id>-513589d3f2644b06b078ae23ab594a90-6\xa6Result\x90\x90
    "#]]
    .assert_eq(&heard(RESULTS, &names).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_migrate_when_a_server_of_the_sdk_shuts_down() {
    let names = [(1, "vm_b784f830952b4d8ca755462f8b181601"), (2, "vm_f533cadae91943de918c7dcd969c3a0d")];
    expect![[r#"
        u0:
          {"type":3,"invocationId":"0","result":"a"}
          {"type":3,"invocationId":"1","result":null}
          {"type":3,"invocationId":"2","result":"m0"}
          {"type":1,"target":"Leaving","arguments":["a"]}
          {"type":3,"invocationId":"3","result":"m1"}
          {"type":3,"invocationId":"42","result":"b"}
          {"type":1,"target":"Message","arguments":["after"]}
        u1:
          {"type":3,"invocationId":"0","result":"b"}
          {"type":3,"invocationId":"1","result":"m0"}
          {"type":1,"target":"Leaving","arguments":["a"]}
          {"type":3,"invocationId":"2","result":"m1"}
          {"type":3,"invocationId":"41","result":"b"}
        u2:
          {"type":3,"invocationId":"0","result":"a"}
          {"type":3,"invocationId":"1","result":"m0"}
          {"type":1,"target":"Leaving","arguments":["a"]}
          {"type":3,"invocationId":"2","result":"m1"}
          {"type":3,"invocationId":"41","result":"b"}
    "#]]
    .assert_eq(&heard(MIGRATE, &names).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_killed_server_of_the_sdk_reconnect_to_the_other_one() {
    let listening = listen(default_mode()).await;
    let mut replay = Replay::new(&listening, "testhub", &[]);
    let mut before = steps(DROP);
    let fourth = before.iter().enumerate().filter(|(_, step)| matches!(step, Step::Open { .. })).nth(3);
    let after = before.split_off(fourth.expect("the clients reconnect").0);
    replay.play(before).await;
    replay.kill(1).await;
    replay.play(after).await;
    replay.end().await;
    let (heard, _) = tokio::join!(replay.heard(), listening.stop());
    expect![[r#"
        u0:
          {"type":3,"invocationId":"0","result":"a"}
          {"type":7,"error":"ServerOffline","allowReconnect":true}
        u1:
          {"type":3,"invocationId":"0","result":"b"}
        u2:
          {"type":3,"invocationId":"0","result":"a"}
          {"type":7,"error":"ServerOffline","allowReconnect":true}
        u0:
        u2:
    "#]]
    .assert_eq(&heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_reconnects_to_the_next_process_after_a_drain() {
    let listening = listen(default_mode()).await;
    let mut replay = Replay::new(&listening, "testhub", &[]);
    let mut before = steps(DRAIN);
    let is_end = |step: &Step| matches!(step, Step::Leave { .. });
    let mut ends = before.split_off(before.iter().position(is_end).expect("the clients are closed"));
    // The service closes them; they do not disconnect by themselves.
    ends.retain(|step| !is_end(step));
    let is_second = |step: &Step| matches!(step, Step::Server { conn: 2, .. });
    let next = ends.split_off(ends.iter().position(is_second).expect("the server reconnects"));
    replay.play(before).await;
    tokio::join!(replay.play(ends), listening.stop());
    replay.check_nothing_else();
    expect![[r#"
        u0:
          {"type":7,"allowReconnect":true}
        u1:
          {"type":7,"allowReconnect":true}
    "#]]
    .assert_eq(&replay.heard().await);
    let listening = listen(default_mode()).await;
    let mut replay = Replay::new(&listening, "testhub", &[]);
    replay.play(next).await;
    replay.end().await;
    listening.stop().await;
}

/// The recorded service forwarded sequences, acks and repeated invocations to the app server, which does not support them and ran an
/// invocation twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_client_that_loses_its_socket_loses_no_message_and_its_invocation_runs_once() {
    let completion = b"{\"type\":3,\"invocationId\":\"0\"";
    let is_in = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
    let (mut calls, mut completions) = (0, 0);
    let right = |step: &Step| match step {
        Step::Expect { message, .. } if is_in(message, b"\"sequenceId\"") => false,
        Step::Expect { message, .. } if is_in(message, b"\"invocationId\":\"0\"") => {
            calls += 1;
            calls == 1
        }
        Step::Server { bytes, .. } if is_in(bytes, completion) => {
            completions += 1;
            completions == 1
        }
        _ => true,
    };
    let mut all = steps(STATEFUL);
    all.retain(right);
    let end = all.iter().position(|step| matches!(step, Step::Leave { .. }));
    all.truncate(end.expect("the client is closed"));
    assert_eq!((calls, completions), (2, 2));
    let listening = listen(default_mode()).await;
    let mut replay = Replay::new(&listening, "statefulhub", &[]);
    replay.stateful = true;
    replay.play(all).await;
    replay.end().await;
    let (heard, _) = tokio::join!(replay.heard(), listening.stop());
    expect![[r#"
        ann:
          {"type":3,"invocationId":"0","result":"1"}
          {"type":1,"target":"Number","arguments":[0]}
          {"type":1,"target":"Number","arguments":[1]}
          {"type":1,"target":"Number","arguments":[2]}
          {"type":1,"target":"Number","arguments":[3]}
          {"type":1,"target":"Number","arguments":[4]}
          {"type":9,"sequenceId":1}
          {"type":3,"invocationId":"0","result":"1"}
          {"type":1,"target":"Number","arguments":[0]}
          {"type":1,"target":"Number","arguments":[1]}
          {"type":1,"target":"Number","arguments":[2]}
          {"type":1,"target":"Number","arguments":[3]}
          {"type":1,"target":"Number","arguments":[4]}
          {"type":1,"target":"Number","arguments":[5]}
          {"type":1,"target":"Number","arguments":[6]}
          {"type":1,"target":"Number","arguments":[7]}
          {"type":1,"target":"Number","arguments":[8]}
          {"type":1,"target":"Number","arguments":[9]}
          {"type":3,"invocationId":"1","result":"2"}
          {"type":7,"allowReconnect":true}
    "#]]
    .assert_eq(&heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_after_the_pause_is_completed_by_the_new_server() {
    let listening = listen(default_mode()).await;
    let mut replay = Replay::new(&listening, "testhub", &pause_race::NAMES);
    replay.play(pause_race::steps()).await;
    replay.end().await;
    let (heard, _) = tokio::join!(replay.heard(), listening.stop());
    expect![[r#"
        u2:
          {"type":3,"invocationId":"0","result":"a"}
          {"type":3,"invocationId":"1","result":"m13"}
          {"type":3,"invocationId":"2","result":"m13"}
          {"type":3,"invocationId":"3","result":"m13"}
          {"type":3,"invocationId":"4","result":"m13"}
          {"type":3,"invocationId":"5","result":"m13"}
          {"type":3,"invocationId":"6","result":"m13"}
          {"type":3,"invocationId":"7","result":"m13"}
          {"type":3,"invocationId":"8","result":"m13"}
          {"type":3,"invocationId":"9","result":"m13"}
          {"type":3,"invocationId":"10","result":"m13"}
          {"type":3,"invocationId":"11","result":"m13"}
          {"type":3,"invocationId":"12","result":"m13"}
          {"type":3,"invocationId":"13","result":"m13"}
          {"type":3,"invocationId":"14","result":"m13"}
          {"type":3,"invocationId":"108","result":"b"}
    "#]]
    .assert_eq(&heard);
}
