//! The message as its receivers get it.

use backout_plugin_api::{EffectKey, hex};
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::input::{Input, TEXT_BYTES_MAX, TITLE_CHARS_MAX};

/// Characters of a key that a receiver is given: `PagerDuty` takes 255.
const KEY_CHARS_MAX: usize = 200;
/// The version of what a webhook and a command get.
const MESSAGE_FORMAT: u32 = 1;

/// One message, within the limits of every receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    /// The version of these fields.
    pub(crate) format: u32,
    /// The same in every sending of it.
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) run: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    #[serde(skip)]
    severity: &'static str,
}

impl Message {
    pub(crate) fn new(input: &Input, key: &EffectKey) -> Self {
        let title: String = one_line(&input.title).chars().take(TITLE_CHARS_MAX).collect();
        let end = input.text.floor_char_boundary(TEXT_BYTES_MAX);
        let (text, rest) = input.text.split_at(end);
        let cut = if rest.is_empty() { "" } else { "\n[cut]" };
        Self {
            format: MESSAGE_FORMAT,
            id: short_key(key),
            kind: input.kind.word(),
            title,
            text: format!("{text}{cut}"),
            run: one_line(&input.run),
            to: input.to.as_deref().map(one_line),
            severity: input.kind.severity(),
        }
    }

    /// The text for a person, by the channel's template where it has one.
    pub(crate) fn body(&self, template: Option<&str>) -> Result<String, String> {
        if let Some(template) = template {
            return render(template, self);
        }
        let to = self.to.as_deref().map(|to| format!("For {to}.\n")).unwrap_or_default();
        let run = if self.run.is_empty() { String::new() } else { format!("\n(run {})", self.run) };
        Ok(format!("{to}{}{run}", self.text))
    }

    /// As Slack takes it. Its own signs are made harmless.
    pub(crate) fn slack(&self, template: Option<&str>) -> Result<Value, String> {
        let harmless =
            |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let body = harmless(&self.body(template)?);
        let text = match template {
            Some(_) => body,
            None => format!("*{}*\n{body}", harmless(&self.title)),
        };
        Ok(json!({ "text": text }))
    }

    /// As `PagerDuty` takes it.
    pub(crate) fn pager(&self, routing_key: &str) -> Value {
        json!({
            "routing_key": routing_key,
            "event_action": "trigger",
            "dedup_key": self.id,
            "client": "backout",
            "payload": {
                "summary": self.title,
                "source": if self.run.is_empty() { "backout" } else { &self.run },
                "severity": self.severity,
                "class": self.kind,
                "custom_details": { "text": self.text, "run": self.run, "to": self.to },
            },
        })
    }
}

/// Whether a template can be used at all.
pub(crate) fn check_template(template: &str) -> Result<(), String> {
    let example = Message {
        format: MESSAGE_FORMAT,
        id: "id".to_owned(),
        kind: "update",
        title: "title".to_owned(),
        text: "text".to_owned(),
        run: "run".to_owned(),
        to: Some("somebody".to_owned()),
        severity: "info",
    };
    render(template, &example).map(drop)
}

fn render(template: &str, message: &Message) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let Message { id, title, text, run, to, .. } = message;
    let kind = message.kind;
    let fields = context! { id, kind, title, text, run, to };
    let rendered = environment.render_str(template, fields);
    rendered.map_err(|error| format!("template: {error}"))
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// The key in visible ASCII, short enough for everybody.
fn short_key(key: &EffectKey) -> String {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    let text: String = key.as_str().chars().map(plain).collect();
    if text.len() <= KEY_CHARS_MAX && text == key.as_str() {
        return text;
    }
    let digest = hex(&Sha256::digest(key.as_str()));
    let kept: String = text.chars().take(KEY_CHARS_MAX - digest.len() - 1).collect();
    format!("{kept}-{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Kind;

    fn message(title: &str, text: &str) -> Message {
        let input = Input {
            channel: "ops".to_owned(),
            kind: Kind::Escalation,
            title: title.to_owned(),
            text: text.to_owned(),
            run: "r1".to_owned(),
            to: None,
        };
        Message::new(&input, &EffectKey::from_text("r1/tell/1/0"))
    }

    #[test]
    fn it_stays_within_limits_and_on_one_line() {
        let long = message(&"a\nb".repeat(200), &"\u{e9}".repeat(TEXT_BYTES_MAX));
        assert_eq!(long.title.chars().count(), TITLE_CHARS_MAX);
        assert!(!long.title.contains('\n'));
        assert!(long.text.len() <= TEXT_BYTES_MAX + 10 && long.text.ends_with("\n[cut]"));
    }

    #[test]
    fn slacks_own_signs_are_harmless() {
        let text = message("<!channel> a & b", "<https://evil|x>").slack(None).unwrap();
        assert_eq!(text["text"], "*&lt;!channel&gt; a &amp; b*\n&lt;https://evil|x&gt;\n(run r1)");
    }

    #[test]
    fn a_template_takes_the_fields_and_nothing_else() {
        let one = message("down", "text");
        assert_eq!(
            one.body(Some("{{ kind }}: {{ title }} ({{ id }})")).unwrap(),
            "escalation: down (r1/tell/1/0)"
        );
        assert!(check_template("{{ secret }}").is_err());
        assert!(check_template("{% if %}").is_err());
    }

    #[test]
    fn long_and_strange_keys_stay_different() {
        let key = |text: &str| short_key(&EffectKey::from_text(text));
        assert_eq!(key("r/s[eu-1]/1/0"), "r/s[eu-1]/1/0");
        assert_ne!(key("r/a b/1/0"), key("r/a_b/1/0"));
        let long = "x".repeat(400);
        assert!(key(&long).len() <= KEY_CHARS_MAX);
        assert_ne!(key(&format!("{long}a")), key(&format!("{long}b")));
    }
}
