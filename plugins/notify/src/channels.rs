//! The channels file: where each name leads. It holds references to secrets, and never one itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backout_plugin_api::{Guarantee, SecretRef, check_reference};
use ron::extensions::Extensions;
use serde::Deserialize;

use crate::message;

/// The version of the file's format that this release reads.
pub const CHANNELS_FORMAT: u32 = 1;
/// The environment variable that names the file.
pub const CHANNELS_VARIABLE: &str = "BACKOUT_CHANNELS";
/// Bytes of the file: a thousand channels.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How long `PagerDuty` is taken to know a key: an alert that nobody has resolved keeps it longer.
const PAGER_REMEMBERS: Duration = Duration::from_hours(1);

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Channels {
    format: u32,
    channels: BTreeMap<String, Channel>,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Channel {
    /// A webhook that takes `{"text": …}`: Slack, Mattermost, Rocket.Chat, Discord's `/slack`.
    Slack {
        /// The secret's reference: whoever has the URL can post.
        url: SecretRef,
        /// The text, in place of the usual one.
        #[serde(default)]
        template: Option<String>,
    },
    /// The Events API of `PagerDuty`, version 2.
    PagerDuty {
        /// The integration's key.
        routing_key: SecretRef,
        /// Where, in place of its own.
        #[serde(default = "pager_url")]
        url: String,
    },
    /// A webhook as Standard Webhooks describe it: signed, with an id that stays the same.
    Webhook {
        /// Where.
        url: String,
        /// The key of the signature.
        key: SecretRef,
        /// How long the receiver knows an `Idempotency-Key`; without it, it does not.
        #[serde(default)]
        remembers: Option<String>,
    },
    /// Mail over SMTP.
    Mail {
        /// `host:port`.
        server: String,
        /// How the line is closed.
        #[serde(default)]
        tls: MailTls,
        /// The account.
        #[serde(default)]
        user: Option<String>,
        /// Its password.
        #[serde(default)]
        password: Option<SecretRef>,
        /// The sender.
        from: String,
        /// The receivers.
        to: Vec<String>,
        /// A file of certificates that vouch for the server, in PEM.
        #[serde(default)]
        ca: Option<PathBuf>,
        /// The text, in place of the usual one.
        #[serde(default)]
        template: Option<String>,
    },
    /// A command, which gets the message as JSON on its input.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
    },
}

/// How the line to a mail server is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MailTls {
    /// After `STARTTLS`, which the server must offer.
    #[default]
    Starttls,
    /// From the start.
    Wrapped,
    /// Not at all: for a server on this machine.
    None,
}

fn pager_url() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}

impl Channel {
    /// What is promised for it.
    pub(crate) fn guarantee(&self) -> Guarantee {
        if self.remembered_ms().is_some() { Guarantee::Keyed } else { Guarantee::Manual }
    }

    /// How long its receiver knows a key.
    pub(crate) fn remembered_ms(&self) -> Option<u64> {
        let remembers = match self {
            Self::PagerDuty { .. } => PAGER_REMEMBERS,
            Self::Webhook { remembers: Some(text), .. } => humantime::parse_duration(text).ok()?,
            Self::Webhook { .. }
            | Self::Slack { .. }
            | Self::Mail { .. }
            | Self::Command { .. } => {
                return None;
            }
        };
        u64::try_from(remembers.as_millis()).ok()
    }

    /// What it is, for people.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Slack { .. } => "chat",
            Self::PagerDuty { .. } => "PagerDuty",
            Self::Webhook { .. } => "webhook",
            Self::Mail { .. } => "mail",
            Self::Command { .. } => "command",
        }
    }

    /// What is wrong with it.
    fn fault(&self) -> Option<String> {
        match self {
            Self::Slack { url, template } => {
                secret_fault(url).or_else(|| template_fault(template.as_ref()))
            }
            Self::PagerDuty { routing_key, url } => {
                secret_fault(routing_key).or_else(|| url_fault(url))
            }
            Self::Webhook { url, key, remembers } => {
                let remembers = remembers.as_deref().map(humantime::parse_duration);
                let remembers = remembers.and_then(Result::err);
                let remembers = remembers.map(|error| format!("`remembers`: {error}"));
                url_fault(url).or_else(|| secret_fault(key)).or(remembers)
            }
            Self::Mail { from, to, password, user, template, .. } => {
                let address = [from].into_iter().chain(to).find_map(|text| address_fault(text));
                let nobody = to.is_empty().then(|| "`to` names nobody".to_owned());
                let half = (user.is_some() != password.is_some())
                    .then(|| "`user` and `password` go together".to_owned());
                let secret = password.as_ref().and_then(secret_fault);
                address.or(nobody).or(half).or(secret).or_else(|| template_fault(template.as_ref()))
            }
            Self::Command { command } => {
                let empty = command.first().is_none_or(String::is_empty);
                empty.then(|| "`command` has no program".to_owned())
            }
        }
    }
}

fn secret_fault(reference: &SecretRef) -> Option<String> {
    // What was written may be the secret itself, so it is not repeated.
    let wrong = "a secret stands as a reference: `env:NAME`, `file:PATH`, `cmd:[\"prog\"]`";
    check_reference(&reference.0).err().map(|_| wrong.to_owned())
}

fn url_fault(url: &str) -> Option<String> {
    let parsed = reqwest::Url::parse(url).ok();
    let good = parsed.is_some_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
    });
    (!good).then(|| "`url` is no URL of a web server without a user in it".to_owned())
}

fn address_fault(text: &str) -> Option<String> {
    let parsed = text.parse::<lettre::message::Mailbox>();
    parsed.err().map(|error| format!("`{text}` is no mail address: {error}"))
}

fn template_fault(template: Option<&String>) -> Option<String> {
    message::check_template(template?).err()
}

/// The file: as the environment names it, else in the XDG configuration folder.
pub fn place() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(CHANNELS_VARIABLE) {
        return Some(PathBuf::from(named));
    }
    let absolute = |path: &PathBuf| path.is_absolute();
    let own = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(absolute);
    let home = || std::env::home_dir().filter(absolute).map(|home| home.join(".config"));
    own.or_else(home).map(|folder| folder.join("backout").join("channels.ron"))
}

/// The channel of a name, in a file.
///
/// # Errors
/// What is wrong, with line and column where it is in the file.
pub(crate) fn find(file: &Path, name: &str) -> Result<Channel, String> {
    let shown = file.display();
    let bytes = std::fs::metadata(file).map(|meta| meta.len());
    let text = match bytes {
        Ok(bytes) if bytes > FILE_BYTES_MAX => return Err(format!("{shown} has {bytes} bytes")),
        Ok(_) => std::fs::read_to_string(file),
        Err(error) => Err(error),
    };
    let text = text.map_err(|error| {
        format!("no channels: {shown}: {error}; name the file by {CHANNELS_VARIABLE}")
    })?;
    let mut all = read(&text).map_err(|why| format!("{shown}:{why}"))?;
    all.remove(name).ok_or_else(|| {
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        format!("{shown} has no channel `{name}`; it has {}", names.join(", "))
    })
}

/// All channels of a file's text.
fn read(text: &str) -> Result<BTreeMap<String, Channel>, String> {
    let options = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME);
    let read: Channels = options.from_str(text).map_err(|error| {
        let at = error.span.start;
        format!("{}:{}: {}", at.line, at.col, error.code)
    })?;
    if read.format != CHANNELS_FORMAT {
        return Err(format!(" format {}; this release reads {CHANNELS_FORMAT}", read.format));
    }
    for (name, channel) in &read.channels {
        if let Some(fault) = channel.fault() {
            return Err(format!(" channel `{name}`: {fault}"));
        }
    }
    Ok(read.channels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = include_str!("../channels.ron");

    #[test]
    fn the_example_is_read() {
        let all = read(GOOD).unwrap();
        let words: Vec<_> = all.values().map(Channel::word).collect();
        assert_eq!(words, ["command", "mail", "PagerDuty", "chat", "webhook"]);
        assert_eq!(all["oncall"].guarantee(), Guarantee::Keyed);
        assert_eq!(all["status"].remembered_ms(), Some(24 * 3_600 * 1_000));
        assert_eq!(all["ops"].guarantee(), Guarantee::Manual);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let one = |channel: &str| format!("Channels(format: 1, channels: {{\"a\": {channel}}})");
        let cases = [
            ("Channels(format: 1,\n channels: {\"a\": Slak(url: \"env:X\")})".to_owned(), "2:"),
            (one("Slack(url: \"env:X\", extra: 1)"), "1:"),
            ("Channels(format: 2, channels: {})".to_owned(), " format 2; this release reads 1"),
            (one("Slack(url: \"https://hooks.example/s3cr3t\")"), " channel `a`: a secret stands"),
            (one("Slack(url: \"env:X\", template: \"{{ nothing }\")"), " channel `a`: template"),
            (one("PagerDuty(routing_key: \"env:X\", url: \"ftp://x\")"), " channel `a`: `url`"),
            (one("Webhook(url: \"https://u:p@x\", key: \"env:X\")"), " channel `a`: `url`"),
            (
                one("Webhook(url: \"https://x\", key: \"env:X\", remembers: \"1\")"),
                " channel `a`: `rem",
            ),
            (
                one("Mail(server: \"x:25\", from: \"a\", to: [\"b@x\"])"),
                " channel `a`: `a` is no mail",
            ),
            (
                one("Mail(server: \"x:25\", from: \"a@x\", to: [])"),
                " channel `a`: `to` names nobody",
            ),
            (
                one("Mail(server: \"x:25\", user: \"u\", from: \"a@x\", to: [\"b@x\"])"),
                " channel `a`: `user`",
            ),
            (one("Command(command: [])"), " channel `a`: `command` has no program"),
        ];
        for (text, begin) in cases {
            let error = read(&text).unwrap_err();
            assert!(error.starts_with(begin), "{text}: {error}");
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(cut in 0_usize..600, put in "[(){}\\[\\]:,\"a1]{0,3}") {
            let at = GOOD.floor_char_boundary(cut.min(GOOD.len()));
            drop(read(&format!("{}{put}{}", &GOOD[..at], &GOOD[at..])));
        }
    }
}
