//! Calls of functions: what their arguments are, and which function is meant.

use arrow::datatypes::{DataType, Field};
use catalog::sql_type::NUMERIC_DEFAULT;
use catalog::{CatalogType, SqlType};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, when};

use super::{Typing, json_type, key, typed_json};
use crate::Error;
use crate::error::ErrorKind;
use crate::query::cast::Context;
use crate::query::operator::{Class, class_of, is_unknown, narrowed, resolve, sql_type_of, type_name, unpadded};
use crate::query::{cast, literals, operator, quantified, result_scale};

impl Typing<'_> {
    /// A value as `concat` shows it: a boolean as one letter.
    fn shown(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        if is_unknown(&expr) {
            return Ok(expr);
        }
        let class = class_of(&expr.get_type(schema)?);
        let text = cast::to_text(expr, schema, &self.context.functions.own)?;
        Ok(match class {
            Class::Boolean => {
                let letter = Expr::Literal(ScalarValue::Int64(Some(1)), None);
                datafusion::functions::unicode::left().call(vec![text, letter])
            }
            _ => text,
        })
    }

    /// A function that text and bytea share, of bytea.
    fn of_bytes(&self, function: ScalarFunction, schema: &DFSchema) -> Result<Expr> {
        let own = &self.context.functions.own;
        let ScalarFunction { func, mut args } = function;
        let (name, bytes) = match func.name() {
            "substr" | "substring" => ("bytea_substr", 1),
            "overlay" => ("bytea_overlay", 2),
            "strpos" | "position" => ("bytea_position", 2),
            "btrim" => ("bytea_btrim", 2),
            "ltrim" => ("bytea_ltrim", 2),
            "rtrim" => ("bytea_rtrim", 2),
            "octet_length" => ("bytea_length", 1),
            "bit_length" => ("bytea_bit_length", 1),
            other => {
                let fields = args.iter().map(|arg| Ok(arg.to_field(schema)?.1)).collect::<Result<Vec<_>>>()?;
                return crate::functions::undefined(other, &fields);
            }
        };
        for arg in args.iter_mut().take(bytes) {
            *arg = resolve(std::mem::take(arg), &SqlType::Bytea)?;
        }
        own.call(name, args)
    }

    /// The stride is an interval, the times are of one type: points in time, unless one of them is a local time.
    fn date_bin_arguments(&self, args: &mut [Expr], schema: &DFSchema) -> Result<()> {
        let Some((stride, times)) = args.split_first_mut() else { return Ok(()) };
        *stride = resolve(std::mem::take(stride), &SqlType::Interval)?;
        let is_local = |arg: &Expr| Ok(!is_unknown(arg) && sql_type_of(arg, schema)? == SqlType::Timestamp);
        let local = times.iter().map(is_local).collect::<Result<Vec<_>>>()?.contains(&true);
        let target = if local { SqlType::Timestamp } else { SqlType::Timestamptz };
        let (own, zone) = (&self.context.functions.own, &self.context.settings.time_zone);
        for arg in times {
            let moves = is_unknown(arg) || sql_type_of(arg, schema)? == SqlType::Date;
            if moves {
                *arg = cast::cast(std::mem::take(arg), &target, Context::Explicit, schema, own, zone)?;
            }
        }
        Ok(())
    }

    /// A function whose arguments are of one type: what has none takes that of the first that has one. What is compared by a key is so here, too.
    fn matched(&self, function: ScalarFunction, schema: &DFSchema) -> Result<Expr> {
        let ScalarFunction { func, mut args } = function;
        let known = args.iter().filter(|arg| !is_unknown(arg)).map(|arg| sql_type_of(arg, schema));
        let known = known.collect::<Result<Vec<_>>>()?;
        self.unify(&mut args, schema)?;
        let name = func.name().to_owned();
        if let Some((one, other)) = unlike(&known) {
            return Err(unmatched(&name, one, other).into());
        }
        if name != "coalesce"
            && let Some(chosen) = self.chosen_by_key(&name, &args, schema)?
        {
            return Ok(chosen);
        }
        let tag = json_type(&args, schema)?;
        let func = crate::functions::matched::of_datafusion(&name).unwrap_or(func);
        Ok(typed_json(Expr::ScalarFunction(ScalarFunction { func, args }), tag))
    }

    /// `NULLIF`, `GREATEST` and `LEAST` of values that are compared by what equal ones share.
    fn chosen_by_key(&self, name: &str, args: &[Expr], schema: &DFSchema) -> Result<Option<Expr>> {
        let own = &self.context.functions.own;
        let keys = args.iter().map(|arg| key(arg, schema, own)).collect::<Result<Option<Vec<_>>>>()?;
        let (Some(keys), Some(first)) = (keys, args.first()) else { return Ok(None) };
        let chosen = match (name, keys.as_slice(), crate::functions::matched::of_datafusion(name)) {
            ("nullif", [key, other], _) => {
                let null = Expr::Literal(ScalarValue::try_from(&first.get_type(schema)?)?, None);
                when(key.clone().eq(other.clone()), null).otherwise(first.clone())?
            }
            ("greatest" | "least", [key, others @ ..], Some(extreme)) => {
                let extreme = extreme.call(keys.clone());
                let mut cases = when(key.clone().eq(extreme.clone()), first.clone());
                for (key, arg) in others.iter().zip(&args[1..]) {
                    cases.when(key.clone().eq(extreme.clone()), arg.clone());
                }
                cases.end()?
            }
            _ => return Ok(None),
        };
        Ok(Some(typed_json(chosen, json_type(args, schema)?)))
    }

    pub(super) fn scalar_function(&self, mut function: ScalarFunction, schema: &DFSchema) -> Result<Expr> {
        let count = function.args.len();
        for (arg, sql_type) in function.args.iter_mut().zip(literals::types(function.func.name(), count)) {
            if is_unknown(arg) {
                *arg = resolve(std::mem::take(arg), &sql_type)?;
            }
        }
        for arg in function.args.iter_mut().filter(|_| function.func.name() != "pg_typeof") {
            if let Ok(SqlType::Char(length)) = sql_type_of(arg, schema) {
                *arg = unpadded(std::mem::take(arg), &SqlType::Char(length));
            }
        }
        element_types(&mut function, schema)?;
        let own = &self.context.functions.own;
        if let Some(planned) = result_scale::function(function.name(), &function.args, schema, own)? {
            return Ok(planned);
        }
        match function.name() {
            "any_of" | "all_of" => {
                let planned = quantified::typed(function, schema, &self.context.functions.own)?;
                return match planned {
                    list @ Expr::InList(_) => self.one(list, schema, &[]),
                    other => Ok(other),
                };
            }
            "character_length" | "length" | "char_length" => {
                if let [text] = function.args.as_slice()
                    && class_of(&text.get_type(schema)?) == Class::Bytes
                {
                    return self.context.functions.own.call("bytea_length", function.args);
                }
            }
            "substr" | "substring" | "overlay" | "strpos" | "position" | "btrim" | "ltrim" | "rtrim"
            | "octet_length" | "bit_length" | "reverse" | "upper" | "lower" => {
                let types = function.args.iter().map(|arg| arg.get_type(schema));
                let classes = types.map(|data_type| Ok(class_of(&data_type?))).collect::<Result<Vec<_>>>()?;
                // Of `strpos` the second may be a literal; else the first says it.
                let both = function.name() == "strpos" && classes.contains(&Class::Bytes);
                if both || classes.first() == Some(&Class::Bytes) {
                    return self.of_bytes(function, schema);
                }
            }
            "gcd" | "lcm" => {
                let all = |wanted: DataType| {
                    function.args.iter().all(|arg| arg.get_type(schema).is_ok_and(|data_type| data_type == wanted))
                };
                if all(DataType::Int32) {
                    return Ok(operator::cast(Expr::ScalarFunction(function), DataType::Int32));
                }
            }
            "round" => {
                if let [value] = function.args.as_slice()
                    && class_of(&value.get_type(schema)?) == Class::Float
                {
                    return self.context.functions.own.call("float_round", function.args);
                }
                if let Some(rounded) = rounded_to_more(&mut function.args, schema)? {
                    return Ok(rounded);
                }
            }
            // Cut to fewer digits, a numeric has fewer.
            "trunc" | "ceil" | "floor" if matches!(function.args[0].get_type(schema)?, DataType::Decimal128(..)) => {
                let digits = match function.args.get(1) {
                    None => Some(0),
                    Some(Expr::Literal(value, _)) => value.to_string().parse::<i8>().ok(),
                    Some(_) => None,
                };
                if let (DataType::Decimal128(precision, scale), Some(digits)) =
                    (function.args[0].get_type(schema)?, digits)
                {
                    let target = DataType::Decimal128(precision, digits.clamp(0, scale.max(0)));
                    return Ok(operator::cast(Expr::ScalarFunction(function), target));
                }
            }
            "concat" | "concat_ws" => {
                for arg in &mut function.args {
                    *arg = self.shown(std::mem::take(arg), schema)?;
                }
            }
            "to_number" => {
                if let [_, Expr::Literal(pattern, _)] = function.args.as_slice() {
                    let scale = crate::functions::to_number::scale(&pattern.to_string());
                    let scale = i8::try_from(scale.min(usize::from(NUMERIC_DEFAULT.1.unsigned_abs()))).unwrap_or(0);
                    let call = self.context.functions.own.call("to_number", function.args)?;
                    return Ok(operator::cast(call, DataType::Decimal128(NUMERIC_DEFAULT.0, scale)));
                }
            }
            "coalesce" | "nullif" | "greatest" | "least" => return self.matched(function, schema),
            "pg_typeof" => {
                if let [value] = function.args.as_slice() {
                    let name =
                        if is_unknown(value) { "unknown".to_owned() } else { type_name(&sql_type_of(value, schema)?) };
                    let name = Expr::Literal(ScalarValue::Utf8View(Some(name)), None);
                    let field = SqlType::Catalog(CatalogType::RegType).field("", true);
                    return Ok(Expr::Cast(Cast::new_from_field(Box::new(name), field.into())));
                }
            }
            "array_subscript" if sql_type_of(&function.args[0], schema)? == SqlType::Jsonb => {
                let own = &self.context.functions.own;
                let mut args = function.args.into_iter();
                let root = args.next().unwrap_or_default();
                return args.try_fold(root, |value, key| own.call("json_get", vec![value, narrowed(key)]));
            }
            "array_subscript" if !is_unknown(&function.args[0]) => match sql_type_of(&function.args[0], schema)? {
                SqlType::Array(_) => {}
                other => {
                    let name = type_name(&other);
                    let message = format!("cannot subscript type {name} because it does not support subscripting");
                    return Err(Error::new(ErrorKind::DatatypeMismatch, message).into());
                }
            },
            "date_bin" => self.date_bin_arguments(&mut function.args, schema)?,
            "generate_series" => series_arguments(&mut function.args, schema)?,
            _ => {
                // A parameter among numbers is a number.
                let numeric = function.args.iter().find(|arg| {
                    !is_unknown(arg)
                        && arg.get_type(schema).is_ok_and(|data_type| {
                            matches!(class_of(&data_type), Class::Integer | Class::Decimal | Class::Float)
                        })
                });
                let all_numeric = function.args.iter().all(|arg| {
                    matches!(arg, Expr::Placeholder(_))
                        || arg.get_type(schema).is_ok_and(|data_type| {
                            matches!(class_of(&data_type), Class::Integer | Class::Decimal | Class::Float)
                        })
                });
                if let (Some(numeric), true) = (numeric, all_numeric) {
                    let sql_type = sql_type_of(numeric, schema)?;
                    for arg in &mut function.args {
                        if matches!(arg, Expr::Placeholder(_)) {
                            *arg = resolve(std::mem::take(arg), &sql_type)?;
                        }
                    }
                }
            }
        }
        Ok(Expr::ScalarFunction(function))
    }
}

/// Two types that have none in common.
fn unlike(types: &[SqlType]) -> Option<(&SqlType, &SqlType)> {
    let (first, others) = types.split_first()?;
    others.iter().find(|other| !alike(first, other)).map(|other| (first, other))
}

/// Whether values of two types can be values of one.
fn alike(one: &SqlType, other: &SqlType) -> bool {
    use SqlType::{
        Array, BigInt, Catalog, Char, Date, Double, Integer, Name, Numeric, Oid, Real, SmallInt, Text, Timestamp,
        Timestamptz, Varchar,
    };
    let is_number =
        |sql_type: &SqlType| matches!(sql_type, SmallInt | Integer | BigInt | Real | Double | Numeric(_) | Oid);
    let is_text = |sql_type: &SqlType| matches!(sql_type, Text | Varchar(_) | Char(_) | Name);
    let is_time = |sql_type: &SqlType| matches!(sql_type, Date | Timestamp | Timestamptz);
    match (one, other) {
        (Catalog(_), _) | (_, Catalog(_)) => true,
        (Array(one), Array(other)) => alike(one, other),
        (one, other) => {
            let both = |is: &dyn Fn(&SqlType) -> bool| is(one) && is(other);
            one == other || both(&is_number) || both(&is_text) || both(&is_time)
        }
    }
}

/// That arguments have no type in common, in PostgreSQL's words: `NULLIF` is a comparison.
fn unmatched(name: &str, one: &SqlType, other: &SqlType) -> Error {
    let (one, other) = (type_name(one), type_name(other));
    match name {
        "nullif" => Error::new(ErrorKind::UndefinedFunction, format!("operator does not exist: {one} = {other}")),
        name => {
            let message = format!("{} types {one} and {other} cannot be matched", name.to_uppercase());
            Error::new(ErrorKind::DatatypeMismatch, message)
        }
    }
}

/// `round(x, n)` to more digits than `x` has: it gets these. An integer that is rounded is a numeric from here on.
fn rounded_to_more(args: &mut [Expr], schema: &DFSchema) -> Result<Option<Expr>> {
    let [value, Expr::Literal(digits, _)] = args else { return Ok(None) };
    let Ok(wanted) = digits.to_string().parse::<i8>() else { return Ok(None) };
    let data_type = value.get_type(schema)?;
    if class_of(&data_type) == Class::Integer {
        *value = operator::as_decimal(std::mem::take(value), &data_type);
    }
    Ok(match value.get_type(schema)? {
        DataType::Decimal128(precision, scale) if wanted > scale => {
            let whole = i16::from(precision) - i16::from(scale);
            let scale = i16::from(wanted).min(38 - whole).max(i16::from(scale));
            let target = DataType::Decimal128((whole + scale).clamp(1, 38) as u8, scale as i8);
            Some(operator::cast(std::mem::take(value), target))
        }
        _ => None,
    })
}

/// Beside an array, what has no type is one of its elements.
fn element_types(function: &mut ScalarFunction, schema: &DFSchema) -> Result<()> {
    let array_at = match function.name() {
        "array_append" | "array_position" | "array_positions" | "array_remove" | "array_replace" => 0,
        "array_prepend" => 1,
        "width_bucket" if function.args.len() == 2 => 1,
        "array_cat" | "array_overlap" | "array_contains" => {
            let known =
                function.args.iter().find(|arg| !is_unknown(arg)).map(|arg| sql_type_of(arg, schema)).transpose()?;
            if let Some(known @ SqlType::Array(_)) = known {
                for arg in function.args.iter_mut().filter(|arg| is_unknown(arg)) {
                    *arg = resolve(std::mem::take(arg), &known)?;
                }
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    let Some(array) = function.args.get(array_at).filter(|array| !is_unknown(array)) else { return Ok(()) };
    if let SqlType::Array(element) = sql_type_of(array, schema)? {
        for (_, arg) in function.args.iter_mut().enumerate().filter(|(at, arg)| *at != array_at && is_unknown(arg)) {
            *arg = resolve(std::mem::take(arg), &element)?;
        }
    }
    Ok(())
}

/// Arguments without a type take that of the series; the third of times is an interval.
fn series_arguments(args: &mut [Expr], schema: &DFSchema) -> Result<()> {
    let fields = args.iter().map(|arg| match is_unknown(arg) {
        true => Ok(Field::new("", DataType::Null, true).into()),
        false => Ok(arg.to_field(schema)?.1),
    });
    let element = crate::functions::series::element_of(&fields.collect::<Result<Vec<_>>>()?)?;
    let is_time = matches!(element, SqlType::Timestamp | SqlType::Timestamptz);
    for (position, arg) in args.iter_mut().enumerate().filter(|(_, arg)| is_unknown(arg)) {
        let wanted = if is_time && position == 2 { &SqlType::Interval } else { &element };
        *arg = resolve(std::mem::take(arg), wanted)?;
    }
    Ok(())
}
