//! What became of a sending that was made statement by statement.

use backout_plugin_api::Settled;
use tokio::time::Instant;

use super::probe::Took;
use super::row::{self, Row, State};
use super::{Connecting, Kind, connect, own_lock, session, try_lock, units};
use crate::db::work::Work;
use crate::db::{Conn, Data};

/// Says what became of the sendings up to this dispatch.
pub(crate) async fn settle(work: Work<'_>) -> Settled {
    let name = work.data.database.target();
    let unreachable =
        |why: String| Settled::Unreachable { reason: format!("cannot look at {name}: {why}") };
    let settling = async {
        match connect(work.ctx, work.call, work.data).await {
            Ok(mut conn) => try_settle(&mut conn, work).await.map_err(|error| error.to_string()),
            Err(Connecting::Other(evidence)) => Ok(Settled::Unknown { evidence }),
            Err(Connecting::Unreachable(why)) => Err(why),
        }
    };
    match tokio::time::timeout(work.ctx.timeout, settling).await {
        Ok(Ok(settled)) => settled,
        Ok(Err(why)) => unreachable(why),
        Err(_) => unreachable(format!("no answer within {:?}", work.ctx.timeout)),
    }
}

async fn try_settle(conn: &mut Conn, work: Work<'_>) -> sqlx::Result<Settled> {
    let Work { call, data, .. } = work;
    conn.run(&session(conn.dialect(), data)).await?;
    row::create(conn).await?;
    let lock = own_lock(conn, call).await?;
    if let Some(holder) = try_lock(conn, &lock, Instant::now()).await? {
        let evidence = format!("an earlier sending is still at work: {holder}");
        return Ok(Settled::Running { evidence });
    }
    let from = data.resume;
    if row::insert(conn, call, data, State::Sealed, from).await? {
        return Ok(Settled::NotDone);
    }
    let Some(found) = row::read(conn, call, data).await? else {
        let evidence = "the row of the effect went away while it was read".to_owned();
        return Ok(Settled::Running { evidence });
    };
    match found.state {
        _ if !found.is_same => {
            let evidence = format!("the row of {} is of another migration", call.key);
            Ok(Settled::Unknown { evidence })
        }
        State::Done => Ok(Settled::Done { output: data.output() }),
        State::Sealed => {
            row::seal(conn, call, found.done).await?;
            Ok(ended(data, found.done, from))
        }
        State::Running => middle(conn, work, &found, from).await,
    }
}

/// A sending that ended in its middle: what of it is made, by the count and the catalogue.
async fn middle(
    conn: &mut Conn,
    work: Work<'_>,
    found: &Row,
    from: usize,
) -> sqlx::Result<Settled> {
    let units = units(conn.dialect(), work.data);
    let mut done = found.done;
    if found.begun > found.done {
        let unit = found.begun.checked_sub(1).and_then(|at| units.get(at));
        let probe = unit.and_then(|unit| match &unit.kind {
            Kind::Bare(probe) => probe.as_ref(),
            Kind::Counted | Kind::PutBack => None,
        });
        let took = match probe {
            Some(probe) => probe.compare(&found.was, &probe.look(conn).await?),
            None => Took::Unknown,
        };
        match took {
            Took::Effect => done = found.begun,
            Took::None => {}
            Took::Unknown => {
                let sql = unit.map(|unit| unit.sql.concat()).unwrap_or_default();
                let evidence = format!(
                    "statement {} of {} began and nothing tells whether it took effect; look at: \
                     {sql}",
                    found.begun, work.data.file
                );
                return Ok(Settled::Unknown { evidence });
            }
        }
    }
    row::seal(conn, work.call, done).await?;
    Ok(ended(work.data, done, from))
}

/// What is made in part is no more not done: a retry goes on behind it.
fn ended(data: &Data, done: usize, from: usize) -> Settled {
    // The ledger's mark alone is no part of the migration; the next sending goes on behind it.
    if done <= from.max(super::marks(data)) {
        return Settled::NotDone;
    }
    Settled::Failed {
        reason: format!(
            "it stopped after {done} statements of {}, which stay; a retry goes on behind them",
            data.file
        ),
        output: serde_json::json!({ "statements": done }),
    }
}
