//! The time zone of an app's schedules.

use jiff::tz::TimeZone;

use crate::app::App;
use crate::error::Error;
use crate::windows_zones;

/// The zone of `WEBSITE_TIME_ZONE` or `TZ`, else UTC, as in the Azure Functions host; not the zone of the machine.
pub(crate) fn time_zone(app: &App) -> Result<TimeZone, Error> {
    for name in ["WEBSITE_TIME_ZONE", "TZ"] {
        if let Some(zone) = app.settings.get(name) {
            let zone = zone.trim_start_matches(':');
            return TimeZone::get(windows_zones::iana(zone).unwrap_or(zone)).map_err(|_| {
                Error::Setting(format!(
                    "the setting {name} is \"{zone}\", which is not a known time zone; use a name such as Europe/Paris or \
                     W. Europe Standard Time"
                ))
            });
        }
    }
    Ok(TimeZone::UTC)
}
