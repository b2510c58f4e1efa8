//! A walk along the tokens of a statement.

use super::{Name, Token};

/// A place among tokens.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) tokens: &'a [Token],
}

impl<'a> Cursor<'a> {
    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.first()
    }

    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// Goes over these words where they stand here.
    pub(super) fn eat(&mut self, words: &[&str]) -> bool {
        let fits = words.len() <= self.tokens.len()
            && words.iter().zip(self.tokens).all(|(word, token)| token.is(word));
        if fits {
            self.tokens = self.tokens.get(words.len()..).unwrap_or_default();
        }
        fits
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token.is(word))
    }

    pub(super) fn name(&mut self) -> Option<Name> {
        let mut parts = vec![self.next()?.name()?.to_owned()];
        while self.peek().is_some_and(|token| token.is_sign('.')) {
            self.next();
            parts.push(self.next()?.name()?.to_owned());
        }
        let name = parts.pop()?;
        Some(Name { schema: parts.pop(), name })
    }

    pub(super) fn word(&mut self) -> Option<String> {
        self.next()?.name().map(str::to_owned)
    }

    /// What stands in the parentheses here.
    pub(super) fn inside(&mut self) -> Option<Self> {
        self.peek().filter(|token| token.is_sign('('))?;
        let mut depth = 0_usize;
        let end = self.tokens.iter().position(|token| {
            depth += usize::from(token.is_sign('('));
            depth -= usize::from(token.is_sign(')')).min(depth);
            depth == 0
        })?;
        let inside = Self { tokens: self.tokens.get(1..end)? };
        self.tokens = self.tokens.get(end + 1..)?;
        Some(inside)
    }

    /// The names of a list in parentheses; nothing where it holds more than names.
    pub(super) fn columns(&mut self) -> Option<Vec<String>> {
        let inside = self.inside()?;
        inside
            .parts()
            .into_iter()
            .map(|mut part| {
                let name = part.word()?;
                part.tokens.is_empty().then_some(name)
            })
            .collect()
    }

    /// The parts between commas outside parentheses.
    pub(super) fn parts(&self) -> Vec<Self> {
        let mut depth = 0_usize;
        let commas = self.tokens.split(|token| {
            depth += usize::from(token.is_sign('('));
            depth -= usize::from(token.is_sign(')')).min(depth);
            depth == 0 && token.is_sign(',')
        });
        commas.map(|tokens| Self { tokens }).collect()
    }
}
