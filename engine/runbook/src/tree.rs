//! A RON text as a tree with places.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};

/// Byte offsets in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// After the last byte.
    pub end: usize,
}

impl Span {
    /// From one offset to another.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.start..span.end
    }
}

/// A name and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Name<'a> {
    /// The name.
    pub(crate) text: &'a str,
    /// Its place.
    pub(crate) span: Span,
}

/// One field of a [`Kind::Struct`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field<'a> {
    /// What it is called.
    pub(crate) name: Name<'a>,
    /// What it holds.
    pub(crate) value: Node<'a>,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<'a> {
    /// The value.
    pub(crate) kind: Kind<'a>,
    /// Its place.
    pub span: Span,
}

/// A RON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind<'a> {
    /// `()`
    Unit,
    /// `true`
    Bool(bool),
    /// A whole number that fits 64 bits.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// `'c'`
    Char(char),
    /// `"text"`
    Text(Cow<'a, str>),
    /// A bare name, `halt`.
    Name(&'a str),
    /// `None`
    None,
    /// `Some(…)`
    Some(Box<Node<'a>>),
    /// `[…]`
    List(Vec<Node<'a>>),
    /// `(a, b)` or `Name(a, b)`
    Tuple(Option<Name<'a>>, Vec<Node<'a>>),
    /// `(a: 1)` or `Name(a: 1)`
    Struct(Option<Name<'a>>, Vec<Field<'a>>),
    /// `{a: b}`
    Map(Vec<(Node<'a>, Node<'a>)>),
    /// Something wrong was here, and it is reported.
    Bad,
}

impl Node<'_> {
    /// What it is, for people.
    pub(crate) fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Unit => "`()`",
            Kind::Bool(_) => "a boolean",
            Kind::Integer(_) => "a whole number",
            Kind::Float(_) => "a number",
            Kind::Char(_) => "a character",
            Kind::Text(_) => "a text",
            Kind::Name(_) => "a bare name",
            Kind::None => "`None`",
            Kind::Some(_) => "`Some(…)`",
            Kind::List(_) => "a list",
            Kind::Tuple(..) => "a tuple",
            Kind::Struct(..) => "a struct",
            Kind::Map(_) => "a map",
            Kind::Bad => "not readable",
        }
    }

    /// The value inside `Some(…)`, which may be left out.
    pub(crate) fn bare(&self) -> &Self {
        match &self.kind {
            Kind::Some(inner) => inner.bare(),
            _ => self,
        }
    }

    /// The text, where it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it or anything in it was reported as unreadable.
    pub(crate) fn is_bad(&self) -> bool {
        match &self.kind {
            Kind::Bad => true,
            Kind::Some(inner) => inner.is_bad(),
            Kind::List(items) | Kind::Tuple(_, items) => items.iter().any(Node::is_bad),
            Kind::Struct(_, fields) => fields.iter().any(|field| field.value.is_bad()),
            Kind::Map(entries) => entries.iter().any(|(key, value)| key.is_bad() || value.is_bad()),
            _ => false,
        }
    }

    /// As JSON: names become texts, a struct's name is left out, the keys of maps are texts.
    ///
    /// # Errors
    /// The first node that JSON cannot hold: a map's key that is no text.
    pub(crate) fn to_json(&self) -> Result<Value, &Self> {
        Ok(match &self.kind {
            Kind::Unit | Kind::None => Value::Null,
            Kind::Bool(bool) => Value::Bool(*bool),
            Kind::Integer(whole) => integer(*whole),
            Kind::Float(float) => Value::from(*float),
            Kind::Char(char) => Value::String(char.to_string()),
            Kind::Text(text) => Value::String(text.to_string()),
            Kind::Name(name) => Value::String((*name).to_owned()),
            Kind::Some(inner) => inner.to_json()?,
            Kind::List(items) | Kind::Tuple(_, items) => {
                Value::Array(items.iter().map(Self::to_json).collect::<Result<_, _>>()?)
            }
            Kind::Struct(_, fields) => Value::Object(
                fields
                    .iter()
                    .map(|field| Ok((field.name.text.to_owned(), field.value.to_json()?)))
                    .collect::<Result<Map<_, _>, _>>()?,
            ),
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| Ok((key.key().ok_or(key)?, value.to_json()?)))
                    .collect::<Result<Map<_, _>, _>>()?,
            ),
            Kind::Bad => return Err(self),
        })
    }

    fn key(&self) -> Option<String> {
        match &self.kind {
            Kind::Text(text) => Some(text.to_string()),
            Kind::Name(name) => Some((*name).to_owned()),
            Kind::Char(char) => Some(char.to_string()),
            Kind::Some(inner) => inner.key(),
            _ => None,
        }
    }

    /// The node at a JSON pointer, or the nearest one above it.
    pub(crate) fn locate(&self, pointer: &str) -> &Self {
        let mut node = self.bare();
        for token in pointer.split('/').skip(1) {
            match node.child(token) {
                Some(child) => node = child.bare(),
                None => break,
            }
        }
        node
    }

    /// The place of the name of the field at a JSON pointer, else that of what is there.
    pub(crate) fn locate_name(&self, pointer: &str) -> Span {
        let (parent, token) = pointer.rsplit_once('/').unwrap_or(("", ""));
        let parent = self.locate(parent);
        let token = unescape(token);
        match &parent.kind {
            Kind::Struct(_, fields) => {
                fields.iter().find(|field| field.name.text == token).map(|field| field.name.span)
            }
            Kind::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.key().as_deref() == Some(&*token))
                .map(|(key, _)| key.span),
            _ => None,
        }
        .unwrap_or(parent.span)
    }

    fn child(&self, token: &str) -> Option<&Self> {
        match &self.kind {
            Kind::List(items) | Kind::Tuple(_, items) => items.get(token.parse::<usize>().ok()?),
            Kind::Struct(_, fields) => {
                let name = unescape(token);
                fields.iter().find(|field| field.name.text == name).map(|field| &field.value)
            }
            Kind::Map(entries) => {
                let name = unescape(token);
                entries
                    .iter()
                    .find(|(key, _)| key.key().as_deref() == Some(&*name))
                    .map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

/// A part of a JSON pointer as it was before it was escaped.
pub(crate) fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}

fn integer(whole: i128) -> Value {
    i64::try_from(whole)
        .map(Value::from)
        .or_else(|_| u64::try_from(whole).map(Value::from))
        .unwrap_or(Value::Null)
}
