//! A page of text, tables and drawings, as Markdown and as HTML that prints.

use std::fmt::Write;

/// A part of a page. Texts are plain; only [`Block::Drawing`] is HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A heading; 1 is the page's own.
    Heading(usize, String),
    /// A paragraph.
    Text(String),
    /// A line that must be seen.
    Banner(String),
    /// Items.
    List(Vec<String>),
    /// Things to tick off.
    Boxes(Vec<String>),
    /// Rows under a head.
    Table(Vec<&'static str>, Vec<Vec<String>>),
    /// Lines as they are: commands.
    Code(Vec<String>),
    /// An SVG, and what Markdown shows in its place.
    Drawing {
        /// The SVG.
        svg: String,
        /// A mermaid diagram.
        mermaid: String,
    },
    /// Paper begins anew here.
    PageBreak,
}

impl Block {
    /// A paragraph.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A heading.
    pub fn heading(level: usize, text: impl Into<String>) -> Self {
        Self::Heading(level, text.into())
    }
}

/// The page as Markdown.
pub fn markdown(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in blocks {
        // Writing to a String cannot fail.
        let _ = markdown_block(&mut out, block);
        out.push('\n');
    }
    out.trim_end().to_owned() + "\n"
}

fn markdown_block(out: &mut String, block: &Block) -> std::fmt::Result {
    match block {
        Block::Heading(level, text) => writeln!(out, "{} {}", "#".repeat(*level), line(text)),
        Block::Text(text) => writeln!(out, "{}", escaped(text)),
        Block::Banner(text) => writeln!(out, "> **{}**", escaped(&line(text))),
        Block::List(items) => {
            items.iter().try_for_each(|item| writeln!(out, "- {}", escaped(&line(item))))
        }
        Block::Boxes(items) => {
            items.iter().try_for_each(|item| writeln!(out, "- [ ] {}", escaped(&line(item))))
        }
        Block::Table(head, rows) => {
            writeln!(out, "| {} |", head.join(" | "))?;
            writeln!(out, "| {} |", head.iter().map(|_| "---").collect::<Vec<_>>().join(" | "))?;
            rows.iter().try_for_each(|row| {
                let cells: Vec<String> =
                    row.iter().map(|cell| escaped(&line(cell)).replace('|', "\\|")).collect();
                writeln!(out, "| {} |", cells.join(" | "))
            })
        }
        Block::Code(lines) => writeln!(out, "```sh\n{}\n```", lines.join("\n")),
        Block::Drawing { mermaid, .. } => writeln!(out, "```mermaid\n{}\n```", mermaid.trim_end()),
        Block::PageBreak => writeln!(out, "---"),
    }
}

fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// What Markdown would take for HTML or emphasis stays what it is.
fn escaped(text: &str) -> String {
    text.replace('<', "&lt;").replace('*', "\\*").replace("__", "\\_\\_")
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.7rem;margin-bottom:.3rem}h2{border-bottom:1px solid #8886;margin-top:2rem}\
table{border-collapse:collapse;width:100%;margin:.6rem 0;font-size:.92em}\
th,td{border:1px solid #8886;padding:.3rem .5rem;text-align:left;vertical-align:top}\
th{background:#8882}pre{background:#8882;padding:.6rem;overflow-x:auto;white-space:pre-wrap}\
.banner{border:2px solid #b45309;color:#b45309;font-weight:700;padding:.4rem .7rem;margin:.8rem 0}\
.boxes{list-style:none;padding-left:.2rem}.boxes li::before{content:'\\2610\\00a0'}\
svg{max-width:100%;height:auto}\
@media print{body{margin:0;max-width:none;font-size:11pt}h2,h3{break-after:avoid}\
tr,li,pre{break-inside:avoid}.break{break-after:page}}";

/// The page as one HTML document that needs nothing else.
pub fn html(title: &str, blocks: &[Block]) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n<main>\n",
        safe(title)
    );
    for block in blocks {
        // Writing to a String cannot fail.
        let _ = html_block(&mut out, block);
    }
    out + "</main>\n</html>\n"
}

fn html_block(out: &mut String, block: &Block) -> std::fmt::Result {
    match block {
        Block::Heading(level, text) => writeln!(out, "<h{level}>{}</h{level}>", safe(text)),
        Block::Text(text) => text
            .split("\n\n")
            .try_for_each(|part| writeln!(out, "<p>{}</p>", safe(part).replace('\n', "<br>"))),
        Block::Banner(text) => writeln!(out, "<p class=\"banner\">{}</p>", safe(text)),
        Block::List(items) => list(out, "", items),
        Block::Boxes(items) => list(out, " class=\"boxes\"", items),
        Block::Table(head, rows) => {
            let cells = |tag: &str, cells: &mut dyn Iterator<Item = String>| {
                cells.fold(String::new(), |row, cell| row + &format!("<{tag}>{cell}</{tag}>"))
            };
            let head = cells("th", &mut head.iter().map(|cell| safe(cell)));
            writeln!(out, "<table><thead><tr>{head}</tr></thead><tbody>")?;
            for row in rows {
                writeln!(out, "<tr>{}</tr>", cells("td", &mut row.iter().map(|cell| safe(cell))))?;
            }
            writeln!(out, "</tbody></table>")
        }
        Block::Code(lines) => writeln!(out, "<pre>{}</pre>", safe(&lines.join("\n"))),
        Block::Drawing { svg, .. } => writeln!(out, "<figure>{svg}</figure>"),
        Block::PageBreak => writeln!(out, "<div class=\"break\"></div>"),
    }
}

fn list(out: &mut String, class: &str, items: &[String]) -> std::fmt::Result {
    writeln!(out, "<ul{class}>")?;
    items.iter().try_for_each(|item| writeln!(out, "<li>{}</li>", safe(item)))?;
    writeln!(out, "</ul>")
}

/// Text as HTML.
fn safe(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_text_and_nothing_else() {
        let evil = "<script>alert(1)</script> | x";
        let blocks = [Block::text(evil), Block::Table(vec!["a"], vec![vec![evil.into()]])];
        assert!(!html("t", &blocks).contains("<script>"));
        let text = markdown(&blocks);
        assert!(!text.contains("<script>"), "{text}");
        assert!(text.contains("\\| x |"), "{text}");
    }
}
