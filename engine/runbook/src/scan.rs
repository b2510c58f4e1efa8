//! The small parts of RON: space and comments, names, numbers, texts.

use std::borrow::Cow;

use crate::codes;
use crate::problem::Problem;
use crate::tree::{Kind, Name, Span};

/// Syntax problems reported for one file: after so many the rest only repeats them.
const SYNTAX_PROBLEMS_MAX: usize = 50;

/// A place in a text, and what was found wrong so far.
pub(crate) struct Scanner<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
    pub(crate) problems: Vec<Problem>,
    /// The first text over several lines: where a later one never ends, its quote is suspected.
    pub(crate) long_text: Option<Span>,
    /// Whether reading has stopped for good.
    pub(crate) stopped: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, problems: Vec::new(), long_text: None, stopped: false }
    }

    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn peek_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(crate) fn starts_with(&self, prefix: &str) -> bool {
        self.rest().starts_with(prefix)
    }

    /// Steps over a prefix, where it is there.
    pub(crate) fn eat(&mut self, prefix: &str) -> bool {
        let there = self.starts_with(prefix);
        if there {
            self.at += prefix.len();
        }
        there
    }

    pub(crate) fn report(&mut self, problem: Problem) {
        if self.problems.len() < SYNTAX_PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.stop();
        }
    }

    /// Reads no further.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.at = self.text.len();
    }

    fn eat_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|char| !fits(char)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or("")
    }

    /// Steps over space and comments.
    pub(crate) fn space(&mut self) {
        loop {
            match self.peek_byte() {
                Some(b' ' | b'\n' | b'\t' | b'\r' | 0x0b | 0x0c) => self.at += 1,
                Some(b'/') if self.starts_with("//") => {
                    let rest = self.rest();
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                Some(b'/') if self.starts_with("/*") => self.block_comment(),
                Some(byte) if !byte.is_ascii() && self.peek().is_some_and(is_space) => {
                    self.at += self.peek().map_or(0, char::len_utf8);
                }
                _ => return,
            }
        }
    }

    fn block_comment(&mut self) {
        let start = self.at;
        let mut level = 0_usize;
        loop {
            if self.eat("/*") {
                level += 1;
            } else if self.eat("*/") {
                level -= 1;
                if level == 0 {
                    return;
                }
            } else if let Some(char) = self.peek() {
                self.at += char.len_utf8();
            } else {
                let problem = Problem::new(codes::UNCLOSED, "a comment that does not end")
                    .at(start..start + 2, "begins here")
                    .advise("close it with `*/`; comments nest");
                return self.report(problem);
            }
        }
    }

    /// Whether a text, character or byte literal begins here, although it looks like a name.
    fn is_literal_prefix(&self) -> bool {
        let rest = self.rest();
        ["b\"", "b'", "br#", "br\"", "r\"", "r#\"", "r##"]
            .iter()
            .any(|prefix| rest.starts_with(prefix))
    }

    /// A name, where there is one.
    pub(crate) fn name(&mut self) -> Option<Name<'a>> {
        if self.is_literal_prefix() {
            return None;
        }
        let start = self.at;
        if self.starts_with("r#") {
            self.at += 2;
            let text = self.eat_while(|c| is_name_part(c) || matches!(c, '.' | '+' | '-'));
            if text.is_empty() {
                self.at = start;
                return None;
            }
            return Some(Name { text, span: Span::new(start, self.at) });
        }
        if !self.peek().is_some_and(is_name_start) {
            return None;
        }
        let text = self.eat_while(is_name_part);
        Some(Name { text, span: Span::new(start, self.at) })
    }

    /// A text, character or byte literal, where there is one.
    pub(crate) fn quoted(&mut self) -> Option<Kind<'a>> {
        let start = self.at;
        if self.eat("\"") {
            return Some(self.text_literal(start));
        }
        if self.eat("'") {
            return Some(self.char_literal(start));
        }
        if !self.is_literal_prefix() {
            return None;
        }
        let bytes = self.eat("b");
        let kind = if bytes && self.eat("'") {
            self.char_literal(start)
        } else if bytes && self.eat("\"") {
            self.text_literal(start)
        } else {
            self.eat("r");
            self.raw_literal(start)
        };
        if bytes {
            let problem = Problem::new(codes::NOT_USED, "bytes are not used in runbooks")
                .at(start..self.at, "a byte literal")
                .advise("write a text, or name a file");
            self.report(problem);
            return Some(Kind::Bad);
        }
        Some(kind)
    }

    fn raw_literal(&mut self, start: usize) -> Kind<'a> {
        let hashes = self.eat_while(|c| c == '#').len();
        if !self.eat("\"") {
            let problem = Problem::new(codes::TEXT, "a raw text without its quote")
                .at(start..self.at, "`\"` is missing after this");
            self.report(problem);
            return Kind::Bad;
        }
        let end = format!("\"{}", "#".repeat(hashes));
        let rest = self.rest();
        match rest.find(&end) {
            Some(length) => {
                self.at += length + end.len();
                Kind::Text(Cow::Borrowed(rest.get(..length).unwrap_or("")))
            }
            None => self.unended(start, &end),
        }
    }

    /// Reports a text that runs to the end of the file, and stops.
    fn unended(&mut self, start: usize, end: &str) -> Kind<'a> {
        let open = Span::new(start, start + 1);
        let suspect = self.long_text.map_or(open, |long| Span::new(long.start, long.start + 1));
        // What was found after the quote that was really meant to end is noise.
        self.problems.retain(|problem| problem.place() < suspect.start);
        let mut problem = Problem::new(codes::TEXT, "a text that does not end")
            .at(suspect, "begins here")
            .help(format!("close it with `{end}`"));
        if suspect != open {
            problem = problem.at(open, "so this quote begins a text that runs to the end");
        }
        self.report(problem);
        self.stop();
        Kind::Bad
    }

    fn text_literal(&mut self, start: usize) -> Kind<'a> {
        let Some(length) = self.rest().find(['"', '\\']) else {
            return self.unended(start, "\"");
        };
        let head = self.rest().get(..length).unwrap_or("");
        self.at += length;
        let kind = if self.eat("\"") {
            Kind::Text(Cow::Borrowed(head))
        } else {
            match self.escaped_text(start, head) {
                Some(text) => Kind::Text(Cow::Owned(text)),
                None => Kind::Bad,
            }
        };
        let span = Span::new(start, self.at);
        let long = || self.text.get(start..span.end).is_some_and(|text| text.contains('\n'));
        if self.long_text.is_none() && !self.stopped && long() {
            self.long_text = Some(span);
        }
        kind
    }

    fn escaped_text(&mut self, start: usize, head: &str) -> Option<String> {
        let mut text = head.to_owned();
        let mut good = true;
        loop {
            let rest = self.rest();
            let Some(length) = rest.find(['"', '\\']) else {
                self.unended(start, "\"");
                return None;
            };
            text.push_str(rest.get(..length).unwrap_or(""));
            self.at += length;
            if self.eat("\"") {
                return good.then_some(text);
            }
            let escape = self.at;
            self.at += 1;
            if self.eat("\n") || self.eat("\r\n") {
                self.eat_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            } else if let Some(char) = self.escape(false) {
                text.push(char);
            } else {
                self.bad_escape(escape);
                good = false;
            }
        }
    }

    fn bad_escape(&mut self, start: usize) {
        let end = self.at.max(start + 1);
        let problem = Problem::new(codes::TEXT, "an escape that does not exist")
            .at(start..end, "not an escape")
            .advise(
                "escapes are \\n \\r \\t \\0 \\\\ \\\" \\' \\xNN \\u{NNNN}; write \\\\ for a \
                 backslash, or a raw text r\"…\"",
            );
        self.report(problem);
    }

    fn char_literal(&mut self, start: usize) -> Kind<'a> {
        let escape = self.at;
        let char = if self.eat("\\") {
            let char = self.escape(true);
            if char.is_none() {
                self.bad_escape(escape);
                self.eat_while(|c| !matches!(c, '\'' | '\n'));
                self.eat("'");
                return Kind::Bad;
            }
            char
        } else {
            // A line break is one only where the quote follows it, as `ron` has it.
            let broken = |at: usize| self.text.get(at..).is_some_and(|t| t.starts_with("\n'"));
            let char = self.peek().filter(|c| *c != '\n' || broken(self.at));
            self.at += char.map_or(0, char::len_utf8);
            char
        };
        match char {
            Some(char) if self.eat("'") => Kind::Char(char),
            _ => {
                self.eat_while(|c| !matches!(c, '\'' | '\n' | ','));
                self.eat("'");
                let problem = Problem::new(codes::TEXT, "not one character between `'` and `'`")
                    .at(start..self.at, "here")
                    .advise("write texts in double quotes");
                self.report(problem);
                Kind::Bad
            }
        }
    }

    /// The rest of an escape, after its backslash.
    fn escape(&mut self, is_char: bool) -> Option<char> {
        let char = self.peek()?;
        if char == '\n' {
            return None;
        }
        self.at += char.len_utf8();
        Some(match char {
            '\'' | '"' | '\\' => char,
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            'x' => return self.hex_escape(is_char),
            'u' => return self.unicode_escape(),
            _ => return None,
        })
    }

    /// `\xNN`, or several of them that make up one character.
    fn hex_escape(&mut self, is_char: bool) -> Option<char> {
        let mut bytes = vec![self.hex_byte()?];
        loop {
            if let Ok(text) = std::str::from_utf8(&bytes) {
                return text.chars().next();
            }
            if is_char || bytes.len() == 4 || !self.eat("\\x") {
                return None;
            }
            bytes.push(self.hex_byte()?);
        }
    }

    fn hex_byte(&mut self) -> Option<u8> {
        let digits = self.rest().get(..2)?;
        let byte = digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| u8::from_str_radix(digits, 16).ok())??;
        self.at += 2;
        Some(byte)
    }

    fn unicode_escape(&mut self) -> Option<char> {
        if !self.eat("{") {
            return None;
        }
        let digits = self.eat_while(|c| c.is_ascii_hexdigit());
        if !self.eat("}") || digits.len() > 6 {
            return None;
        }
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    }
}

fn is_space(char: char) -> bool {
    matches!(char, '\u{85}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}')
}

pub(crate) fn is_name_start(char: char) -> bool {
    char == '_' || char.is_alphabetic()
}

pub(crate) fn is_name_part(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}
