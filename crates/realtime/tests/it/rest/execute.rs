//! `:execute`: commands for the connections that a filter selects.

use expect_test::expect;
use serde_json::{Value, json};
use signalr_protocol::HubProtocol::{Json, MessagePack};

use super::world::World;

fn send(target: &str) -> Value {
    json!({ "type": "SendMessage", "message": { "target": target, "arguments": [1] } })
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_executed_in_order_on_the_connections_that_the_filter_selects() {
    let world = World::start().await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let mut guest = world.connect(Some("guest-1"), Json).await;
    let mut nobody = world.connect(None, Json).await;
    // The filter is applied once: a connection that joins a group by the first command also gets the second.
    let commands = json!([
        { "type": "JoinGroup", "group": "blue" },
        send("welcome"),
        { "Type": "sendmessage", "Message": { "Target": "twice" } },
    ]);
    let line = "POST :execute?filter=startswith(userId,'guest')%20and%20not('blue'%20in%20groups)";
    world.expect(202, line, commands.clone()).await;
    world.expect(202, line, commands).await;
    world.expect(202, "POST groups/blue/:send", json!({ "target": "blue" })).await;
    let by_id = format!("POST :execute?filter=connectionId%20in%20('{}',%20'x')", nobody.id);
    world.expect(202, &by_id, json!([send("you")])).await;
    let everybody = json!([{ "type": "LeaveGroup", "group": "blue" }, send("all")]);
    world.expect(202, "POST :execute", everybody).await;
    world.expect(202, "POST groups/blue/:send", json!({ "target": "blue" })).await;
    world.mark().await;
    expect![[r#"{"type":1,"target":"all","arguments":[1]}"#]].assert_eq(&ada.until_mark().await);
    expect![[r#"
        {"type":1,"target":"welcome","arguments":[1]}
        {"type":1,"target":"twice","arguments":[]}
        {"type":1,"target":"blue","arguments":[]}
        {"type":1,"target":"all","arguments":[1]}"#]]
    .assert_eq(&guest.until_mark().await);
    expect![[r#"
        {"type":1,"target":"you","arguments":[1]}
        {"type":1,"target":"all","arguments":[1]}"#]]
    .assert_eq(&nobody.until_mark().await);
    drop((ada, guest, nobody));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_ends_the_selected_connections_and_later_commands_have_no_receivers() {
    let world = World::start().await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let mut bob = world.connect(Some("bob"), MessagePack).await;
    let close = json!([{ "type": "CloseConnection", "reason": "go" }, send("late")]);
    world.expect(202, "POST :execute?filter=userId%20eq%20'ada'", close).await;
    expect![[r#"
        {"type":7,"error":"go","allowReconnect":true}
        closed"#]]
    .assert_eq(&ada.until_mark().await);
    world.expect(202, "POST :execute", json!([send("all")])).await;
    assert_eq!(bob.next_hex().await, "960180c0a3616c6c910190");
    drop((ada, bob));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_is_executed_if_one_is_invalid() {
    let world = World::start().await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let check = async |query: &str, body: Value, expected: expect_test::Expect| {
        let answer = world.expect(400, &format!("POST :execute{query}"), body).await;
        let code = answer.headers["x-ms-error-code"].to_str().unwrap().to_owned();
        expected.assert_eq(&format!("{code}\n{}", answer.text()));
    };
    check("?filter=userId%20eq%20ada", json!([send("x")]), expect![[r#"
        InvalidFilter
        {"code":"InvalidFilter","message":"the filter at character 11: 'ada' is not a name; use userId, connectionId, groups, true, false or null","target":"filter"}"#]]).await;
    let wrong = json!([send("x"), { "type": "Explode" }, { "type": "JoinGroup" }, { "type": "SendMessage" }]);
    check("", wrong, expect![[r#"
        InvalidCommands
        {"code":"InvalidCommands","message":"commands[1]: its type must be SendMessage, JoinGroup, LeaveGroup or CloseConnection","target":"commands","details":[{"code":"InvalidBody","message":"its type must be SendMessage, JoinGroup, LeaveGroup or CloseConnection","target":"commands[1]"},{"code":"InvalidGroup","message":"invalid group name; use 1 to 1024 characters, not only white space","target":"commands[2]"},{"code":"InvalidBody","message":"SendMessage needs a message","target":"commands[3]"}],"inner":{"code":"InvalidBody"}}"#]]).await;
    check("", json!([{ "type": "SendMessage", "message": { "target": "t", "arguments": {} } }]), expect![[r#"
        InvalidCommands
        {"code":"InvalidCommands","message":"commands[0]: the arguments of a message must be a JSON array","target":"commands","details":[{"code":"InvalidBody","message":"the arguments of a message must be a JSON array","target":"commands[0]"}],"inner":{"code":"InvalidBody"}}"#]])
        .await;
    check(
        "",
        json!({ "type": "CloseConnection" }),
        expect![[r#"
        InvalidBody
        {"code":"InvalidBody","message":"the body is not an array of commands: an array is expected"}"#]],
    )
    .await;
    check(
        "",
        vec![send("x"); 101].into(),
        expect![[r#"
        InvalidBody
        {"code":"InvalidBody","message":"there are 101 commands, more than the 100 allowed"}"#]],
    )
    .await;
    world.mark().await;
    assert_eq!(ada.until_mark().await, "");
    drop(ada);
    world.stop().await;
}
