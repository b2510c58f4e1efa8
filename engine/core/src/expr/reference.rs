//! What an expression names.

use std::collections::BTreeSet;
use std::fmt;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};

use super::ExprError;
use super::rewrite::DEFAULT;

/// The field under which a step shows its output.
pub(super) const OUTPUT: &str = "output";
/// Names that CEL knows by itself.
const KNOWN: [&str; 12] = [
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "optional_type",
    "optional",
];

/// One thing that an expression names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// `params.name`, and perhaps fields of it.
    Param {
        /// Its name.
        name: String,
        /// Fields below it.
        path: Vec<String>,
    },
    /// `steps.step.output.field`, `steps.step["key"].output.field`, or less of it.
    Output {
        /// The step as written in the runbook, without key.
        step: String,
        /// The key of an item of `for_each`; absent where the step has none, or where the
        /// expression takes the whole map.
        key: Option<String>,
        /// The first field of the output; absent where the whole is taken.
        field: Option<String>,
        /// Fields below it.
        path: Vec<String>,
    },
    /// `item`, and perhaps fields of it.
    Item {
        /// Fields below it.
        path: Vec<String>,
    },
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self {
            Self::Param { name, path } => {
                write!(f, "params.{name}")?;
                path
            }
            Self::Output { step, key, field, path } => {
                write!(f, "steps.{step}")?;
                if let Some(key) = key {
                    write!(f, "[{key:?}]")?;
                }
                f.write_str(".output")?;
                if let Some(field) = field {
                    write!(f, ".{field}")?;
                }
                path
            }
            Self::Item { path } => {
                f.write_str("item")?;
                path
            }
        };
        path.iter().try_for_each(|part| write!(f, ".{part}"))
    }
}

/// What an expression names, and whether each is asked for only behind a question.
#[derive(Clone, Debug, Default)]
pub(super) struct Collected {
    pub(super) references: Vec<Reference>,
    /// For each reference: it stands in `has(…)`, `default(…)` or behind `.?`.
    pub(super) guarded: Vec<bool>,
}

impl Collected {
    /// A plain reference.
    pub(super) fn one(reference: Reference) -> Self {
        Self { references: vec![reference], guarded: vec![false] }
    }
}

/// Whether the tree is no deeper than allowed. Looks no deeper than that itself.
pub(super) fn fits(tree: &IdedExpr, levels: usize, loops: usize) -> bool {
    let Some(levels) = levels.checked_sub(1) else {
        return false;
    };
    let inner = |tree: &IdedExpr| fits(tree, levels, loops);
    match &tree.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => true,
        Expr::Call(call) => call.target.iter().map(|target| &**target).chain(&call.args).all(inner),
        Expr::List(list) => list.elements.iter().all(inner),
        Expr::Select(select) => inner(&select.operand),
        Expr::Map(map) => map.entries.iter().all(|entry| entry_fits(&entry.expr, inner)),
        Expr::Struct(made) => made.entries.iter().all(|entry| entry_fits(&entry.expr, inner)),
        Expr::Comprehension(each) => match loops.checked_sub(1) {
            None => false,
            Some(loops) => {
                inner(&each.iter_range)
                    && [&each.accu_init, &each.loop_cond, &each.loop_step, &each.result]
                        .into_iter()
                        .all(|tree| fits(tree, levels, loops))
            }
        },
    }
}

fn entry_fits(entry: &EntryExpr, fits: impl Fn(&IdedExpr) -> bool) -> bool {
    match entry {
        EntryExpr::StructField(field) => fits(&field.value),
        EntryExpr::MapEntry(entry) => fits(&entry.key) && fits(&entry.value),
    }
}

/// All that the tree names; a name that is not known is an error at its place in the text.
pub(super) fn collect(tree: &IdedExpr, text: &str) -> Result<Collected, ExprError> {
    let mut collector =
        Collector { text, bound: Vec::new(), seen: BTreeSet::new(), found: Collected::default() };
    collector.visit(tree, false)?;
    Ok(collector.found)
}

struct Collector<'t> {
    text: &'t str,
    /// Names that loops bind.
    bound: Vec<String>,
    seen: BTreeSet<(Reference, bool)>,
    found: Collected,
}

impl Collector<'_> {
    fn visit(&mut self, tree: &IdedExpr, guarded: bool) -> Result<(), ExprError> {
        if let Some(chain) = Chain::of(tree)
            && !self.bound.iter().any(|bound| bound == chain.root)
        {
            return self.visit_chain(&chain, guarded);
        }
        match &tree.expr {
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
            Expr::Call(call) => self.visit_call(call, guarded),
            Expr::Select(select) => self.visit(&select.operand, guarded || select.test),
            Expr::List(list) => self.visit_all(&list.elements, guarded),
            Expr::Map(map) => {
                map.entries.iter().try_for_each(|entry| self.visit_entry(&entry.expr, guarded))
            }
            Expr::Struct(made) => {
                let at = place_of(self.text, &made.type_name);
                Err(ExprError::syntax(at, "types cannot be made here"))
            }
            Expr::Comprehension(each) => {
                self.visit(&each.iter_range, guarded)?;
                self.visit(&each.accu_init, guarded)?;
                let before = self.bound.len();
                self.bound.push(each.iter_var.clone());
                self.bound.extend(each.iter_var2.clone());
                self.bound.push(each.accu_var.clone());
                for inner in [&each.loop_cond, &each.loop_step, &each.result] {
                    self.visit(inner, guarded)?;
                }
                self.bound.truncate(before);
                Ok(())
            }
        }
    }

    fn visit_all(&mut self, trees: &[IdedExpr], guarded: bool) -> Result<(), ExprError> {
        trees.iter().try_for_each(|tree| self.visit(tree, guarded))
    }

    fn visit_entry(&mut self, entry: &EntryExpr, guarded: bool) -> Result<(), ExprError> {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value, guarded),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key, guarded)?;
                self.visit(&entry.value, guarded)
            }
        }
    }

    fn visit_call(&mut self, call: &CallExpr, guarded: bool) -> Result<(), ExprError> {
        if let Some(target) = &call.target {
            self.visit(target, guarded)?;
        }
        match call.args.as_slice() {
            [wanted, otherwise] if call.func_name == DEFAULT && call.target.is_none() => {
                self.visit(wanted, true)?;
                self.visit(otherwise, guarded)
            }
            args => self.visit_all(args, guarded),
        }
    }

    fn visit_chain(&mut self, chain: &Chain<'_>, guarded: bool) -> Result<(), ExprError> {
        for index in &chain.indices {
            self.visit(index, guarded)?;
        }
        let reference = match chain.root {
            "params" => self.param(chain)?,
            "steps" => self.output(chain)?,
            "item" => Reference::Item { path: names(chain.parts.iter()) },
            known if known.starts_with('@') || KNOWN.contains(&known) => return Ok(()),
            other => {
                let message = format!(
                    "`{other}` is not known here: an expression names `params`, `steps` and `item`; \
                     write `$${{` for a literal `${{`"
                );
                return Err(ExprError::syntax(place_of(self.text, other), message));
            }
        };
        let guarded = guarded || chain.optional;
        if self.seen.insert((reference.clone(), guarded)) {
            self.found.references.push(reference);
            self.found.guarded.push(guarded);
        }
        Ok(())
    }

    fn param(&self, chain: &Chain<'_>) -> Result<Reference, ExprError> {
        let mut parts = chain.parts.iter();
        let Some(part) = parts.next() else {
            let at = place_of(self.text, "params");
            return Err(ExprError::syntax(at, "name the parameter: `params.x`"));
        };
        Ok(Reference::Param { name: part.name().to_owned(), path: names(parts) })
    }

    fn output(&self, chain: &Chain<'_>) -> Result<Reference, ExprError> {
        let mut parts = chain.parts.iter();
        let Some(step) = parts.next() else {
            let at = place_of(self.text, "steps");
            return Err(ExprError::syntax(at, "name the step: `steps.id.output.x`"));
        };
        let mut key = None;
        let mut next = parts.next();
        if let Some(part) = next
            && !matches!(part, Part::Field(OUTPUT))
        {
            key = Some(part.name().to_owned());
            next = parts.next();
        }
        if let Some(part) = next
            && part.name() != OUTPUT
        {
            let at = place_of(self.text, part.name());
            let message = format!("a step has only `output`, not `{}`", part.name());
            return Err(ExprError::syntax(at, message));
        }
        let field = parts.next().map(|part| part.name().to_owned());
        Ok(Reference::Output { step: step.name().to_owned(), key, field, path: names(parts) })
    }
}

/// One part of a chain after its root.
enum Part<'e> {
    /// `.name`
    Field(&'e str),
    /// `["name"]`
    Index(&'e str),
}

impl Part<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Field(name) | Self::Index(name) => name,
        }
    }
}

fn names<'p>(parts: impl Iterator<Item = &'p Part<'p>>) -> Vec<String> {
    parts.map(|part| part.name().to_owned()).collect()
}

/// `root.a["b"].?c`, as far as its parts are known without computing.
struct Chain<'e> {
    root: &'e str,
    parts: Vec<Part<'e>>,
    /// Computed indices, and what comes after the first of them is not in `parts`.
    indices: Vec<&'e IdedExpr>,
    /// Whether it asks with `.?`, `[?…]` or `has`.
    optional: bool,
}

impl<'e> Chain<'e> {
    fn of(tree: &'e IdedExpr) -> Option<Self> {
        match &tree.expr {
            Expr::Ident(root) => {
                Some(Self { root, parts: Vec::new(), indices: Vec::new(), optional: false })
            }
            Expr::Select(select) => {
                let mut chain = Self::of(&select.operand)?;
                chain.optional |= select.test;
                chain.push(Part::Field(&select.field));
                Some(chain)
            }
            Expr::Call(call) if call.target.is_none() => Self::of_call(call),
            _ => None,
        }
    }

    fn of_call(call: &'e CallExpr) -> Option<Self> {
        let select = call.func_name == operators::OPT_SELECT;
        let optional = select || call.func_name == operators::OPT_INDEX;
        let ([operand, index], true) =
            (call.args.as_slice(), optional || call.func_name == operators::INDEX)
        else {
            return None;
        };
        let mut chain = Self::of(operand)?;
        chain.optional |= optional;
        match &index.expr {
            Expr::Literal(LiteralValue::String(name)) if select => {
                chain.push(Part::Field(name.inner()));
            }
            Expr::Literal(LiteralValue::String(name)) => chain.push(Part::Index(name.inner())),
            _ => chain.indices.push(index),
        }
        Some(chain)
    }

    fn push(&mut self, part: Part<'e>) {
        if self.indices.is_empty() {
            self.parts.push(part);
        }
    }
}

/// Where a word stands in the text; the parser keeps no places.
fn place_of(text: &str, word: &str) -> usize {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = text.as_bytes();
    text.match_indices(word)
        .find(|(at, _)| {
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            !is_word(before) && !is_word(bytes.get(at + word.len()))
        })
        .map_or(0, |(at, _)| at)
}
