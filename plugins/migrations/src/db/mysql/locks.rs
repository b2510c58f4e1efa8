//! Who stands in the way of a change of a schema.
//!
//! A transaction keeps every table that it read until it ends, and an `ALTER TABLE` waits for it while
//! everybody else waits behind the `ALTER TABLE`. Which tables a session keeps is told by MariaDB's plugin
//! `metadata_lock_info` and by the performance schema, where they are on; else only which transactions
//! are open in the database.

use std::time::Duration;

use crate::db::Conn;
use crate::sql::Name;
use crate::tool::Dialect;

/// Sessions that are named; the first ones tell enough.
const NAMED_MAX: usize = 3;

/// A session for people, of the process `p` and its transaction `t`: what stays the same while the
/// transaction runs, so that a person's consent does too.
const SESSION: &str = "concat('connection ', p.id, ' of ', p.user, ' from ', p.host, \
                       coalesce(concat(', its transaction since ', time(t.trx_started)), ''))";

/// What it does now.
const QUERY: &str = "coalesce(concat(', query: ', left(p.info, 80)), '')";

/// MariaDB's plugin, which knows every table that a session keeps.
const PLUGIN: &str = "(SELECT thread_id AS id, table_schema AS at, table_name AS name FROM \
                      information_schema.metadata_lock_info) AS held";
/// The performance schema, which knows none where it does not look for them.
const SCHEMA: &str = "(SELECT h.processlist_id AS id, m.object_schema AS at, m.object_name AS name \
                      FROM performance_schema.metadata_locks m JOIN performance_schema.threads h ON \
                      h.thread_id = m.owner_thread_id WHERE m.lock_status = 'GRANTED') AS held";

/// Sessions that hold anything on these tables, or may.
pub(crate) async fn holders(conn: &mut Conn, tables: &[Name]) -> String {
    let (_, who) = sessions(conn, tables, &format!("concat({SESSION}, {QUERY})"), None).await;
    if who.is_empty() { "somebody who just let go".to_owned() } else { who.join("; ") }
}

/// Transactions older than `older` that hold something on these tables, or may: a sentence for each.
pub(crate) async fn long_transactions(
    conn: &mut Conn,
    tables: &[Name],
    older: Duration,
) -> Vec<String> {
    let (is_known, who) = sessions(conn, tables, SESSION, Some(older)).await;
    let names: Vec<_> = tables.iter().map(|table| format!("`{}`", table.said())).collect();
    let place = if is_known {
        format!("it would wait for a long transaction on {}", names.join(", "))
    } else {
        "it may wait for a long transaction in this database (the server does not say on which tables)"
            .to_owned()
    };
    who.into_iter().map(|who| format!("{place}: {who}")).collect()
}

/// Sessions that hold one of the tables, the oldest transactions first, and whether the server knows so.
async fn sessions(
    conn: &mut Conn,
    tables: &[Name],
    said: &str,
    older: Option<Duration>,
) -> (bool, Vec<String>) {
    if tables.is_empty() {
        return (true, Vec::new());
    }
    let old = older.map_or(String::new(), |older| {
        format!("AND t.trx_started < now() - INTERVAL {} SECOND", older.as_secs())
    });
    let join = "information_schema.processlist p LEFT JOIN information_schema.innodb_trx t ON \
                t.trx_mysql_thread_id = p.id";
    let rest = format!("p.id <> connection_id() {old} GROUP BY p.id ORDER BY min(t.trx_started)");
    let of = of_tables(tables);
    for known in [PLUGIN, SCHEMA] {
        let query = format!(
            "SELECT min({said}) FROM {known} JOIN ({join}) ON p.id = held.id WHERE {of} AND {rest}"
        );
        match names(conn, &query).await {
            Some(found) if known == PLUGIN || !found.is_empty() => return (true, found),
            Some(found) if watches(conn).await => return (true, found),
            Some(_) | None => {}
        }
    }
    let query = format!(
        "SELECT min({said}) FROM {join} WHERE t.trx_id IS NOT NULL AND p.db = database() AND {rest}"
    );
    (false, names(conn, &query).await.unwrap_or_default())
}

/// Whether the performance schema looks for locks of tables, so that none there means that there is none.
async fn watches(conn: &mut Conn) -> bool {
    let enabled = "SELECT 1 FROM performance_schema.setup_instruments i, \
                   performance_schema.setup_consumers c WHERE i.name = 'wait/lock/metadata/sql/mdl' AND \
                   i.enabled = 'YES' AND c.name = 'global_instrumentation' AND c.enabled = 'YES'";
    names(conn, enabled).await.is_some_and(|found| !found.is_empty())
}

fn of_tables(tables: &[Name]) -> String {
    let text = |text: &str| Dialect::Mysql.text(text);
    let pair = |table: &Name| {
        let schema = table.schema.as_deref().map_or_else(|| "database()".to_owned(), text);
        format!("({schema}, {})", text(&table.name))
    };
    let pairs: Vec<_> = tables.iter().map(pair).collect();
    format!("(held.at, held.name) IN ({})", pairs.join(", "))
}

/// Nothing where the server has no such table, or we may not read it.
async fn names(conn: &mut Conn, query: &str) -> Option<Vec<String>> {
    let rows = conn.rows(query).await.ok()?;
    Some(rows.into_iter().take(NAMED_MAX).filter_map(|row| row.into_iter().next()?).collect())
}
