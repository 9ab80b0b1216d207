//! The types that literals and parameters without a type take as arguments of functions.

use catalog::SqlType;

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
