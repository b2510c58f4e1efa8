//! The page over one record: read only, with no store and no engine.

use std::net::SocketAddr;
use std::sync::Arc;

use backout_core::event::{Event, Recorded};
use backout_page::Given;
use backout_server::Face;
use backout_server::guard::guarded;
use backout_server::port::{self, Plain};
use tokio::net::TcpListener;

use crate::app::App;
use crate::command::follow::Signals;
use crate::exit::{Exit, Failure};
use crate::people;

/// Serves the page until it is told to end.
pub(super) fn serve(
    app: &App,
    listen: SocketAddr,
    journal: Vec<Recorded>,
) -> Result<Exit, Failure> {
    if !listen.ip().is_loopback() {
        return Err(Failure::usage(
            format!("{listen} is not of this machine alone, and a record is not for everybody"),
            "listen on 127.0.0.1:0, or show the run by `backout serve` with tokens",
        ));
    }
    let run = match journal.first().map(|first| &first.event) {
        Some(Event::RunCreated { run, .. }) => run.clone(),
        _ => return Err(Failure::usage("the record has no beginning", "export the run anew")),
    };
    let face = Face::of_record(run.clone(), journal, app.host());
    app.block_on(async {
        let what = || format!("listening on {listen}");
        let listener =
            TcpListener::bind(listen).await.map_err(|error| Failure::file(what(), error))?;
        let page = backout_page::record_router(face, Given::by_system(people::user()), &run);
        let port = port::serve(listener, guarded(page), Arc::new(Plain))
            .map_err(|error| Failure::file("the port", error))?;
        let mut signals = Signals::new()?;
        app.ui.data(&format!("replaying {run} on http://{}/runs/{run}?at=1", port.address()))?;
        signals.next().await;
        port.close().await;
        Ok(Exit::Done)
    })
}
