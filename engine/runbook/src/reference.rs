//! The reference page of the format, made from the tables that the reader itself uses.

use std::fmt::Write;

use crate::tables::{STRUCTS, StructDoc};

const HEAD: &str = include_str!("reference_head.md");

/// The Markdown of `docs/reference/runbook.md`.
pub fn reference_page() -> String {
    let mut page = HEAD.to_owned();
    for doc in STRUCTS {
        table(&mut page, doc);
    }
    page
}

fn table(page: &mut String, doc: &StructDoc) {
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## `{}`\n\n{}\n\n", doc.name, doc.meaning);
    page.push_str("| field | takes | default | meaning |\n| --- | --- | --- | --- |\n");
    for field in doc.fields {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            field.name, field.takes, field.default, field.meaning
        );
    }
}
