//! `watch`: runs on this terminal, as they go.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backout_core::command::Ask;
use backout_core::id::{RunId, Timestamp};
use backout_runtime::{Clock, SystemClock};
use backout_server::client::{Client, ClientError};
use backout_server::view::Listed;
use backout_server::wire::{AskReply, AskRequest, By, EVENTS_PAGE_MAX, EventsPage, ResumeRequest};
use backout_watch::{Look, Setting, Source, SourceError, UrlSource, watch};

use super::follow::GRACE_MS;
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::people;
use crate::reach::Reach;
use crate::reading::Reading;

/// Between two looks at a store that no engine runs on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run, by any unique prefix or `latest`; without it, all runs
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// The address of an engine, instead of this machine's store
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The token that says who you are to the engine behind `--url`
    #[arg(
        long,
        value_name = "TOKEN",
        env = "BACKOUT_TOKEN",
        hide_env_values = true,
        requires = "url"
    )]
    token: Option<String>,
}

/// Shows runs until the person ends it.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let help = "`backout status RUN` prints the same once, `--json` for programs";
        return Err(Failure::usage("this is no terminal", help));
    }
    let named = |run: &String| match &args.url {
        Some(_) => whole(run),
        None => Reading::open(app)?.find(run),
    };
    let run = args.run.as_ref().map(named).transpose()?;
    let source: Box<dyn Source + '_> = match &args.url {
        Some(url) => {
            Box::new(UrlSource::new(url, args.token.clone()).map_err(|error| no_line(&error))?)
        }
        None => Box::new(Local { app, folder: app.store()? }),
    };
    let setting = setting(app, run)?;
    app.block_on(async {
        watch(&*source, &setting).await.map_err(|error| Failure::Internal(error.to_string()))
    })?;
    Ok(Exit::Done)
}

/// Behind an address only whole names are known.
fn whole(run: &str) -> Result<RunId, Failure> {
    if RunId::is_valid(run) {
        return Ok(RunId::new(run));
    }
    Err(Failure::usage(
        format!("`{run}` is not a run's whole name"),
        "leave it out, and choose it in the list",
    ))
}

fn no_line(error: &SourceError) -> Failure {
    Failure::usage(error.to_string(), "an address looks like https://backout.example")
}

fn setting(app: &App, run: Option<RunId>) -> Result<Setting, Failure> {
    let actor = people::by(None, false)?.cause().actor;
    Ok(Setting {
        run,
        look: Look { color: app.ui.colored(), unicode: is_utf8() },
        actor,
        now: Arc::new(|| Timestamp(SystemClock.now().0)),
        by: Arc::new(|reason, glass| {
            people::by(reason, glass).map_err(|failure| failure.to_string())
        }),
    })
}

/// Whether the terminal's language has more than ASCII.
fn is_utf8() -> bool {
    let set =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
    let first = set.into_iter().find(|value| !value.is_empty());
    first.is_some_and(|value| value.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

/// The store of this machine: through the engine that owns it, or by reading it where none does.
struct Local<'a> {
    app: &'a App,
    folder: PathBuf,
}

impl Local<'_> {
    async fn client(&self) -> Result<Option<Client>, SourceError> {
        let found = Client::find(&self.folder).await.map_err(of_client)?;
        Ok(found.map(|(client, _)| client))
    }

    fn read(&self, run: &RunId, from: u64) -> Result<EventsPage, SourceError> {
        let silent = |failure: Failure| SourceError::Silent(failure.to_string());
        let reading = Reading::open(self.app).map_err(silent)?;
        let (events, _) = reading.readable(run).map_err(silent)?;
        let earlier = if from > 1 { None } else { reading.earlier_view(run).ok() };
        let new = events.into_iter().filter(|recorded| recorded.seq.0 >= from);
        let events = new.take(EVENTS_PAGE_MAX).collect();
        Ok(EventsPage { events, driven: false, now: None, earlier })
    }

    fn list(&self) -> Result<Vec<Listed>, SourceError> {
        let silent = |failure: Failure| SourceError::Silent(failure.to_string());
        let reading = Reading::open(self.app).map_err(silent)?;
        let now = self.app.now_ms();
        let views = reading.names().iter().filter_map(|run| reading.view(run, now).ok());
        let mut runs: Vec<Listed> = views.map(|view| view.listed()).collect();
        runs.sort_by(|a, b| (&b.created, &b.run).cmp(&(&a.created, &a.run)));
        Ok(runs)
    }
}

fn of_client(error: ClientError) -> SourceError {
    match error {
        ClientError::Problem(problem) => {
            SourceError::Refused { message: problem.detail, help: problem.help }
        }
        other => SourceError::Silent(other.to_string()),
    }
}

fn of_failure(failure: &Failure) -> SourceError {
    SourceError::Refused { message: failure.to_string(), help: failure.help() }
}

#[async_trait(?Send)]
impl Source for Local<'_> {
    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    async fn runs(&self) -> Result<Vec<Listed>, SourceError> {
        match self.client().await? {
            Some(client) => Ok(client.runs().await.map_err(of_client)?.runs),
            None => self.list(),
        }
    }

    async fn events(
        &self,
        run: &RunId,
        from: u64,
        wait_ms: u64,
    ) -> Result<EventsPage, SourceError> {
        if let Some(client) = self.client().await? {
            return client.events(run, from, wait_ms).await.map_err(of_client);
        }
        if from > 1 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.read(run, from)
    }

    async fn ask(&self, run: &RunId, ask: Ask, by: By) -> Result<AskReply, SourceError> {
        if let Some(client) = self.client().await? {
            return client.ask(run, &AskRequest { ask, by }).await.map_err(of_client);
        }
        // Nobody owns the store: it is recorded, as the commands beside this one do it.
        let app = self.app;
        let reach = Reach::open(&app.ui, &self.folder, app.host()).await;
        let reach = reach.map_err(|failure| of_failure(&failure))?;
        let reply = reach.ask(run, ask, by).await;
        reach.close("the command ended", GRACE_MS).await;
        reply.map_err(|failure| of_failure(&failure))
    }

    async fn resume(&self, run: &RunId, by: By) -> Result<(), SourceError> {
        match self.client().await? {
            Some(client) => {
                client.resume(run, &ResumeRequest { by }).await.map_err(of_client)?;
                Ok(())
            }
            None => Err(SourceError::Refused {
                message: "no engine runs on this store".to_owned(),
                help: Some(format!("in another terminal: backout serve, or backout resume {run}")),
            }),
        }
    }
}
