//! One message over SMTP. Until the text itself is sent, every failure proves that it was not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backout_plugin_api::{Context, Masker, SecretRef, hex};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use crate::channels::MailTls;
use crate::message::Message;
use crate::record::Sent;
use crate::web::secret;

/// How long one exchange with the server may take; RFC 5321 asks for minutes, people wait.
const STEP_TIMEOUT: Duration = Duration::from_mins(1);

/// Where mail goes, and how.
pub(crate) struct Mail<'a> {
    pub(crate) server: &'a str,
    pub(crate) tls: MailTls,
    pub(crate) user: Option<&'a str>,
    pub(crate) password: Option<&'a SecretRef>,
    pub(crate) from: &'a str,
    pub(crate) to: &'a [String],
    pub(crate) ca: Option<&'a PathBuf>,
    pub(crate) template: Option<&'a str>,
}

impl Mail<'_> {
    /// Sends it.
    pub(crate) async fn send(&self, ctx: &Context, message: &Message, until: Instant) -> Sent {
        let password = match self.password {
            Some(reference) => match secret(ctx, reference).await {
                Ok(password) => Some(password),
                Err(why) => return Sent::Not(why),
            },
            None => None,
        };
        let secrets: Vec<String> = password.iter().cloned().collect();
        let clean = |why: String| Masker::text(&secrets, &why);
        let mail = match self.mail(message) {
            Ok(mail) => mail,
            Err(why) => return Sent::Not(why),
        };
        let connecting = timeout_at(until, self.connect(password.as_deref(), until));
        let mut server = tokio::select! {
            connected = connecting => match connected {
                Ok(Ok(server)) => server,
                Ok(Err(why)) => return Sent::Not(clean(why)),
                Err(_) => return Sent::Not("the server did not greet in time".to_owned()),
            },
            () = ctx.cancel.cancelled() => return Sent::Not("ended before it was sent".to_owned()),
        };
        let text = mail.formatted();
        let sending = timeout_at(until, server.send(mail.envelope(), &text));
        let sent = tokio::select! {
            sent = sending => sent,
            () = ctx.cancel.cancelled() => {
                return Sent::NoAnswer("it was ended on request, before an answer came".to_owned());
            }
        };
        match sent {
            Ok(Ok(response)) => {
                // It has taken the message: how it says goodbye changes nothing.
                drop(timeout_at(until, server.quit()).await);
                Sent::Taken(clean(response.first_line().unwrap_or("taken").to_owned()))
            }
            Ok(Err(error)) => said(&error, clean),
            Err(_) => Sent::NoAnswer("no answer in time".to_owned()),
        }
    }

    /// Connects, closes the line and signs in.
    async fn connect(
        &self,
        password: Option<&str>,
        until: Instant,
    ) -> Result<AsyncSmtpConnection, String> {
        let host = self.server.rsplit_once(':').map_or(self.server, |(host, _)| host);
        let hello = ClientId::default();
        let tls = match self.tls {
            MailTls::None => None,
            MailTls::Starttls | MailTls::Wrapped => Some(tls(host, self.ca.map(PathBuf::as_path))?),
        };
        let wrapped = if self.tls == MailTls::Wrapped { tls.clone() } else { None };
        let left = until.saturating_duration_since(Instant::now()).min(STEP_TIMEOUT);
        let mut server =
            AsyncSmtpConnection::connect_tokio1(self.server, Some(left), &hello, wrapped, None)
                .await
                .map_err(|error| format!("{}: {}", self.server, chain(&error)))?;
        if let (MailTls::Starttls, Some(tls)) = (self.tls, tls) {
            let closed = server.starttls(tls, &hello).await;
            closed.map_err(|error| format!("{}: no TLS: {}", self.server, chain(&error)))?;
        }
        if let (Some(user), Some(password)) = (self.user, password) {
            let account = Credentials::new(user.to_owned(), password.to_owned());
            let signed = server.auth(DEFAULT_MECHANISMS, &account).await;
            signed.map_err(|error| {
                format!("{} does not take {user}: {}", self.server, chain(&error))
            })?;
        }
        Ok(server)
    }

    /// The mail. Its id comes from the key, so that a mail system that is sent it twice can know it.
    fn mail(&self, message: &Message) -> Result<lettre::Message, String> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let from: Mailbox = self.from.parse().map_err(|error| wrong(self.from, &error))?;
        let id = hex(&Sha256::digest(&message.id)[..16]);
        let mut builder = lettre::Message::builder()
            .message_id(Some(format!("<backout-{id}@{}>", from.email.domain())))
            .subject(format!("[{}] {}", message.kind, message.title));
        builder = builder.from(from);
        let named = message.to.iter().filter(|to| to.contains('@'));
        let to: Vec<&String> = named.collect();
        let all = if to.is_empty() { self.to.iter().collect() } else { to };
        for receiver in all {
            let receiver: Mailbox = receiver.parse().map_err(|error| wrong(receiver, &error))?;
            builder = builder.to(receiver);
        }
        for (name, value) in [("X-Backout-Id", &message.id), ("X-Backout-Run", &message.run)] {
            let name = HeaderName::new_from_ascii_str(name);
            builder = builder.raw_header(HeaderValue::new(name, value.clone()));
        }
        // Nobody's holiday reply is wanted.
        let auto = HeaderName::new_from_ascii_str("Auto-Submitted");
        builder = builder.raw_header(HeaderValue::new(auto, "auto-generated".to_owned()));
        let body = SinglePart::builder()
            .header(ContentType::TEXT_PLAIN)
            .body(message.body(self.template)?);
        builder.singlepart(body).map_err(|error| wrong("the mail", &error))
    }
}

/// What an error after the connection says.
fn said(error: &Error, clean: impl Fn(String) -> String) -> Sent {
    let why = clean(chain(error));
    if error.is_permanent() {
        return Sent::Wrong(why);
    }
    if error.is_transient() || error.is_client() {
        return Sent::Not(why);
    }
    Sent::NoAnswer(why)
}

fn tls(host: &str, ca: Option<&Path>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca {
        let shown = path.display();
        let pem = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
        let all = Certificate::from_pem(&pem).map_err(|error| format!("{shown}: {error}"))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(all);
    }
    builder.build().map_err(|error| format!("no TLS for {host}: {error}"))
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
