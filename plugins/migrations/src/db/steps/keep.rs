//! What a statement drops is copied before it, and goes back after the way up: on MariaDB, where no
//! copy can be part of a drop.

use backout_plugin_api::{Context, MadeEffect};

use super::{Broke, is_answer, row};
use crate::db::keep::Failed;
use crate::db::work::{Point, Work};
use crate::db::{Conn, Data, Database, Keep, Place, mysql, place_of};
use crate::sql::{self, Deed, Statement};
use crate::tool::Dialect;

/// What a statement drops that is kept.
pub(super) fn kept_of(dialect: Dialect, data: &Data, statement: &Statement) -> Vec<(usize, Keep)> {
    let deeds = sql::deeds(dialect, statement);
    let drops = |keep: &Keep| {
        deeds.iter().any(|deed| match deed {
            Deed::DropTable { table, .. } => keep.column.is_none() && table.name == keep.table,
            Deed::DropColumn { table, column, .. } => {
                keep.column.as_ref() == Some(column) && table.name == keep.table
            }
            _ => false,
        })
    };
    let all = data.keep.iter().enumerate();
    all.filter(|(_, keep)| drops(keep)).map(|(at, keep)| (at, keep.clone())).collect()
}

/// Runs a statement that drops something, after a copy of that, with every writer kept out.
pub(super) async fn keeping(
    conn: &mut Conn,
    Work { call, data, fault, .. }: Work<'_>,
    keep: &[(usize, Keep)],
    sql: &str,
) -> Result<(), Broke> {
    let mut ran = mysql::keep::hold(conn, call, &data.version, keep).await;
    let denied = ran.as_ref().err().and_then(mysql::keep::denied);
    if let Some(why) = denied {
        mysql::keep::let_go(conn).await?;
        // Without the right to make one there is none.
        drop(mysql::keep::discard(conn, call, keep).await);
        return Err(Broke::Why(why));
    }
    if ran.is_ok() {
        fault.pass(Point::Kept)?;
        ran = conn.run(sql).await;
    }
    if ran.as_ref().err().is_none_or(is_answer) {
        mysql::keep::let_go(conn).await?;
    }
    if ran.as_ref().is_err_and(is_answer) {
        mysql::keep::discard(conn, call, keep).await?;
    }
    Ok(ran?)
}

/// Puts back what was kept, in one transaction with the count.
pub(super) async fn put_back(conn: &mut Conn, work: Work<'_>, at: usize) -> Result<(), Broke> {
    let Work { call, data, .. } = work;
    for key in &data.put_back {
        mysql::keep::go_on_from(conn, key, &data.version).await?;
    }
    conn.run("BEGIN").await?;
    let put = async {
        for key in &data.put_back {
            let up = (data.version.as_str(), data.statements.as_slice());
            mysql::keep::put_back(conn, key, up).await?;
        }
        conn.run(&row::count(conn.dialect(), call, at + 1)).await?;
        Ok::<_, Failed>(conn.run("COMMIT").await?)
    };
    let put = put.await;
    let is_over = match &put {
        Err(Failed::Sql(error)) => is_answer(error),
        Err(Failed::Why(_)) => true,
        Ok(()) => false,
    };
    if is_over {
        conn.run("ROLLBACK").await?;
    }
    if is_over || put.is_ok() {
        mysql::keep::own_mode(conn).await?;
    }
    Ok(put?)
}

/// Removes the copies of a key, once nobody asks for an undo any more.
pub(crate) async fn tidy(
    ctx: &Context,
    made: &MadeEffect,
    data: &Data,
) -> Result<Vec<String>, String> {
    let place = place_of(ctx, &made.input).await;
    let Place::Mysql(options) = place.map_err(|failure| failure.reason().to_owned())? else {
        return Err("`database` names no MariaDB any more".to_owned());
    };
    let (conn, server) = mysql::connect(&options, ctx.timeout / 2).await?;
    if Database::Mysql(server.clone()).target() != data.database.target() {
        return Err("another database has its name now".to_owned());
    }
    let mut conn = Conn::Mysql(conn);
    let said = |error: sqlx::Error| error.to_string();
    let count = mysql::keep::remove(&mut conn, made.key.as_str()).await.map_err(said)?;
    let line = format!("{count} kept copies in {}", server.address);
    Ok(if count == 0 { Vec::new() } else { vec![line] })
}
