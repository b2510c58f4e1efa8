//! From the command line to an exit code.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use backout_plugin_api::{Action, SystemSecrets};
use backout_runtime::{Clock, Host, SystemClock};
use clap::Parser;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{Cli, Color, Global, LogFormat, Verb};
use crate::command;
use crate::exit::{Exit, Failure};
use crate::store_dir;
use crate::ui::{ColorChoice, Ui};

/// What every command gets.
#[derive(Debug)]
pub(crate) struct App {
    /// Where texts go.
    pub(crate) ui: Ui,
    /// `--store`, or `BACKOUT_STORE`.
    store: Option<PathBuf>,
    clock: SystemClock,
    /// Every action of this binary, made when first asked for.
    host: OnceLock<Arc<Host>>,
}

impl App {
    fn new(global: &Global) -> Self {
        let color = match global.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self {
            ui: Ui::new(color, global.verbose),
            store: global.store.clone(),
            clock: SystemClock,
            host: OnceLock::new(),
        }
    }

    /// The store's folder.
    pub(crate) fn store(&self) -> Result<PathBuf, Failure> {
        store_dir::resolve(self.store.as_deref())
    }

    /// The time now.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now().0
    }

    /// Every action of this binary.
    pub(crate) fn host(&self) -> Arc<Host> {
        self.host.get_or_init(host).clone()
    }

    #[expect(clippy::unused_self, reason = "what every command gets is asked of one thing")]
    /// Runs a future to its end. Two threads: one drives runs, one may wait for the disk.
    pub(crate) fn block_on<T>(
        &self,
        future: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failure::Internal(format!("no async runtime: {error}")))?;
        let result = runtime.block_on(future);
        runtime.shutdown_background();
        result
    }
}

/// Every action of this binary, with the machine's secrets.
pub(crate) fn host() -> Arc<Host> {
    Arc::new(Host::new(actions(), Arc::new(SystemSecrets::default())))
}

/// The actions of all plugins. The only place that names plugins.
fn actions() -> Vec<Arc<dyn Action>> {
    let mut all = backout_plugin_basic::actions();
    all.push(Arc::new(backout_plugin_exec::ExecRun::new(command::shim::command())));
    all.push(Arc::new(backout_plugin_http::HttpRequest));
    all.extend(backout_plugin_backups::actions());
    all.extend(backout_plugin_checks::actions());
    all.extend(backout_plugin_config::actions());
    all.extend(backout_plugin_containers::actions());
    all.extend(backout_plugin_flags::actions());
    all.extend(backout_plugin_migrations::actions());
    all.extend(backout_plugin_notify::actions());
    all.extend(backout_plugin_releases::actions());
    // The later one of a name is taken.
    #[cfg(debug_assertions)]
    all.extend(crate::inside::dying());
    all
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    log_to_stderr(cli.global.log.as_deref(), cli.global.log_format);
    let app = App::new(&cli.global);
    match dispatch(&app, cli.verb) {
        Ok(exit) => exit,
        Err(failure) => {
            app.ui.failure(&failure);
            failure.exit()
        }
    }
}

/// Help and version are data and no failure; clap knows which stream.
fn usage(error: &clap::Error) -> Exit {
    // Where neither stream is there, the code still says it.
    let _ = error.print().is_ok();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

fn log_to_stderr(filter: Option<&str>, format: LogFormat) {
    let Some(filter) = filter else { return };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let subscriber = tracing_subscriber::registry()
        .with(tracing_subscriber::EnvFilter::new(filter))
        // It writes whole requests, with the environment of containers in them.
        .with(filter_fn(|metadata| !metadata.target().starts_with("bollard")))
        .with(lines);
    // Only a second subscriber could stand in the way, and there is none.
    let _ = subscriber.try_init().is_ok();
}

fn dispatch(app: &App, verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::New(args) => command::new::run(app, &args),
        Verb::Check(args) => command::check::run(app, &args),
        Verb::Plan(args) => command::plan::run(app, &args),
        Verb::Ready(args) => command::ready::run(app, &args),
        Verb::Graph(args) => command::graph::run(app, &args),
        Verb::Run(args) => command::run::run(app, &args),
        Verb::Serve(args) => command::serve::run(app, &args),
        Verb::Resume(args) => command::resume::run(app, &args),
        Verb::Status(args) => command::status::run(app, &args),
        Verb::History(args) => command::history::run(app, &args),
        Verb::Watch(args) => command::watch::run(app, &args),
        Verb::Report(args) => command::report::run(app, &args),
        Verb::ByHand(args) => command::by_hand::run(app, &args),
        Verb::Approve(args) => command::ask::approve(app, args),
        Verb::Reject(args) => command::ask::reject(app, args),
        Verb::Retry(args) => command::ask::retry(app, args),
        Verb::Skip(args) => command::ask::skip(app, args),
        Verb::Settle(args) => command::settle::run(app, args),
        Verb::Pause(args) => command::ask::pause(app, args),
        Verb::Abort(args) => command::ask::abort(app, args),
        Verb::Undo(args) => command::ask::undo(app, args),
        Verb::Insert(args) => command::insert::run(app, &args),
        Verb::Lock(args) => command::lock::run(app, args),
        Verb::Handover(args) => command::handover::run(app, args),
        Verb::Background => command::background::run(app),
        Verb::Note(args) => command::ask::note(app, args),
        Verb::Close(args) => command::ask::close(app, args),
        Verb::Export(args) => command::export::run(app, &args),
        Verb::Import(args) => command::import::run(app, &args),
        Verb::Tidy(args) => command::tidy::run(app, &args),
        Verb::Retain(args) => command::retain::run(app, &args),
        Verb::Verify(args) => command::verify::run(app, &args),
        Verb::Token(args) => command::token::run(app, &args),
        Verb::Policy(args) => command::policy::run(app, &args),
        Verb::Doctor(args) => command::doctor::run(app, &args),
        Verb::Drill(args) => command::drill::run(app, &args),
        Verb::Tabletop(args) => command::tabletop::run(app, &args),
        Verb::Improvements(args) => command::improvements::run(app, &args),
        Verb::Replay(args) => command::replay::run(app, &args),
        Verb::Render(args) => command::render::run(app, &args),
        Verb::Plugins(args) => command::plugins::run(app, &args),
        Verb::Demo(args) => command::demo::run(app, &args),
        Verb::Completions(args) => command::completions::run(app, &args),
    }
}
