//! The names in an expression: which stand for fields, and their replacement by positions.

use std::borrow::Cow;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::error::nearest;
use super::expr::{ExprError, FUNCTIONS, LOOPS_MAX};

/// The name under which the whole record stands in an expression.
const RECORD: &str = "record";

/// Gives the position of a dotted name and how many of its parts the field's own name takes.
pub(super) type Place<'p> = dyn Fn(&[&str]) -> Option<(usize, usize)> + 'p;

/// Splits `a.b.c` (and `a["b"]` where `a` is the record) into its parts.
fn dotted(expr: &Expr) -> Option<Vec<Cow<'_, str>>> {
    match expr {
        Expr::Ident(name) => Some(vec![Cow::Borrowed(name)]),
        Expr::Select(select) if !select.test => {
            let mut parts = dotted(&select.operand.expr)?;
            parts.push(Cow::Borrowed(&select.field));
            Some(parts)
        }
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [
                IdedExpr { expr: Expr::Ident(name), .. },
                IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. },
            ] if name == RECORD => Some(vec![Cow::Borrowed(name), Cow::Owned(field.inner().to_owned())]),
            _ => None,
        },
        _ => None,
    }
}

/// Collects the names of fields and checks bounds and functions on the way.
#[derive(Default)]
pub(super) struct Names {
    pub found: Vec<Vec<String>>,
}

impl Names {
    pub fn visit(&mut self, expr: &IdedExpr, scope: &mut Vec<String>, loops: usize) -> Result<(), ExprError> {
        if let Some(parts) = dotted(&expr.expr) {
            let own = parts.first().is_some_and(|root| is_own(root, scope));
            if !own {
                self.push(&parts)?;
            }
            return Ok(());
        }
        match &expr.expr {
            Expr::Call(call) => {
                check_call(&call.func_name, &call.args)?;
                for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                    self.visit(part, scope, loops)?;
                }
            }
            Expr::Select(select) => {
                match dotted(&select.operand.expr) {
                    // has(record.field)
                    Some(parts) if select.test && parts.as_slice() == [RECORD] => {
                        self.push(&[Cow::Borrowed(RECORD), Cow::Borrowed(select.field.as_str())])?;
                    }
                    _ => self.visit(&select.operand, scope, loops)?,
                }
            }
            Expr::Comprehension(each) => {
                if loops == LOOPS_MAX {
                    return Err(ExprError::new(
                        format!("more than {LOOPS_MAX} loops inside each other"),
                        "simplify the expression",
                    ));
                }
                self.visit(&each.iter_range, scope, loops)?;
                self.visit(&each.accu_init, scope, loops)?;
                let outer = scope.len();
                scope.extend([each.iter_var.clone(), each.accu_var.clone()]);
                scope.extend(each.iter_var2.clone());
                for part in [&each.loop_cond, &each.loop_step, &each.result] {
                    self.visit(part, scope, loops + 1)?;
                }
                scope.truncate(outer);
            }
            Expr::List(list) => {
                for item in &list.elements {
                    self.visit(item, scope, loops)?;
                }
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::StructField(field) => self.visit(&field.value, scope, loops)?,
                        EntryExpr::MapEntry(entry) => {
                            self.visit(&entry.key, scope, loops)?;
                            self.visit(&entry.value, scope, loops)?;
                        }
                    }
                }
            }
            Expr::Struct(_) => {
                return Err(ExprError::new(
                    "expressions can't build structures",
                    "write a map: {\"name\": value}",
                ));
            }
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
        Ok(())
    }

    fn push(&mut self, parts: &[Cow<'_, str>]) -> Result<(), ExprError> {
        let parts: Vec<String> = parts.iter().map(|part| part.clone().into_owned()).collect();
        if parts.as_slice() == [RECORD] {
            return Err(ExprError::new("`record` stands for the whole record", "write record.field"));
        }
        if !self.found.contains(&parts) {
            self.found.push(parts);
        }
        Ok(())
    }
}

/// Tells whether a name belongs to the expression itself: a loop's variable, a type.
fn is_own(name: &str, scope: &[String]) -> bool {
    name.starts_with('@') || scope.iter().any(|own| own == name)
}

fn check_call(name: &str, args: &[IdedExpr]) -> Result<(), ExprError> {
    let operator = !name.chars().next().is_some_and(|first| first.is_ascii_alphabetic());
    if !operator && !FUNCTIONS.contains(&name) {
        let remedy = match nearest(name, FUNCTIONS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "see the list of CEL's functions".to_owned(),
        };
        return Err(ExprError::new(format!("unknown function `{name}`"), remedy));
    }
    if let ("matches", Some(IdedExpr { expr: Expr::Literal(LiteralValue::String(pattern)), .. })) =
        (name, args.last())
        && let Err(error) = regex::Regex::new(pattern.inner())
    {
        return Err(ExprError::new(
            format!("invalid pattern: {}", pattern_error(&error)),
            "mend the pattern",
        ));
    }
    Ok(())
}

/// Gives the last line of a pattern's error, the one that says what is wrong.
pub(super) fn pattern_error(error: &regex::Error) -> String {
    error.to_string().lines().last().unwrap_or("").trim().trim_start_matches("error: ").to_owned()
}

/// Replaces the names of fields by their positions: `#3` is the value at 3, `?3` whether it is there.
pub(super) struct Binder<'p> {
    pub place: &'p Place<'p>,
    pub slots: Vec<usize>,
}

impl Binder<'_> {
    pub fn rewrite(&mut self, expr: &IdedExpr, scope: &mut Vec<String>) -> IdedExpr {
        if let Some(bound) = self.field(expr, scope) {
            return bound;
        }
        let mut made = expr.clone();
        match &mut made.expr {
            Expr::Call(call) => {
                if let Some(target) = &mut call.target {
                    **target = self.rewrite(target, scope);
                }
                self.rewrite_all(&mut call.args, scope);
            }
            Expr::Select(select) => *select.operand = self.rewrite(&select.operand, scope),
            Expr::List(list) => self.rewrite_all(&mut list.elements, scope),
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    match &mut entry.expr {
                        EntryExpr::StructField(field) => field.value = self.rewrite(&field.value, scope),
                        EntryExpr::MapEntry(entry) => {
                            entry.key = self.rewrite(&entry.key, scope);
                            entry.value = self.rewrite(&entry.value, scope);
                        }
                    }
                }
            }
            Expr::Comprehension(each) => {
                each.iter_range = self.rewrite(&each.iter_range, scope);
                each.accu_init = self.rewrite(&each.accu_init, scope);
                let outer = scope.len();
                scope.extend([each.iter_var.clone(), each.accu_var.clone()]);
                scope.extend(each.iter_var2.clone());
                each.loop_cond = self.rewrite(&each.loop_cond, scope);
                each.loop_step = self.rewrite(&each.loop_step, scope);
                each.result = self.rewrite(&each.result, scope);
                scope.truncate(outer);
            }
            Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
        made
    }

    fn rewrite_all(&mut self, exprs: &mut [IdedExpr], scope: &mut Vec<String>) {
        for expr in exprs {
            *expr = self.rewrite(expr, scope);
        }
    }

    /// Binds what names a field; the parts of a dotted name behind the field's own stay selections.
    fn field(&mut self, expr: &IdedExpr, scope: &[String]) -> Option<IdedExpr> {
        if let Expr::Select(select) = &expr.expr
            && select.test
            && dotted(&select.operand.expr)?.as_slice() == [RECORD]
        {
            let (at, _) = (self.place)(&[RECORD, &select.field])?;
            self.slots.push(at);
            return Some(IdedExpr { id: expr.id, expr: Expr::Ident(format!("?{at}")) });
        }
        let parts = dotted(&expr.expr)?;
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        if is_own(parts.first()?, scope) {
            return None;
        }
        let (at, taken) = (self.place)(&parts)?;
        self.slots.push(at);
        let mut made = IdedExpr { id: expr.id, expr: Expr::Ident(format!("#{at}")) };
        for field in parts.iter().skip(taken) {
            let operand = Box::new(made);
            let select = SelectExpr { operand, field: (*field).to_owned(), test: false };
            made = IdedExpr { id: expr.id, expr: Expr::Select(select) };
        }
        Some(made)
    }
}

/// Reads a position out of the name that stands for it.
pub(super) fn slot(name: &str) -> Option<usize> {
    name.strip_prefix('#')?.parse().ok()
}
