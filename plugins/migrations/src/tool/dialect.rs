//! How a database writes names and values.

use serde::{Deserialize, Serialize};

/// Whose SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MariaDB and MySQL.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// A name in its quotes.
    pub(crate) fn name(self, name: &str) -> String {
        match self {
            Self::Mysql => format!("`{}`", name.replace('`', "``")),
            Self::Postgres | Self::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A table in its quotes; `schema.table` names both.
    pub(crate) fn table(self, table: &str) -> String {
        let parts: Vec<_> = table.split('.').map(|part| self.name(part)).collect();
        parts.join(".")
    }

    /// A text as a literal.
    pub(crate) fn text(self, text: &str) -> String {
        let doubled = text.replace('\'', "''");
        match self {
            // A backslash escapes, unless a mode that nobody can count on is set.
            Self::Mysql => format!("'{}'", doubled.replace('\\', "\\\\")),
            // Means the same whatever `standard_conforming_strings` says.
            Self::Postgres if text.contains('\\') => {
                format!("E'{}'", doubled.replace('\\', "\\\\"))
            }
            Self::Postgres | Self::Sqlite => format!("'{doubled}'"),
        }
    }

    /// Bytes, given as hex, as a literal.
    pub(crate) fn bytes(self, hex: &str) -> String {
        match self {
            Self::Postgres => format!("decode('{hex}', 'hex')"),
            Self::Mysql | Self::Sqlite => format!("X'{hex}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dialect;

    #[test]
    fn names_and_values_stand_in_their_quotes() {
        let all = [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite];
        let tables = all.map(|dialect| dialect.table("a.b\"`"));
        assert_eq!(tables, ["\"a\".\"b\"\"`\"", "`a`.`b\"```", "\"a\".\"b\"\"`\""]);
        let texts = all.map(|dialect| dialect.text("it's \\"));
        assert_eq!(texts, ["E'it''s \\\\'", "'it''s \\\\'", "'it''s \\'"]);
        let bytes = all.map(|dialect| dialect.bytes("00ff"));
        assert_eq!(bytes, ["decode('00ff', 'hex')", "X'00ff'", "X'00ff'"]);
    }
}
