//! What a migration does on SQLite, by trying it on the schema without its rows.

use super::loss::Going;
use super::{Cost, Sections, Survey};
use crate::db::Conn;
use crate::db::sqlite::keep::followers;
use crate::db::sqlite::rehearsal::{Broken, Rehearsal, Seen, WayBack};
use crate::sql::{self, Deed, Name};

/// Whether migrations are tried out.
pub(super) enum Tried {
    NotYet,
    /// The schema as the migrations before leave it.
    On(Box<Rehearsal>),
    /// Why they cannot be.
    Cannot(String),
}

fn plain(table: &str) -> Name {
    Name { schema: None, name: table.to_owned() }
}

impl Survey<'_> {
    /// Adds what a migration costs by what it did to the schema; gives back the deeds whose cost is
    /// still to be told.
    pub(super) async fn rehearsed(
        &mut self,
        cost: &mut Cost,
        words: Vec<Deed>,
        of: Sections<'_>,
    ) -> Vec<Deed> {
        let drops: Vec<_> = words.iter().filter_map(dropped).cloned().collect();
        let seen = match self.rehearse(of).await {
            Ok(seen) => seen,
            Err(broken) => {
                let why = match broken {
                    Broken::Fails(why) => {
                        let tried = "tried on the schema without its rows, the migration fails at";
                        cost.hazard("would-fail", format!("{tried} {why}"));
                        "the migration fails".to_owned()
                    }
                    Broken::Cannot(why) => format!("the migration cannot be tried out: {why}"),
                };
                return self.by_words(cost, words, &why, of).await;
            }
        };
        self.follows(cost, &drops, &seen).await;
        for loss in &seen.losses {
            let (table, column) = (plain(&loss.table), loss.column.as_deref());
            let stays_away = loss.stays_away.as_deref();
            self.drops(cost, &Going { table: &table, column, stays_away }, of).await;
        }
        rewritten(cost, &seen);
        if of.back.iter().any(|text| !sql::is_empty(text)) {
            way_back(cost, seen.way_back.as_ref());
        }
        seen.deeds.into_iter().chain(seen.narrower).collect()
    }

    /// Tries a migration after those before it.
    async fn rehearse(&mut self, of: Sections<'_>) -> Result<Seen, Broken> {
        let Conn::Sqlite(conn) = &mut *self.conn else {
            return Err(Broken::Cannot("it is no SQLite".to_owned()));
        };
        if matches!(self.tried, Tried::NotYet) {
            self.tried = match Rehearsal::of(conn).await {
                Ok(made) => Tried::On(Box::new(made)),
                Err(why) => Tried::Cannot(why),
            };
        }
        let tried = match &mut self.tried {
            Tried::On(rehearsal) => rehearsal.run(of.statements, of.back).await,
            Tried::Cannot(why) => return Err(Broken::Cannot(why.clone())),
            Tried::NotYet => return Err(Broken::Cannot(String::new())),
        };
        if tried.is_err() {
            self.tried = Tried::Cannot("one before it could not be tried to its end".to_owned());
        }
        tried
    }

    /// By its words alone a migration may seem to drop what it only writes anew: so nothing is kept.
    async fn by_words(
        &mut self,
        cost: &mut Cost,
        words: Vec<Deed>,
        why: &str,
        of: Sections<'_>,
    ) -> Vec<Deed> {
        let mut rest = Vec::new();
        for deed in words {
            let (table, column) = match &deed {
                Deed::DropTable { table, .. } => (table, None),
                Deed::DropColumn { table, column, .. } => (table, Some(column.as_str())),
                _ => {
                    rest.push(deed);
                    continue;
                }
            };
            self.drops(cost, &Going { table, column, stays_away: Some(why) }, of).await;
        }
        rest
    }

    /// Rows of other tables that go or change with those of a dropped one.
    async fn follows(&mut self, cost: &mut Cost, drops: &[Name], seen: &Seen) {
        let Conn::Sqlite(conn) = &mut *self.conn else { return };
        for table in drops.iter().filter(|_| self.foreign_keys) {
            let goes = |name: &String| {
                seen.losses.iter().any(|loss| loss.column.is_none() && loss.table == *name)
            };
            let others = followers(conn, &table.name).await.unwrap_or_default();
            for other in others.iter().filter(|other| !goes(other)) {
                let text = format!(
                    "foreign keys are on: where `{}` is dropped, the rows of `{other}` that point at it \
                     are deleted or emptied too, which no undo brings back; `foreign_keys: false` \
                     leaves them",
                    table.said()
                );
                cost.hazard("changes-rows", text);
                cost.loses_data = true;
            }
        }
    }
}

fn dropped(deed: &Deed) -> Option<&Name> {
    match deed {
        Deed::DropTable { table, .. } => Some(table),
        _ => None,
    }
}

/// What it means that the way back does not end where this one began.
fn way_back(cost: &mut Cost, wrong: Option<&WayBack>) {
    match wrong {
        None => {}
        Some(WayBack::Not(why)) => {
            let tried = "tried on the schema that is left, the way back";
            cost.hazard("no-way-back", format!("{tried} {why}"));
            cost.no_way_back = true;
        }
        Some(WayBack::Unsure(table)) => {
            let text = format!(
                "the way back writes table `{table}` anew, and not as a plain copy of all rows: rows \
                 may be left out or changed then"
            );
            cost.hazard("changes-rows", text);
            cost.loses_data = true;
        }
    }
}

/// What it means that a table is written anew.
fn rewritten(cost: &mut Cost, seen: &Seen) {
    for table in &seen.rewritten {
        let text = format!("table `{table}` is written anew: all of its rows are copied");
        cost.hazard("rewrites-table", text);
    }
    for table in &seen.unsure {
        let text = format!(
            "table `{table}` is written anew, and not as a plain copy of all rows (`INSERT INTO ... \
             SELECT columns FROM ...`): an undo does not bring back what that leaves out or changes"
        );
        cost.hazard("changes-rows", text);
        cost.loses_data = true;
    }
    for [table, column, from, to] in &seen.retyped {
        cost.changes_values(&format!("{table}.{column}"), from, to);
    }
}
