//! `default(a.b, c)` and `has(a.b.c)`, so that they also hold where `a` itself is missing.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};

/// The name of the function that gives a default.
pub(super) const DEFAULT: &str = "default";

/// The function that gives the keys of a map in order; nobody can write its name.
pub(super) const IN_ORDER: &str = "@in_order";

/// Rewrites `default(x.y, d)` to `x.?y.hasValue() ? x.y : d` and `has(x.y.z)` to
/// `x.?y.?z.hasValue()`.
pub(super) fn defaults(tree: IdedExpr) -> Result<IdedExpr, String> {
    let IdedExpr { id, expr } = tree;
    let expr = match expr {
        Expr::Call(call) if call.target.is_none() && call.func_name == DEFAULT => {
            default_call(id, call)?
        }
        Expr::Call(call) => Expr::Call(CallExpr {
            func_name: call.func_name,
            target: call.target.map(|target| defaults(*target)).transpose()?.map(Box::new),
            args: call.args.into_iter().map(defaults).collect::<Result<_, _>>()?,
        }),
        Expr::Select(select) => select_of(id, select)?,
        Expr::List(mut list) => {
            list.elements = list.elements.into_iter().map(defaults).collect::<Result<_, _>>()?;
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            for entry in &mut map.entries {
                entry_in_place(&mut entry.expr)?;
            }
            Expr::Map(map)
        }
        Expr::Comprehension(mut inner) => {
            in_place(&mut inner.iter_range)?;
            if inner.iter_var2.is_none() {
                in_order(&mut inner.iter_range);
            }
            in_place(&mut inner.accu_init)?;
            in_place(&mut inner.loop_cond)?;
            in_place(&mut inner.loop_step)?;
            in_place(&mut inner.result)?;
            Expr::Comprehension(inner)
        }
        Expr::Struct(_) | Expr::Unspecified => return Err("types cannot be made here".to_owned()),
        plain @ (Expr::Ident(_) | Expr::Literal(_)) => plain,
    };
    Ok(IdedExpr { id, expr })
}

/// Makes a loop over a map go by its keys in their order: CEL keeps them in none, and one
/// expression must always give the same list.
fn in_order(range: &mut IdedExpr) {
    if matches!(range.expr, Expr::List(_)) {
        return;
    }
    let inner = std::mem::take(range);
    range.id = inner.id;
    range.expr =
        Expr::Call(CallExpr { func_name: IN_ORDER.to_owned(), target: None, args: vec![inner] });
}

fn in_place(tree: &mut IdedExpr) -> Result<(), String> {
    *tree = defaults(std::mem::take(tree))?;
    Ok(())
}

fn entry_in_place(entry: &mut EntryExpr) -> Result<(), String> {
    match entry {
        EntryExpr::StructField(field) => in_place(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            in_place(&mut entry.key)?;
            in_place(&mut entry.value)
        }
    }
}

fn select_of(id: u64, select: SelectExpr) -> Result<Expr, String> {
    if !select.test || !is_chain(&select.operand) {
        let operand = Box::new(defaults(*select.operand)?);
        return Ok(Expr::Select(SelectExpr { operand, ..select }));
    }
    let whole = Expr::Select(SelectExpr { test: false, ..select });
    Ok(has_value(id, &IdedExpr { id, expr: whole }))
}

fn default_call(id: u64, call: CallExpr) -> Result<Expr, String> {
    let [wanted, otherwise] = <[IdedExpr; 2]>::try_from(call.args)
        .map_err(|args| format!("`default` takes a reference and a value, not {}", args.len()))?;
    if !is_chain(&wanted) || matches!(wanted.expr, Expr::Ident(_)) {
        return Err(
            "`default` takes a reference first: default(steps.a.output.x, \"v\")".to_owned()
        );
    }
    let there = IdedExpr { id, expr: has_value(id, &wanted) };
    Ok(Expr::Call(CallExpr {
        func_name: operators::CONDITIONAL.to_owned(),
        target: None,
        args: vec![there, wanted, defaults(otherwise)?],
    }))
}

/// Whether it is a name with fields and indices that need no rewriting themselves: only such a
/// chain is written twice by `default`, so the tree at most doubles.
fn is_chain(tree: &IdedExpr) -> bool {
    match &tree.expr {
        Expr::Ident(_) => true,
        Expr::Select(select) => !select.test && is_chain(&select.operand),
        Expr::Call(call) if is_index(call) => match call.args.as_slice() {
            [operand, index] => {
                is_chain(operand) && (matches!(index.expr, Expr::Literal(_)) || is_chain(index))
            }
            _ => false,
        },
        _ => false,
    }
}

fn is_index(call: &CallExpr) -> bool {
    call.func_name == operators::INDEX && call.target.is_none()
}

fn has_value(id: u64, chain: &IdedExpr) -> Expr {
    Expr::Call(CallExpr {
        func_name: "hasValue".to_owned(),
        target: Some(Box::new(IdedExpr { id, expr: optional(chain) })),
        args: Vec::new(),
    })
}

/// The chain with each step optional: `a.?b[?c]`.
fn optional(chain: &IdedExpr) -> Expr {
    let (name, operand, index) = match &chain.expr {
        Expr::Select(select) => {
            let field = Expr::Literal(LiteralValue::String(select.field.clone().into()));
            (operators::OPT_SELECT, &*select.operand, IdedExpr { id: chain.id, expr: field })
        }
        Expr::Call(CallExpr { args, .. }) => match args.as_slice() {
            [operand, index] => (operators::OPT_INDEX, operand, index.clone()),
            _ => return chain.expr.clone(),
        },
        plain => return plain.clone(),
    };
    let operand = IdedExpr { id: operand.id, expr: optional(operand) };
    Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args: vec![operand, index] })
}
