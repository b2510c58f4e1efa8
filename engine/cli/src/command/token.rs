//! `token`: who may come in over the network. Tokens stand, hashed, in a file in the store's folder.

use std::collections::BTreeSet;
use std::time::Duration;

use backout_access::token::{Entry, RANDOM_BYTES, Wanted};
use backout_access::tokens::Tokens;
use backout_access::{NAME_CHARS_MAX, Role, is_name};
use backout_core::id::Timestamp;
use backout_server::view::{counted, duration, rfc3339};
use clap::Subcommand;
use serde::Serialize;

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::people;
use crate::view::text::padded;

/// How long a token lives where nobody says: it outlasts an incident, and not a job.
const EXPIRES: &str = "30d";
/// How long one may live: a longer one is forgotten, and never changed.
const EXPIRES_MAX: Duration = Duration::from_hours(366 * 24);

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token and show it, this once
    New(New),
    /// List the tokens, without their secrets
    List(List),
    /// Take a token back, or all of a name; it is refused from then on
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct New {
    /// Whose it is; events carry this name
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What its holder may do: viewer, operator, approver or admin; may be given more than once
    #[arg(long = "role", value_name = "ROLE", required_unless_present = "break_glass")]
    roles: Vec<Role>,
    /// How long it lives, as in `30d` or `8h`
    #[arg(long, value_name = "TIME", default_value = EXPIRES, value_parser = humantime::parse_duration)]
    expires: Duration,
    /// For the envelope in the safe: may do everything, whatever the policy says; each command needs
    /// a reason and marks every later view of the run
    #[arg(long, conflicts_with = "roles")]
    break_glass: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// The token's id, or a name for all tokens of that name
    #[arg(value_name = "ID|NAME")]
    which: String,
}

/// A token as it is listed.
#[derive(Serialize)]
struct Row {
    id: String,
    name: String,
    roles: Vec<Role>,
    break_glass: bool,
    standing: &'static str,
    made: String,
    expires: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
    /// Only where it is new: nobody sees it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Makes, lists or takes back.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let tokens = Tokens::of(&app.store()?);
    match &args.verb {
        Verb::New(args) => new(app, &tokens, args),
        Verb::List(args) => list(app, &tokens, args),
        Verb::Revoke(args) => revoke(app, &tokens, &args.which),
    }
}

fn new(app: &App, tokens: &Tokens, args: &New) -> Result<Exit, Failure> {
    if !is_name(&args.name) {
        return Err(Failure::usage(
            format!("`{}` cannot be a name", args.name),
            format!(
                "one line of up to {NAME_CHARS_MAX} characters that is no role and not `engine`"
            ),
        ));
    }
    if args.expires > EXPIRES_MAX || args.expires.is_zero() {
        return Err(Failure::usage(
            "a token lives for some time, and 366 days at the most",
            "write `--expires 90d`; make a new one before it ends",
        ));
    }
    let now_ms = app.now_ms();
    let lives_ms = i64::try_from(args.expires.as_millis()).unwrap_or(i64::MAX);
    let wanted = Wanted {
        name: args.name.clone(),
        roles: args.roles.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(),
        break_glass: args.break_glass,
        expires_ms: now_ms.saturating_add(lives_ms),
    };
    let (entry, text) = Entry::issue(wanted, &people::random::<RANDOM_BYTES>()?, now_ms);
    tokens.add(entry.clone(), now_ms).map_err(failed)?;
    let row = row(&entry, now_ms);
    if args.json {
        app.ui.json(&Row { token: Some(text), ..row })?;
        return Ok(Exit::Done);
    }
    app.ui.data(&text)?;
    let (what, roles) = (words(&entry), &row.expires);
    app.ui.say(&format!("token {} of {}: {what}, until {roles}", entry.id, entry.name));
    app.ui.say("it is shown this once; to take it back:");
    app.ui.say(&format!("  backout token revoke {}", entry.id));
    Ok(Exit::Done)
}

fn list(app: &App, tokens: &Tokens, args: &List) -> Result<Exit, Failure> {
    let (all, now_ms) = (tokens.all().map_err(failed)?, app.now_ms());
    if args.json {
        app.ui.json(&all.iter().map(|entry| row(entry, now_ms)).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        app.ui.say("no tokens; `backout token new --name YOU --role operator` makes one");
        return Ok(Exit::Done);
    }
    let width = all.iter().map(|entry| entry.name.chars().count()).max().unwrap_or_default();
    let line = |entry: &Entry| {
        let name = padded(&entry.name, width);
        format!("{}  {name}  {}  {}\n", entry.id, stands(entry, now_ms), words(entry))
    };
    app.ui.data(&all.iter().map(line).collect::<String>())?;
    Ok(Exit::Done)
}

fn revoke(app: &App, tokens: &Tokens, which: &str) -> Result<Exit, Failure> {
    let taken = tokens.revoke(which, app.now_ms()).map_err(failed)?;
    if taken.is_empty() {
        let message = format!("no token has the id or name `{which}` and is not revoked yet");
        return Err(Failure::usage(message, "`backout token list` shows them"));
    }
    let ids: Vec<&str> = taken.iter().map(|entry| entry.id.as_str()).collect();
    app.ui.say(&format!("{} revoked: {}", counted(taken.len(), "token"), ids.join(", ")));
    Ok(Exit::Done)
}

/// How a token stands, as wide as the widest.
fn stands(entry: &Entry, now_ms: i64) -> String {
    let left = u64::try_from(entry.expires_ms.saturating_sub(now_ms)).unwrap_or_default();
    let text = match entry.standing(now_ms).word() {
        "good" => format!("good for {}", duration(left)),
        word => word.to_owned(),
    };
    padded(&text, "good for 365d 23h".len())
}

fn words(entry: &Entry) -> String {
    if entry.break_glass {
        return "BREAKS THE GLASS".to_owned();
    }
    let words: Vec<&str> = entry.roles.iter().map(|role| role.word()).collect();
    words.join(", ")
}

fn row(entry: &Entry, now_ms: i64) -> Row {
    let at = |ms: i64| rfc3339(Timestamp(ms));
    Row {
        id: entry.id.clone(),
        name: entry.name.clone(),
        roles: entry.roles.clone(),
        break_glass: entry.break_glass,
        standing: entry.standing(now_ms).word(),
        made: at(entry.made_ms),
        expires: at(entry.expires_ms),
        revoked: entry.revoked_ms.map(at),
        token: None,
    }
}

fn failed(error: backout_access::tokens::TokensError) -> Failure {
    Failure::file("tokens", error)
}
