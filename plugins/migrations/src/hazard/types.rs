//! Whether a value is the same under another type: what does not fit is refused by the database, and
//! what fits may still be rounded, cut or written in another way.

/// A type as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Text,
    /// With so many digits behind the point; any number where none is said.
    Decimal(Option<u32>),
    Single,
    Double,
    Other(String),
}

/// Whether each value that is taken at all stays what it is.
pub(super) fn keeps_values(from: &str, to: &str) -> bool {
    match (kind(from), kind(to)) {
        (Kind::Decimal(from), Kind::Decimal(to)) => match (from, to) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(from), Some(to)) => to >= from,
        },
        (Kind::Integer, Kind::Decimal(_)) | (Kind::Single, Kind::Double) => true,
        (from, to) => from == to,
    }
}

fn kind(text: &str) -> Kind {
    const INTEGERS: [&str; 8] =
        ["smallint", "integer", "bigint", "int", "int2", "int4", "int8", "tinyint"];
    const TEXTS: [&str; 6] =
        ["text", "varchar", "character varying", "mediumtext", "longtext", "tinytext"];
    let text = text.trim().to_ascii_lowercase();
    let base = text.split('(').next().unwrap_or_default().trim();
    let base = base.trim_end_matches(" unsigned").trim_end_matches(" signed");
    match base {
        _ if INTEGERS.contains(&base) || base == "mediumint" => Kind::Integer,
        _ if TEXTS.contains(&base) => Kind::Text,
        "numeric" | "decimal" | "dec" => Kind::Decimal(scale(&text)),
        "real" | "float4" => Kind::Single,
        "double precision" | "double" | "float8" => Kind::Double,
        _ => Kind::Other(text),
    }
}

/// The `3` of `numeric(20, 3)`, none of `numeric(20)`.
fn scale(text: &str) -> Option<u32> {
    let inside = text.split_once('(')?.1.split_once(')')?.0;
    inside.split_once(',').map_or(Some(0), |(_, scale)| scale.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::keeps_values;

    #[test]
    fn what_is_rounded_or_cut_is_told() {
        for (from, to, keeps) in [
            ("integer", "bigint", true),
            ("bigint", "integer", true),
            ("int(11) unsigned", "bigint", true),
            ("text", "varchar(3)", true),
            ("character varying(9)", "text", true),
            ("numeric(9,2)", "numeric(9,3)", true),
            ("numeric(9,2)", "numeric(9)", false),
            ("numeric", "numeric(9,2)", false),
            ("double precision", "real", false),
            ("text", "integer", false),
            ("timestamp with time zone", "date", false),
            ("date", "date", true),
        ] {
            assert_eq!(keeps_values(from, to), keeps, "{from} -> {to}");
        }
    }
}
