//! Expressions: CEL over `params.x`, `steps.id.output.y` (for an item of `for_each`:
//! `steps.id["key"].output.y`) and `item`; and templates, texts that hold `${…}`.
//!
//! An output that may be missing takes a default in one of these ways, all of them lazy:
//! `default(steps.a.output.x, "v")`, `steps.a.output.?x.orValue("v")`,
//! `has(steps.a.output.x) ? steps.a.output.x : "v"`.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError, IdedExpr};
use serde_json::Value;

use crate::id::StepId;
use crate::limits::EXPRESSION_BYTES_MAX;
use crate::state::RunState;

mod fast;
mod reference;
mod rewrite;
mod scope;
mod template;
mod value;

pub use reference::Reference;
pub use scope::{Outputs, Scope};
pub use template::{Piece, Template, literal, references_of, resolve, truth};

use reference::Collected;

/// Words that CEL keeps for itself: no id and no parameter may be called so.
pub const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// What CEL calls the `.` of `a.b`.
const FIELD: &str = "_._";
/// Levels of an expression: its evaluation recurses, and the stack is finite.
const DEPTH_MAX: usize = 64;
/// Operators, dots and brackets of an expression: each may be a level to the parser.
const OPERATORS_MAX: usize = 400;
/// `map`, `filter`, `all` and `exists` inside one another: each multiplies the work.
const COMPREHENSIONS_MAX: usize = 2;

/// Why an expression gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// It is not CEL, or names what does not exist.
    #[error("{message}")]
    Syntax {
        /// Byte offset in the text given.
        at: usize,
        /// What is wrong.
        message: String,
    },
    /// A value that it names is not there, and it gives no default.
    #[error("`{name}` is not there")]
    Absent {
        /// `steps.id.output.y`.
        name: String,
    },
    /// It does not compute.
    #[error("{message}")]
    Eval {
        /// What is wrong.
        message: String,
    },
}

impl ExprError {
    fn syntax(at: usize, message: impl Into<String>) -> Self {
        Self::Syntax { at, message: message.into() }
    }

    fn eval(message: impl Into<String>) -> Self {
        Self::Eval { message: message.into() }
    }

    /// The same error in a text that holds the expression from byte `start` on.
    fn shifted(self, start: usize) -> Self {
        match self {
            Self::Syntax { at, message } => Self::Syntax { at: at.saturating_add(start), message },
            Self::Absent { .. } | Self::Eval { .. } => self,
        }
    }
}

/// How an expression is computed.
#[derive(Clone)]
enum Body {
    /// A plain reference: looked up without CEL.
    Plain,
    /// Anything else.
    Cel(Arc<IdedExpr>),
}

/// One parsed expression.
#[derive(Clone)]
pub struct Expression {
    body: Body,
    collected: Collected,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression").field("references", &self.references()).finish_non_exhaustive()
    }
}

impl Expression {
    /// Parses one expression, without `${` and `}`.
    ///
    /// # Errors
    /// [`ExprError::Syntax`] where it is not CEL, is too large or too deep, or names anything but
    /// `params`, `steps` and `item`.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        match fast::reference(text) {
            Some(reference) => Ok(Self { body: Body::Plain, collected: Collected::one(reference) }),
            None => Self::parse_cel(text),
        }
    }

    /// As [`Self::parse`], without the short way for plain references.
    fn parse_cel(text: &str) -> Result<Self, ExprError> {
        check_size(text)?;
        let parser = PrattParser::new().enable_optional_syntax(true);
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(text)))
            .map_err(|_| ExprError::syntax(0, "the expression cannot be read"))?;
        let tree = parsed.map_err(|errors| syntax_error(text, &errors))?;
        if !reference::fits(&tree, DEPTH_MAX, COMPREHENSIONS_MAX) {
            let message = format!(
                "the expression is too deep: {DEPTH_MAX} levels and {COMPREHENSIONS_MAX} loops \
                 inside one another are allowed"
            );
            return Err(ExprError::syntax(0, message));
        }
        let collected = reference::collect(&tree, text)?;
        let tree = rewrite::defaults(tree).map_err(|message| ExprError::syntax(0, message))?;
        Ok(Self { body: Body::Cel(Arc::new(tree)), collected })
    }

    /// What it names, each once, in the order of the text.
    pub fn references(&self) -> &[Reference] {
        &self.collected.references
    }

    /// Computes it.
    ///
    /// # Errors
    /// [`ExprError::Absent`] where an output is missing that it gives no default for, else
    /// [`ExprError::Eval`].
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, ExprError> {
        match &self.body {
            Body::Plain => self.eval_plain(scope),
            Body::Cel(tree) => self.eval_cel(tree, scope),
        }
    }

    fn eval_plain(&self, scope: &Scope<'_>) -> Result<Value, ExprError> {
        let reference = self.references().first();
        let found = reference.and_then(|reference| scope.plain(reference));
        found.cloned().ok_or_else(|| self.absent(scope, None))
    }

    fn eval_cel(&self, tree: &IdedExpr, scope: &Scope<'_>) -> Result<Value, ExprError> {
        let computed = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::with_env(Arc::clone(environment()));
            scope.bind(self.references(), &mut context);
            // Refused only where CEL itself has a function of this name.
            drop(context.add_function(rewrite::IN_ORDER, value::in_order));
            cel::Value::resolve(tree, &context)
        }));
        match computed {
            Ok(Ok(found)) => value::to_json(&found),
            Ok(Err(ExecutionError::NoSuchKey(key))) => Err(self.absent(scope, Some(&key))),
            Ok(Err(ExecutionError::NoSuchOverload(error))) if error.function() == FIELD => {
                Err(self.absent(scope, None))
            }
            Ok(Err(error)) => Err(ExprError::eval(value::brief(&error))),
            Err(_) => Err(ExprError::eval("the expression cannot be computed")),
        }
    }

    /// Which of the named values is not there. `key` is the last part that was missed.
    fn absent(&self, scope: &Scope<'_>, key: Option<&str>) -> ExprError {
        let missing: Vec<(&Reference, String, bool)> = self
            .collected
            .references
            .iter()
            .zip(&self.collected.guarded)
            .filter_map(|(reference, guarded)| {
                scope.missing(reference).map(|part| (reference, part, *guarded))
            })
            .collect();
        let fits = |part: &str| key.is_none_or(|key| key == part);
        let found = missing
            .iter()
            .find(|(_, part, guarded)| !guarded && fits(part))
            .or_else(|| missing.iter().find(|(_, part, _)| fits(part)))
            .or_else(|| missing.iter().find(|(_, _, guarded)| !guarded));
        match (found, key) {
            (Some((reference, ..)), _) => ExprError::Absent { name: reference.to_string() },
            (None, Some(key)) => ExprError::eval(format!("there is no `{key}`")),
            (None, None) => ExprError::eval("a field is asked of a value that has no fields"),
        }
    }
}

/// The functions of CEL, made once: that takes longer than most expressions.
fn environment() -> &'static Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib()))
}

fn check_size(text: &str) -> Result<(), ExprError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let message = format!(
            "the expression has {} bytes, more than EXPRESSION_BYTES_MAX ({EXPRESSION_BYTES_MAX})",
            text.len()
        );
        return Err(ExprError::syntax(0, message));
    }
    if text.trim().is_empty() {
        return Err(ExprError::syntax(0, "the expression is empty"));
    }
    let operators = text.bytes().filter(|byte| b".([{!-+*/%?<>=&|".contains(byte)).count();
    if operators > OPERATORS_MAX {
        let message = format!("the expression has more than {OPERATORS_MAX} operators");
        return Err(ExprError::syntax(0, message));
    }
    Ok(())
}

fn syntax_error(text: &str, errors: &cel::ParseErrors) -> ExprError {
    let Some(first) = errors.errors.first() else {
        return ExprError::syntax(0, "not an expression");
    };
    let line = usize::try_from(first.pos.0).unwrap_or(0).saturating_sub(1);
    let column = usize::try_from(first.pos.1).unwrap_or(0).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..).unwrap_or("");
    let within: usize = rest.chars().take(column).map(char::len_utf8).sum();
    let message = first.msg.trim_start_matches("Syntax error: ").replace("'<EOF>'", "the end");
    ExprError::syntax(start + within, message)
}

impl Outputs for RunState {
    fn output(&self, id: &str) -> Option<&Value> {
        let (_, _, step) = self.find(&StepId::from(id))?;
        (!step.output.is_null()).then_some(&step.output)
    }

    fn keys(&self, id: &str) -> Vec<String> {
        let open = format!("{id}[");
        self.order
            .index
            .range(StepId::from(open.as_str())..)
            .map(|(id, _)| id.as_str())
            .take_while(|id| id.starts_with(&open))
            .filter_map(|id| scope::key_of(id).map(str::to_owned))
            .collect()
    }
}

impl Outputs for BTreeMap<String, Value> {
    fn output(&self, id: &str) -> Option<&Value> {
        self.get(id)
    }

    fn keys(&self, id: &str) -> Vec<String> {
        let open = format!("{id}[");
        self.range(open.clone()..)
            .map(|(id, _)| id)
            .take_while(|id| id.starts_with(&open))
            .filter_map(|id| scope::key_of(id).map(str::to_owned))
            .collect()
    }
}

#[cfg(test)]
mod tests;
