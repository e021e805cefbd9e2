//! CEL expressions of `when` and `set`: parsed and bounded when the file is read, bound to
//! positions when a link is compiled, evaluated without looking up a name.
//!
//! In an expression a field stands by its name (`status == "active"`), or as `record.status` and
//! `record["Full Name"]`; `has(record.status)` asks whether the record carries it. A field that is
//! missing is null. Beside CEL's own functions there are `lower`, `upper` and `trim`.
//!
//! Invariant: evaluation ends. The text, its nesting, its loops and the lists they run over are
//! bounded, because CEL itself knows no cost limit.

use std::sync::{Arc, LazyLock};

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::{CelString, STRING_TYPE};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError};

use super::expr_names::{Binder, Names, Place, slot};
use super::expr_value::{from_cel, to_cel, too_large};
use crate::engine::record::Value;

const SOURCE_BYTES_MAX: usize = 4096;
/// Every operator and bracket may cost a level of recursion in the parser or the evaluator.
const NESTING_MAX: usize = 24;
const OPERATORS_MAX: usize = 160;
/// Loops inside loops: two of them run over at most `ITEMS_MAX`² items.
pub(super) const LOOPS_MAX: usize = 2;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for (name, function) in [("lower", LOWER), ("upper", UPPER), ("trim", TRIM)] {
        // Only a second overload of the same name could fail.
        let _ = env.add_overload(name, name, vec![STRING_TYPE], function);
    }
    Arc::new(env)
});

type Function = for<'b, 'v> fn(Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError>;
const LOWER: Function = |args| on_text(&args, str::to_lowercase);
const UPPER: Function = |args| on_text(&args, str::to_uppercase);
const TRIM: Function = |args| on_text(&args, |text| text.trim().to_owned());

fn on_text<'b, 'v>(
    args: &[CowVal<'b, 'v>],
    change: fn(&str) -> String,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = args.first().and_then(|arg| arg.downcast_ref::<CelString>());
    let text = text.ok_or_else(ExecutionError::missing_argument_or_target)?;
    Ok(CowVal::owned(CelString::from(change(text.inner()))))
}

pub(super) const FUNCTIONS: [&str; 28] = [
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
    "duration",
    "timestamp",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "lower",
    "upper",
    "trim",
];

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExprError {
    /// Characters before the fault, where it is known.
    pub column: Option<u32>,
    pub message: String,
    pub remedy: Option<String>,
}

impl ExprError {
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { column: None, message: message.into(), remedy: Some(remedy.into()) }
    }
}

/// An expression whose names are not bound yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parsed {
    ast: IdedExpr,
}

/// An expression over positions of a shape.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    ast: IdedExpr,
    /// The positions that it reads, sorted.
    pub slots: Vec<usize>,
    /// The expression is nothing but this field: its value goes through untouched.
    plain: Option<usize>,
}

impl Parsed {
    /// Parses an expression and checks its bounds and functions.
    pub fn read(source: &str) -> Result<Self, ExprError> {
        check_size(source)?;
        // The other parser of the crate is generated and takes 200 KiB of stack a bracket.
        let parser = cel::parser::PrattParser::new().max_recursion_depth(OPERATORS_MAX as u16);
        let ast = parser.parse(source).map_err(|errors| syntax_error(source, &errors))?;
        let mut names = Names::default();
        names.visit(&ast, &mut Vec::new(), 0)?;
        Ok(Self { ast })
    }

    /// Tells whether the expression can only give something else than true or false.
    pub fn is_never_bool(&self) -> bool {
        match &self.ast.expr {
            Expr::Literal(literal) => !matches!(literal, LiteralValue::Boolean(_)),
            Expr::List(_) | Expr::Map(_) => true,
            Expr::Call(call) => matches!(
                call.func_name.as_str(),
                operators::ADD
                    | operators::SUBSTRACT
                    | operators::MULTIPLY
                    | operators::DIVIDE
                    | operators::MODULO
                    | operators::NEGATE
                    | "size"
                    | "string"
                    | "int"
                    | "double"
            ),
            _ => false,
        }
    }

    /// Returns the dotted names that stand for fields, outermost first: `a.b` is `["a", "b"]`.
    pub fn fields(&self) -> Vec<Vec<String>> {
        let mut names = Names::default();
        // The bounds were checked when the expression was read.
        let _ = names.visit(&self.ast, &mut Vec::new(), 0);
        names.found
    }

    /// Binds the names to positions.
    pub fn bind(&self, place: &Place<'_>) -> Expression {
        let mut binder = Binder { place, slots: Vec::new() };
        let ast = binder.rewrite(&self.ast, &mut Vec::new());
        let mut slots = binder.slots;
        slots.sort_unstable();
        slots.dedup();
        let plain = match &ast.expr {
            Expr::Ident(name) => slot(name),
            _ => None,
        };
        Expression { ast, slots, plain }
    }
}

impl Expression {
    /// Tells whether the expression is nothing but one field.
    pub fn is_plain(&self) -> bool {
        self.plain.is_some()
    }

    /// Evaluates the expression on a record; the reason of a failure shows no values.
    pub fn eval(&self, values: &[Value]) -> Result<Value, String> {
        if let Some(at) = self.plain {
            return Ok(match values.get(at) {
                Some(value) if !value.is_missing() => value.clone(),
                _ => Value::Null,
            });
        }
        let mut nested = Vec::new();
        for &at in &self.slots {
            let value = values.get(at).unwrap_or(&Value::Absent);
            if let Some(reason) = too_large(value) {
                return Err(reason);
            }
            if let Value::Json(_) = value {
                nested.push((at, to_cel(value)?));
            } else if matches!(value, Value::Number(_)) {
                to_cel(value)?;
            }
        }
        let slots = Slots { values, nested };
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.set_variable_resolver(&slots);
        match cel::Value::resolve(&self.ast, &context) {
            Ok(value) => from_cel(value),
            Err(error) => Err(reason(&error)),
        }
    }

    /// Tells whether the record meets the expression.
    pub fn test(&self, values: &[Value]) -> Result<bool, String> {
        match self.eval(values)? {
            Value::Bool(flag) => Ok(flag),
            other => Err(format!("the expression gives {} instead of true or false", other.kind())),
        }
    }

    /// Tells whether a place that it reads has not been seen yet.
    pub fn waits(&self, values: &[Value]) -> bool {
        self.slots.iter().any(|&at| matches!(values.get(at), Some(Value::Unknown)))
    }
}

fn check_size(source: &str) -> Result<(), ExprError> {
    if source.trim().is_empty() {
        return Err(ExprError::new(
            "an empty expression",
            "write an expression such as status == \"active\"",
        ));
    }
    if source.len() > SOURCE_BYTES_MAX {
        return Err(ExprError::new("the expression is longer than 4 KiB", "split it"));
    }
    let (mut depth, mut deepest, mut count, mut quote) = (0usize, 0usize, 0usize, None);
    let mut escaped = false;
    for char in source.chars() {
        match (quote, char) {
            (Some(_), '\\') => escaped = !escaped,
            (Some(open), char) if char == open && !escaped => quote = None,
            (Some(_), _) => escaped = false,
            (None, '"' | '\'') => quote = Some(char),
            (None, '(' | '[' | '{') => {
                depth += 1;
                count += 1;
                deepest = deepest.max(depth);
            }
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, '+' | '-' | '*' | '/' | '%' | '?' | '!' | '<' | '>' | '=' | '.') => count += 1,
            _ => {}
        }
    }
    let words = source.split(|char: char| !char.is_alphanumeric() && char != '_');
    count += words.filter(|word| *word == "in").count();
    if deepest > NESTING_MAX || count > OPERATORS_MAX {
        return Err(ExprError::new(
            format!(
                "more than {NESTING_MAX} brackets inside each other or more than {OPERATORS_MAX} operators"
            ),
            "simplify the expression",
        ));
    }
    Ok(())
}

fn syntax_error(source: &str, errors: &cel::ParseErrors) -> ExprError {
    let first = errors.errors.first();
    let text = first.map_or("", |error| error.msg.as_str());
    let has = text.contains("has()") || source.contains("has(");
    let remedy = if has && text.contains("has") {
        Some("write has(record.field), or field != null".to_owned())
    } else if source.contains(" and ") || source.contains(" or ") {
        Some("write && for `and`, || for `or`, ! for `not`".to_owned())
    } else if source.replace("==", "").replace("!=", "").replace("<=", "").replace(">=", "").contains('=') {
        Some("write == to compare".to_owned())
    } else {
        None
    };
    let text = text.lines().next().unwrap_or("").replace("Syntax error: ", "");
    let one_line = !source.contains('\n');
    ExprError {
        column: first
            .filter(|_| one_line)
            .and_then(|error| u32::try_from(error.pos.1).ok())
            .map(|at| at.saturating_sub(1)),
        message: format!("invalid expression: {text}"),
        remedy,
    }
}

struct Slots<'v> {
    values: &'v [Value],
    /// Nested values by position, converted before evaluation because that may fail.
    nested: Vec<(usize, cel::Value)>,
}

impl VariableResolver for Slots<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(at) = variable.strip_prefix('?') {
            let value = self.values.get(at.parse::<usize>().ok()?)?;
            return cel::Value::Bool(!value.is_missing()).try_into().ok().map(CowVal::Owned);
        }
        let at = slot(variable)?;
        match self.values.get(at)? {
            Value::Text(text) => Some(CowVal::owned(CelString::from(text.as_str()))),
            Value::Json(_) => {
                let (_, nested) = self.nested.iter().find(|(position, _)| *position == at)?;
                nested.clone().try_into().ok().map(CowVal::Owned)
            }
            other => to_cel(other).ok()?.try_into().ok().map(CowVal::Owned),
        }
    }
}

/// Says why an expression failed, without the values it failed on: they must not reach a log.
fn reason(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!("there is no `{name}` in it"),
        ExecutionError::NoSuchOverload(overload) => overload.to_string(),
        ExecutionError::ValuesNotComparable(..) => "values of different kinds can't be compared".to_owned(),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            format!("`{operator}` can't be applied to these kinds of values")
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "the number is too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "the list is too short".to_owned(),
        ExecutionError::FunctionError { function, .. } => format!("{function}() failed on this value"),
        ExecutionError::UndeclaredReference(name) if !name.starts_with('#') => format!("`{name}` is unknown"),
        _ => "the expression can't be evaluated on this record".to_owned(),
    }
}
