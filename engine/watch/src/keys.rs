//! What each key does.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::screen::{Over, Screen, Wish};

/// Lines that a page key moves.
const PAGE: usize = 10;

/// The key of each command, by its word.
pub(crate) const COMMANDS: [(char, &str); 23] = [
    ('a', "approve"),
    ('x', "reject"),
    ('B', "break-glass"),
    ('d', "settle-done"),
    ('D', "settle-not-done"),
    ('t', "retry"),
    ('T', "retry-with"),
    ('s', "skip"),
    ('h', "hold"),
    ('f', "free"),
    ('o', "part"),
    ('R', "resume"),
    ('p', "pause"),
    ('n', "note"),
    ('H', "hand-over"),
    ('y', "take-command"),
    ('Z', "take-command-glass"),
    ('i', "insert"),
    ('N', "note-on"),
    ('Y', "yield"),
    ('A', "abort"),
    ('U', "undo"),
    ('C', "close"),
];

/// The key of a command.
pub(crate) fn key_of(word: &str) -> Option<char> {
    COMMANDS.iter().find(|(_, of)| *of == word).map(|(key, _)| *key)
}

impl Screen {
    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Some(Wish::Quit);
        }
        match &self.over {
            Some(Over::Form(_)) => self.key_in_form(key),
            Some(Over::Menu { .. }) => self.key_in_menu(key),
            Some(Over::Help) => {
                self.over = None;
                None
            }
            None if self.followed.is_some() => self.key_in_run(key),
            None => self.key_in_list(key),
        }
    }

    /// Takes text that was pasted.
    pub fn paste(&mut self, text: &str) {
        if let Some(Over::Form(form)) = &mut self.over
            && let Some(line) = form.lines.get_mut(form.focus)
        {
            line.insert(text);
        }
    }

    fn key_in_list(&mut self, key: KeyEvent) -> Option<Wish> {
        let last = self.runs.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Wish::Quit),
            KeyCode::Char('?') => self.over = Some(Over::Help),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => {
                let run = self.runs.get(self.at)?.run.clone();
                return Some(self.follow(run.as_str().into()));
            }
            code => self.at = moved(code, self.at, last).unwrap_or(self.at),
        }
        None
    }

    fn key_in_run(&mut self, key: KeyEvent) -> Option<Wish> {
        let followed = self.followed.as_mut()?;
        match key.code {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Esc | KeyCode::Left => {
                self.followed = None;
                self.said = None;
                return Some(Wish::Follow(None));
            }
            KeyCode::Char('?') => self.over = Some(Over::Help),
            KeyCode::Char('w') => followed.next_want(),
            KeyCode::Char('l') => self.log_wide = !self.log_wide,
            KeyCode::Char(' ') => followed.scroll = followed.scroll.saturating_add(5),
            KeyCode::Backspace => followed.scroll = followed.scroll.saturating_sub(5),
            KeyCode::Enter | KeyCode::Char('m') => self.open_menu(),
            KeyCode::Char(key) if COMMANDS.iter().any(|(of, _)| *of == key) => {
                let word = COMMANDS.iter().find(|(of, _)| *of == key).map_or("", |(_, word)| word);
                self.open(word);
            }
            code => {
                let last = followed.tree.len().saturating_sub(1);
                if let Some(place) = moved(code, followed.chosen, last) {
                    followed.go_to(place);
                }
            }
        }
        None
    }

    fn open_menu(&mut self) {
        let mut offers = self.offers();
        // What is possible first; the order is that of the table otherwise.
        offers.sort_by_key(|offer| offer.refused.is_some());
        if !offers.is_empty() {
            self.over = Some(Over::Menu { offers, at: 0 });
        }
    }

    fn key_in_menu(&mut self, key: KeyEvent) -> Option<Wish> {
        let Some(Over::Menu { offers, at }) = &mut self.over else { return None };
        let last = offers.len().saturating_sub(1);
        let word = match key.code {
            KeyCode::Esc | KeyCode::Left | KeyCode::Char('q') => {
                self.over = None;
                return None;
            }
            KeyCode::Enter => offers.get(*at).map(|offer| offer.word.clone()),
            KeyCode::Char(key) if key_word(key).is_some() => key_word(key).map(str::to_owned),
            code => {
                *at = moved(code, *at, last).unwrap_or(*at);
                None
            }
        };
        if let Some(word) = word {
            self.open(&word);
        }
        None
    }

    fn key_in_form(&mut self, key: KeyEvent) -> Option<Wish> {
        let Some(Over::Form(form)) = &mut self.over else { return None };
        form.wrong = None;
        let last = form.lines.len().saturating_sub(1);
        let (focus, control) = (form.focus, key.modifiers.contains(KeyModifiers::CONTROL));
        let line = form.lines.get_mut(focus)?;
        match key.code {
            KeyCode::Esc => self.over = None,
            KeyCode::Enter if focus == last => return self.send(),
            KeyCode::Enter | KeyCode::Tab | KeyCode::Down => form.focus = (focus + 1).min(last),
            KeyCode::BackTab | KeyCode::Up => form.focus = focus.saturating_sub(1),
            KeyCode::Left => line.go(-1),
            KeyCode::Right => line.go(1),
            KeyCode::Home => line.go(isize::MIN),
            KeyCode::End => line.go(isize::MAX),
            KeyCode::Backspace => line.backspace(),
            KeyCode::Char('u') if control => line.clear(),
            KeyCode::Char(c) if !control => line.insert(c.encode_utf8(&mut [0; 4])),
            _ => {}
        }
        None
    }
}

fn key_word(key: char) -> Option<&'static str> {
    COMMANDS.iter().find(|(of, _)| *of == key).map(|(_, word)| *word)
}

/// Where a moving key leads.
fn moved(code: KeyCode, at: usize, last: usize) -> Option<usize> {
    Some(match code {
        KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => (at + 1).min(last),
        KeyCode::PageUp => at.saturating_sub(PAGE),
        KeyCode::PageDown => (at + PAGE).min(last),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => last,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use backout_server::view::OFFERS;

    use super::*;

    #[test]
    fn every_command_has_one_key_of_its_own() {
        for offered in OFFERS {
            assert!(key_of(offered.word).is_some(), "{} has no key", offered.word);
        }
        let mut keys: Vec<char> = COMMANDS.iter().map(|(key, _)| *key).collect();
        keys.extend("qlwmjkgG?".chars());
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
