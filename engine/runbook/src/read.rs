//! RON text to a tree with places. It goes on after a mistake, so that all are told at once.

use backout_core::limits::NESTING_MAX;

use crate::codes;
use crate::problem::Problem;
use crate::scan::{Scanner, is_name_start};
use crate::tree::{Field, Kind, Name, Node, Span};

/// Reads a text. The tree holds a bad node where a problem was found.
pub fn read(text: &str) -> (Node<'_>, Vec<Problem>) {
    let mut reader = Reader { scan: Scanner::new(text), open: Vec::new() };
    reader.attributes();
    reader.scan.space();
    let node = reader.value();
    reader.end();
    (node, reader.scan.problems)
}

struct Reader<'a> {
    scan: Scanner<'a>,
    /// The brackets that are open: the byte that closes each, and its place.
    open: Vec<(u8, usize)>,
}

/// What ended an element of a list, or did not.
enum After {
    /// Another one may follow.
    More,
    /// The list is closed.
    Closed,
}

impl<'a> Reader<'a> {
    fn attributes(&mut self) {
        self.scan.space();
        while self.scan.starts_with("#") {
            let start = self.scan.at;
            let known = self.attribute();
            if known.is_none() {
                let rest = self.scan.rest();
                let end = rest.find(['\n', ']']).map_or(rest.len(), |end| end + 1);
                self.scan.at += end;
                let problem = Problem::new(codes::NOT_USED, "an attribute that is not known")
                    .at(start..self.scan.at, "here")
                    .advise("a runbook needs none; `#![enable(implicit_some)]` is always on");
                self.scan.report(problem);
            }
            self.scan.space();
        }
    }

    /// `#![enable(…)]`, `#![type = "…"]` or `#![schema = "…"]`.
    fn attribute(&mut self) -> Option<()> {
        for token in ["#", "!", "["] {
            self.token(token)?;
        }
        self.scan.space();
        match self.scan.name()?.text {
            "enable" => {
                self.token("(")?;
                loop {
                    self.scan.space();
                    let name = self.scan.name()?;
                    let harmless = ["implicit_some", "unwrap_newtypes", "explicit_struct_names"];
                    if !harmless.contains(&name.text) {
                        return None;
                    }
                    if self.token(",").is_none() {
                        break;
                    }
                    self.scan.space();
                    if self.scan.starts_with(")") {
                        break;
                    }
                }
                self.token(")")?;
            }
            "type" | "schema" => {
                self.token("=")?;
                self.scan.space();
                self.scan.quoted()?;
            }
            _ => return None,
        }
        self.token("]")
    }

    fn token(&mut self, token: &str) -> Option<()> {
        self.scan.space();
        self.scan.eat(token).then_some(())
    }

    fn end(&mut self) {
        self.scan.space();
        let unbalanced = self.scan.problems.iter().any(|problem| problem.code == codes::UNCLOSED);
        if !self.scan.stopped && !unbalanced && self.scan.peek().is_some() {
            let at = self.scan.at;
            let problem = Problem::new(codes::SYNTAX, "more text after the end of the runbook")
                .at(at..at + self.scan.peek().map_or(0, char::len_utf8), "not part of it")
                .advise("is a bracket closed too early?");
            self.scan.report(problem);
        }
    }

    fn value(&mut self) -> Node<'a> {
        let start = self.scan.at;
        let kind = self.kind();
        Node { kind, span: Span::new(start, self.scan.at.max(start)) }
    }

    fn kind(&mut self) -> Kind<'a> {
        match self.scan.peek_byte() {
            Some(b'(') => return self.parens(None),
            Some(b'[') => return self.list(),
            Some(b'{') => return self.map(),
            _ => {}
        }
        if let Some(kind) = self.scan.quoted() {
            return kind;
        }
        if let Some(kind) = self.scan.number() {
            return kind;
        }
        match self.scan.name() {
            Some(name) => self.named(name),
            None => self.unexpected("a value"),
        }
    }

    fn named(&mut self, name: Name<'a>) -> Kind<'a> {
        match name.text {
            "true" => return Kind::Bool(true),
            "false" => return Kind::Bool(false),
            "None" => return Kind::None,
            "inf" | "inff32" | "inff64" | "NaN" | "NaNf32" | "NaNf64" => {
                let problem = Problem::new(codes::NOT_USED, "not a number that can be stored")
                    .at(name.span, "here");
                self.scan.report(problem);
                return Kind::Bad;
            }
            _ => {}
        }
        let after = self.scan.at;
        self.scan.space();
        if self.scan.starts_with("(") {
            return match name.text {
                "Some" => self.some(name),
                _ => self.parens(Some(name)),
            };
        }
        self.scan.at = after;
        if name.text == "Some" {
            let problem =
                Problem::new(codes::SYNTAX, "`Some` without a value").at(name.span, "here");
            self.scan.report(problem.advise("write the value itself; `Some` may be left out"));
            return Kind::Bad;
        }
        Kind::Name(name.text)
    }

    fn some(&mut self, name: Name<'a>) -> Kind<'a> {
        match self.parens(Some(name)) {
            Kind::Tuple(_, mut items) if items.len() == 1 => {
                items.pop().map_or(Kind::Bad, |item| Kind::Some(Box::new(item)))
            }
            Kind::Bad => Kind::Bad,
            _ => {
                let at = self.scan.at.saturating_sub(1);
                let problem = Problem::new(codes::SYNTAX, "`Some(…)` holds one value")
                    .at(at..at + 1, "ends here");
                self.scan.report(problem);
                Kind::Bad
            }
        }
    }

    /// Opens a bracket. Nothing where the nesting is too deep.
    fn enter(&mut self, close: u8) -> Option<()> {
        if self.open.len() >= NESTING_MAX {
            let at = self.scan.at;
            let message = format!("nested deeper than NESTING_MAX ({NESTING_MAX})");
            let problem = Problem::new(codes::NESTING, message).at(at..at + 1, "too deep here");
            self.scan.report(problem);
            self.scan.stop();
            return None;
        }
        self.open.push((close, self.scan.at));
        self.scan.at += 1;
        self.scan.space();
        Some(())
    }

    fn list(&mut self) -> Kind<'a> {
        if self.enter(b']').is_none() {
            return Kind::Bad;
        }
        let mut items = Vec::new();
        while !self.closes() {
            items.push(self.value());
            if matches!(self.after(), After::Closed) {
                return Kind::List(items);
            }
        }
        Kind::List(items)
    }

    fn map(&mut self) -> Kind<'a> {
        if self.enter(b'}').is_none() {
            return Kind::Bad;
        }
        let mut entries = Vec::new();
        while !self.closes() {
            let key = self.value();
            self.colon(&key.span);
            let value = self.value();
            entries.push((key, value));
            if matches!(self.after(), After::Closed) {
                break;
            }
        }
        Kind::Map(entries)
    }

    /// `(…)`: a unit, a tuple or a struct.
    fn parens(&mut self, name: Option<Name<'a>>) -> Kind<'a> {
        let start = self.scan.at;
        if self.enter(b')').is_none() {
            return Kind::Bad;
        }
        if self.is_field() {
            return Kind::Struct(name, self.fields());
        }
        let mut items = Vec::new();
        while !self.closes() {
            items.push(self.value());
            if matches!(self.after(), After::Closed) {
                break;
            }
        }
        if name.is_none()
            && items.is_empty()
            && self.scan.text.get(start..self.scan.at) == Some("()")
        {
            return Kind::Unit;
        }
        Kind::Tuple(name, items)
    }

    /// Whether `name:` or `name =` comes next.
    fn is_field(&mut self) -> bool {
        let before = self.scan.at;
        let found = self.scan.name().is_some() && {
            self.scan.space();
            matches!(self.scan.peek_byte(), Some(b':' | b'='))
        };
        self.scan.at = before;
        found
    }

    fn fields(&mut self) -> Vec<Field<'a>> {
        let mut fields = Vec::new();
        while !self.closes() {
            if let Some(name) = self.scan.name() {
                self.colon(&name.span);
                let value = self.value();
                fields.push(Field { name, value });
            } else {
                self.unexpected("a field, `name: value`");
            }
            if matches!(self.after(), After::Closed) {
                break;
            }
        }
        fields
    }

    /// The `:` between a name and its value.
    fn colon(&mut self, name: &Span) {
        self.scan.space();
        let at = self.scan.at;
        if !self.scan.eat(":") {
            let mut problem = Problem::new(codes::SYNTAX, "`:` is missing between name and value")
                .at(*name, "after this");
            if self.scan.eat("=") {
                problem = Problem::new(codes::SYNTAX, "`=` instead of `:`").at(at..at + 1, "here");
            }
            self.scan.report(problem.advise("write `name: value`"));
        }
        self.scan.space();
    }

    /// Whether the innermost bracket is closed here; steps over what closes it.
    fn closes(&mut self) -> bool {
        self.scan.space();
        let Some((close, opened)) = self.open.last().copied() else { return true };
        if self.scan.stopped {
            self.open.pop();
            return true;
        }
        let at = self.scan.at;
        match self.scan.peek_byte() {
            Some(byte) if byte == close => self.scan.at += 1,
            Some(byte @ (b')' | b']' | b'}')) => {
                self.report_mismatch(close, opened, Some(byte));
                let outer = self.open.iter().rev().skip(1).any(|(outer, _)| *outer == byte);
                if !outer {
                    self.scan.at = at + 1;
                }
            }
            None => self.report_mismatch(close, opened, None),
            Some(_) => return false,
        }
        self.open.pop();
        true
    }

    fn report_mismatch(&mut self, close: u8, opened: usize, found: Option<u8>) {
        let close = char::from(close);
        let open = self.scan.text.get(opened..=opened).unwrap_or("");
        let problem = match found {
            Some(byte) => {
                let at = self.scan.at;
                let message = format!("`{open}` is closed by `{}`", char::from(byte));
                Problem::new(codes::UNCLOSED, message)
                    .at(at..at + 1, format!("`{close}` is expected here"))
                    .at(opened..opened + 1, "opened here")
            }
            None => Problem::new(codes::UNCLOSED, format!("`{open}` is never closed"))
                .at(opened..opened + 1, "opened here"),
        };
        // What follows the first bracket that is wrong only repeats it.
        if !self.scan.problems.iter().any(|problem| problem.code == codes::UNCLOSED) {
            self.scan.report(problem.help(format!("close it with `{close}`")));
        }
    }

    /// The comma after an element, or the end of the list.
    fn after(&mut self) -> After {
        let end = self.scan.at;
        self.scan.space();
        if self.scan.eat(",") {
            return After::More;
        }
        if matches!(self.scan.peek_byte(), None | Some(b')' | b']' | b'}')) {
            return if self.closes() { After::Closed } else { After::More };
        }
        if end == self.scan.at && self.lacks_quote() {
            self.report_quote();
            return After::More;
        }
        if self.starts_element() {
            let problem = Problem::new(codes::COMMA, "a comma is missing")
                .at(end..end, "`,` is missing here")
                .advise("separate fields and items by commas");
            self.scan.report(problem);
            return After::More;
        }
        self.unexpected("`,` or the end");
        self.scan.space();
        self.scan.eat(",");
        After::More
    }

    /// Whether a text has just ended and a word begins without a space: `"first, id: "second`.
    fn lacks_quote(&self) -> bool {
        let quote = self.scan.text.get(..self.scan.at).is_some_and(|text| text.ends_with('"'));
        quote && self.scan.peek().is_some_and(|c| is_name_start(c) || c.is_ascii_digit())
    }

    /// Reports a quote that is missing, and goes on in the next line.
    fn report_quote(&mut self) {
        let end = self.scan.at;
        let problem = Problem::new(codes::QUOTE, "a quote is missing before this")
            .at(end - 1..end, "this quote ends a text that should have ended before")
            .advise("close the text where it should end");
        self.scan.report(problem);
        let rest = self.scan.rest();
        self.scan.at += rest.find('\n').unwrap_or(rest.len());
        // Where the line closed brackets, it closes this one.
        let line = self.scan.text.get(end..self.scan.at).unwrap_or("").trim_end();
        let line = line.trim_end_matches(',');
        let Some(close) = self.open.last().map(|(close, _)| char::from(*close)) else { return };
        if line.ends_with(close) {
            self.scan.at = end + line.len() - 1;
        }
    }

    fn starts_element(&self) -> bool {
        self.scan.peek().is_some_and(|c| {
            is_name_start(c)
                || c.is_ascii_digit()
                || matches!(c, '"' | '\'' | '(' | '[' | '{' | '-')
        })
    }

    /// Reports what stands here, and steps over it up to where something else may begin.
    fn unexpected(&mut self, wanted: &str) -> Kind<'a> {
        if self.scan.stopped {
            return Kind::Bad;
        }
        let start = self.scan.at;
        let Some(char) = self.scan.peek() else {
            if self.open.is_empty() {
                let problem = Problem::new(codes::SYNTAX, format!("the file ends before {wanted}"))
                    .at(start..start, "here");
                self.scan.report(problem.advise("a runbook is `Runbook(format: 1, …)`"));
            }
            return Kind::Bad;
        };
        let problem = Problem::new(codes::SYNTAX, format!("{} instead of {wanted}", shown(char)))
            .at(start..start + char.len_utf8(), format!("{wanted} is expected here"));
        self.scan.report(problem);
        if !matches!(char, ',' | ')' | ']' | '}') {
            self.scan.at += char.len_utf8();
            self.skip_junk();
        }
        Kind::Bad
    }

    /// Steps over what belongs to no value.
    fn skip_junk(&mut self) {
        while let Some(char) = self.scan.peek() {
            if matches!(char, ',' | ')' | ']' | '}' | '(' | '[' | '{' | '"' | '\n') {
                return;
            }
            self.scan.at += char.len_utf8();
        }
    }
}

/// A character for people.
fn shown(char: char) -> String {
    if char.is_control() { format!("`{}`", char.escape_default()) } else { format!("`{char}`") }
}

#[cfg(test)]
mod tests;
