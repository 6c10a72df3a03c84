//! The trigger data of a timer's run.

use std::time::SystemTime;

use serde_json::{Value as Json, json};
use worker_protocol::TypedData;

use super::schedule_monitor::ScheduleMonitor;
use super::schedule_status::{ScheduleStatus, time_text};
use super::state_machine::{RunReason, is_monitored};
use crate::function::TimerTrigger;
use crate::invoke::TriggerData;

/// For a run that the schedule starts.
pub(super) fn of_run(
    trigger: &TimerTrigger,
    status: Option<&ScheduleStatus>,
    started: SystemTime,
    reason: RunReason,
) -> TriggerData {
    let data = json!({
        "Schedule": { "AdjustForDST": trigger.schedule.follows_clock_changes() },
        "ScheduleStatus": status.map_or(Json::Null, ScheduleStatus::to_trigger_json),
        "IsPastDue": matches!(reason, RunReason::PastDue(_)),
    });
    let timestamp = jiff::Timestamp::try_from(started).unwrap_or_default();
    let fired = timestamp.strftime("%m/%d/%Y %H:%M:%S").to_string();
    TriggerData {
        data: TypedData::Json(data.to_string().into()),
        metadata: [("TimerTrigger".to_owned(), TypedData::String(fired.into()))].into(),
        reason: format!("Timer fired at {}", timestamp.strftime("%Y-%m-%dT%H:%M:%S%.7f+00:00")),
        details: match reason {
            RunReason::PastDue(due) => {
                Some(format!("UnscheduledInvocationReason: IsPastDue, OriginalSchedule: {}", time_text(due)))
            }
            RunReason::Startup => Some("UnscheduledInvocationReason: RunOnStartup".to_owned()),
            RunReason::Schedule => None,
        },
        ..TriggerData::default()
    }
}

/// For a run that is started through the admin API.
pub(crate) async fn manual_trigger_data(
    function: &str,
    trigger: &TimerTrigger,
    monitor: &ScheduleMonitor,
) -> TriggerData {
    let now = SystemTime::now();
    let status = if is_monitored(trigger, now) { monitor.load(function).await } else { None };
    of_run(trigger, status.as_ref(), now, RunReason::Schedule)
}
