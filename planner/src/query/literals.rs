//! The types that literals and parameters without a type take as arguments of functions.

use catalog::SqlType;
use sql::ast::{DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value};

use super::written_cast;

/// Reads the literals among the arguments of a function that are no text: numbers, and intervals. DataFusion's planner would look for the function
/// of texts.
pub(super) fn read(function: &mut Function, name: &str) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let count = list.args.len();
    for (argument, wanted) in list.args.iter_mut().zip(numbers(name, count)) {
        let (FunctionArg::Unnamed(FunctionArgExpr::Expr(value))
        | FunctionArg::Named { arg: FunctionArgExpr::Expr(value), .. }
        | FunctionArg::ExprNamed { arg: FunctionArgExpr::Expr(value), .. }) = argument
        else {
            continue;
        };
        let is_text = matches!(&*value, Expr::Value(text) if matches!(text.value, Value::SingleQuotedString(_)));
        if let (true, Some(wanted)) = (is_text, wanted) {
            *value = written_cast::call(value.clone(), wanted);
        }
    }
}

/// The types of a function's arguments, where they are none that a text is of itself.
fn numbers(name: &str, count: usize) -> Vec<Option<DataType>> {
    let integer = || Some(DataType::Integer(None));
    let double = || Some(DataType::DoublePrecision);
    let numeric = || Some(DataType::Numeric(sql::ast::ExactNumberInfo::None));
    match name {
        "repeat" | "left" | "right" => vec![None, integer()],
        "lpad" | "rpad" => vec![None, integer(), None],
        "split_part" => vec![None, None, integer()],
        "substr" => vec![None, integer(), integer()],
        "overlay" => vec![None, None, integer(), integer()],
        "chr" => vec![integer()],
        "round" | "trunc" if count == 2 => vec![numeric(), integer()],
        "abs" | "round" | "ceil" | "ceiling" | "floor" | "sign" | "sqrt" | "cbrt" | "exp" | "ln" | "log" | "log10"
        | "degrees" | "radians" | "sin" | "cos" | "tan" | "cot" | "asin" | "acos" | "atan" | "sinh" | "cosh"
        | "tanh" | "asinh" | "acosh" | "atanh" | "sind" | "cosd" | "tand" | "cotd" | "asind" | "acosd" | "atand"
            if count == 1 =>
        {
            vec![double()]
        }
        "power" | "pow" | "atan2" | "atan2d" => vec![double(), double()],
        "div" => vec![numeric(), numeric()],
        "width_bucket" if count == 4 => vec![double(), double(), double(), integer()],
        "factorial" => vec![Some(DataType::BigInt(None))],
        "array_length" | "array_lower" | "array_upper" | "trim_array" => vec![None, integer()],
        "make_date" => vec![integer(), integer(), integer()],
        "make_time" => vec![integer(), integer(), double()],
        "make_timestamp" | "make_timestamptz" => {
            vec![integer(), integer(), integer(), integer(), integer(), double(), None]
        }
        "make_interval" => vec![integer(), integer(), integer(), integer(), integer(), integer(), double()],
        "to_timestamp" if count == 1 => vec![double()],
        _ => Vec::new(),
    }
}

/// The types of a function's arguments, as far as they are always the same.
pub(super) fn types(function: &str, arguments: usize) -> Vec<SqlType> {
    use SqlType::{Boolean, Bytea, Double, Integer, Interval, Json, Jsonb, Text};
    let texts = || SqlType::Array(Box::new(Text));
    match function {
        "encode" | "convert_from" => vec![Bytea, Text],
        "get_byte" | "get_bit" => vec![Bytea, Integer],
        "set_byte" | "set_bit" => vec![Bytea, Integer, Integer],
        "bit_count" => vec![Bytea],
        "justify_hours" | "justify_days" | "justify_interval" => vec![Interval],
        "jsonb_concat" => vec![Jsonb, Jsonb],
        "jsonb_delete_path" => vec![Jsonb, texts()],
        "jsonb_set" | "jsonb_insert" | "jsonb_set_lax" => vec![Jsonb, texts(), Jsonb, Boolean, Text],
        "jsonb_strip_nulls" | "jsonb_pretty" => vec![Jsonb],
        "json_strip_nulls" => vec![Json],
        "jsonb_object" | "json_object" => vec![texts(), texts()],
        "jsonb_path_query"
        | "jsonb_path_query_array"
        | "jsonb_path_query_first"
        | "jsonb_path_exists"
        | "jsonb_path_match" => vec![Jsonb, Text, Jsonb, Boolean],
        "jsonb_path_exists_opr" | "jsonb_path_match_opr" => vec![Jsonb, Text],
        "jsonb_object_keys"
        | "jsonb_each_keys"
        | "jsonb_each_values"
        | "jsonb_each_text_keys"
        | "jsonb_each_texts"
        | "jsonb_array_elements"
        | "jsonb_array_elements_text"
        | "jsonb_extract_path" => vec![Jsonb],
        "json_object_keys"
        | "json_each_keys"
        | "json_each_values"
        | "json_each_texts"
        | "json_array_elements"
        | "json_array_elements_text"
        | "json_extract_path"
        | "json_typeof"
        | "json_array_length" => vec![Json],
        "repeat" | "left" | "right" => vec![Text, Integer],
        "lpad" | "rpad" => vec![Text, Integer, Text],
        "split_part" => vec![Text, Text, Integer],
        "abs" | "round" | "trunc" | "ceil" | "floor" | "sqrt" | "cbrt" | "exp" | "ln" | "sign" if arguments == 1 => {
            vec![Double]
        }
        _ => Vec::new(),
    }
}
