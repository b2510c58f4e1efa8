//! `backups.assert`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use backout_plugin_api::look::{Check, Sample, Told, refused};
use backout_plugin_api::web::{self, Access};
use backout_plugin_api::words::{fetched, has_expression, problem, quoted};
use backout_plugin_api::{ByHand, Checked, Context, PrepareFailure, SecretRef, limits};
use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::place::{Backup, is_url};
use crate::{index, place, sidecar};

/// How far a backup's time may lie in the future: clocks differ, but not by more.
const AHEAD_MAX_MS: i64 = 5 * 60 * 1_000;

/// What `backups.assert` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupsInput {
    /// Where the backups are: a pattern of files, `"/var/backups/shop/*.dump"`; one file of a web
    /// server, `"https://backups/shop/latest.dump"`; or with `name` a folder of one.
    at: String,
    /// The name of the backups in a web server's folder, as a pattern: `"shop-*.dump"`. The server
    /// lists its folders as JSON, as nginx does with `autoindex_format json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The newest backup must be younger: `"24h"`.
    younger_than: String,
    /// The newest backup must have more bytes than this.
    #[serde(default)]
    larger_than: u64,
    /// Whether a `NAME.sha256` must stand beside the newest backup and be true of it; it is read
    /// whole. Only for files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    checksum: bool,
    /// Headers for a web server, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// Headers for a web server whose values are secrets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secret_headers: BTreeMap<String, SecretRef>,
    /// A secret token for a web server, sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bearer: Option<SecretRef>,
}

/// The check `backups.assert`.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackupsCheck;

#[async_trait]
impl Check for BackupsCheck {
    type Input = BackupsInput;

    fn told(&self) -> Told {
        Told {
            name: "backups.assert",
            summary: "Says whether the newest backup is young and large enough.",
            docs: include_str!("docs/assert.md"),
            example: concat!(
                r#"(at: "/var/backups/shop/*.dump", younger_than: "24h", "#,
                r#"larger_than: 1000000, checksum: true)"#
            ),
        }
    }

    fn title(&self, input: &BackupsInput) -> String {
        let name = input.name.as_deref().unwrap_or_default();
        format!("the newest backup at {}{name}", web::shown(&input.at))
    }

    fn check(&self, input: &BackupsInput, checked: &mut Checked) {
        if !has_expression(&input.younger_than)
            && let Err(message) = age(&input.younger_than)
        {
            problem(checked, "/younger_than", message, "write \"24h\" or \"7d\"");
        }
        if has_expression(&input.at) {
            return;
        }
        if is_url(&input.at) {
            input.access().check(checked, "/at", &input.at);
            if input.checksum {
                let help = "leave it out, or look where the files are";
                problem(checked, "/checksum", "a web server's files are not read whole", help);
            }
        } else {
            input.check_files(checked);
        }
        if let Some(name) = &input.name
            && let Err(error) = glob::Pattern::new(name)
        {
            problem(checked, "/name", format!("this is no pattern: {error}"), "write `*.dump`");
        }
    }

    fn by_hand(&self, input: &BackupsInput) -> ByHand {
        let BackupsInput { younger_than, larger_than, .. } = input;
        ByHand {
            does: format!("looks at {}", self.title(input)),
            commands: vec![input.command()],
            verify: vec![format!(
                "# the newest is younger than {younger_than} and larger than {larger_than} bytes"
            )],
        }
    }

    async fn look(&self, ctx: &Context, input: &BackupsInput) -> Result<Sample, PrepareFailure> {
        let found = match (is_url(&input.at), &input.name) {
            (true, Some(name)) => index::newest(ctx, &input.at, name, input.access()).await?,
            (true, None) => place::at_url(ctx, &input.at, input.access()).await?,
            (false, _) => place::newest_file(input.at.clone()).await?,
        };
        let Some(newest) = found else {
            let line = format!("there is no backup at {}", web::shown(&input.at));
            return Ok(Sample { wrong: vec![line], seen: json!({ "backup": null }) });
        };
        let mut wrong = input.wrong(ctx.now_ms, &newest).map_err(refused)?;
        let mut seen = json!({
            "backup": newest.name,
            "at": rfc3339(newest.at_ms),
            "bytes": newest.bytes,
        });
        if input.checksum && wrong.is_empty() {
            let proven = sidecar::check(ctx, &newest.name).await?;
            seen["sha256"] = json!(proven.sha256);
            wrong.extend(proven.wrong);
        }
        Ok(Sample { wrong, seen })
    }
}

impl BackupsInput {
    fn access(&self) -> Access {
        Access {
            headers: self.headers.clone(),
            secret_headers: self.secret_headers.clone(),
            bearer: self.bearer.clone(),
        }
    }

    fn check_files(&self, checked: &mut Checked) {
        if !self.at.starts_with('/') {
            let help = "write a path from the root, or https://…";
            problem(checked, "/at", "this is no absolute path and no URL", help);
        }
        if let Err(error) = glob::Pattern::new(&self.at) {
            let message = format!("this is no pattern: {error}");
            problem(checked, "/at", message, "write `/var/backups/*.dump`");
        }
        if self.name.is_some() {
            let help = "write the whole pattern in `at`";
            problem(checked, "/name", "it is for a web server's folder", help);
        }
    }

    /// Why the newest backup is not enough.
    fn wrong(&self, now_ms: i64, newest: &Backup) -> Result<Vec<String>, String> {
        let limit_ms = i64::try_from(age(&self.younger_than)?.as_millis()).unwrap_or(i64::MAX);
        let age_ms = now_ms.saturating_sub(newest.at_ms);
        let name = &newest.name;
        let mut wrong = Vec::new();
        if age_ms < -AHEAD_MAX_MS {
            let at = rfc3339(newest.at_ms);
            wrong.push(format!("{name} is from the future ({at}): its age is not known"));
        } else if age_ms >= limit_ms {
            let age = humantime::format_duration(whole_minutes(age_ms));
            wrong.push(format!("{name} is {age} old, not younger than {}", self.younger_than));
        }
        if newest.bytes <= self.larger_than {
            let Backup { bytes, .. } = newest;
            wrong.push(format!("{name} has {bytes} bytes, not more than {}", self.larger_than));
        }
        Ok(wrong)
    }

    fn command(&self) -> String {
        if !is_url(&self.at) {
            // A pattern is for the shell to fill in.
            let sums = if self.checksum { " && sha256sum -c NAME.sha256" } else { "" };
            return format!("ls -lt --full-time {} | head -1{sums}", self.at);
        }
        let mut words = vec![match self.name {
            Some(_) => "curl -fsS".to_owned(),
            None => "curl -fsSI".to_owned(),
        }];
        for (name, reference) in &self.secret_headers {
            words.push(format!("-H \"{name}: {}\"", fetched(reference)));
        }
        if let Some(reference) = &self.bearer {
            words.push(format!("-H \"Authorization: Bearer {}\"", fetched(reference)));
        }
        words.push(quoted(&self.at));
        words.join(" ")
    }
}

fn age(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is no duration: {error}"))?;
    let ms = u64::try_from(parsed.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 || ms > limits::DURATION_MS_MAX {
        return Err(format!("`{text}` is not between nothing and a year"));
    }
    Ok(parsed)
}

fn whole_minutes(ms: i64) -> Duration {
    Duration::from_mins(u64::try_from(ms).unwrap_or(0) / 60_000)
}

fn rfc3339(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn the_newest_must_be_young_and_large() {
        let input: BackupsInput = serde_json::from_value(json!({"at": "/b/*",
            "younger_than": "24h", "larger_than": 100}))
        .unwrap();
        let wrong = |age_ms: i64, bytes: u64| {
            let newest = Backup { name: "b".to_owned(), at_ms: -age_ms, bytes };
            input.wrong(0, &newest).unwrap()
        };
        assert_eq!(wrong(23 * HOUR_MS, 101), Vec::<String>::new());
        assert_eq!(wrong(24 * HOUR_MS, 101), ["b is 1day old, not younger than 24h"]);
        assert_eq!(wrong(0, 100), ["b has 100 bytes, not more than 100"]);
        assert!(wrong(-HOUR_MS, 101)[0].contains("from the future"));
    }
}
