//! Lines that fit: wrapping, cutting and columns, by what a terminal shows and not by bytes.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Control characters out: a target's words must not drive the terminal.
pub(crate) fn clean(text: &str) -> String {
    let plain = |c: char| if c == '\t' { ' ' } else { c };
    text.chars().map(plain).filter(|c| !c.is_control() || *c == '\n').collect()
}

/// Wraps at spaces to `width` columns; each line begins with `indent` spaces. A word that is wider
/// than a line stands alone and whole: a command must be copyable.
pub(crate) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let room = width.saturating_sub(indent).max(20);
    let mut out = String::new();
    for paragraph in clean(text).lines() {
        for line in filled(paragraph, room) {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{:indent$}{line}", "");
        }
    }
    out
}

fn filled(paragraph: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in paragraph.split_whitespace() {
        if !line.is_empty() && line.width() + 1 + word.width() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// One line of at most `columns`, cut with a mark.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    let line = clean(text).replace('\n', " ");
    if line.width() <= columns {
        return line;
    }
    let mut out = String::new();
    let mut used = 0;
    for c in line.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > columns {
            break;
        }
        used += wide;
        out.push(c);
    }
    out.push('\u{2026}');
    out
}

/// One line of at most `columns`, cut in its middle: the end of a path says more than that.
pub(crate) fn cut_middle(text: &str, columns: usize) -> String {
    let line = clean(text).replace('\n', " ");
    if line.width() <= columns {
        return line;
    }
    let (head, mut room) = (cut(&line, columns / 3), columns.saturating_sub(columns / 3));
    let fits = |c: &char| {
        let left = room.checked_sub(c.width().unwrap_or(0));
        room = left.unwrap_or(0);
        left.is_some()
    };
    let tail: Vec<char> = line.chars().rev().take_while(fits).collect();
    head.chars().chain(tail.into_iter().rev()).collect()
}

/// The text and spaces up to `columns`.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(text.width());
    format!("{text}{:missing$}", "")
}

/// The widest of some texts, at most `limit`.
pub(crate) fn widest<'a>(texts: impl Iterator<Item = &'a str>, limit: usize) -> usize {
    texts.map(UnicodeWidthStr::width).max().unwrap_or(0).min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_at_spaces_and_keeps_long_words_whole() {
        let text = wrapped("one two three /a/very/long/path/that/does/not/fit", 2, 22);
        assert_eq!(text, "  one two three\n  /a/very/long/path/that/does/not/fit\n");
    }

    #[test]
    fn a_cut_line_says_so_and_counts_wide_characters() {
        assert_eq!(cut("abcdef", 4), "abc\u{2026}");
        assert_eq!(cut("\u{65e5}\u{672c}\u{8a9e}", 4), "\u{65e5}\u{2026}");
        assert_eq!(cut("ok", 4), "ok");
        assert_eq!(cut_middle("/a/long/path", 9), "/a\u{2026}g/path");
        assert_eq!(cut_middle("/short", 9), "/short");
    }

    #[test]
    fn control_characters_of_a_target_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\u{7}"), "a[31mb");
    }
}
