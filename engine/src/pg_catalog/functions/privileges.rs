//! Privileges: whoever is connected may do everything.

use super::Function;
use crate::SqlType;

pub(super) fn functions() -> Vec<Function> {
    let all = [
        "has_table_privilege",
        "has_schema_privilege",
        "has_database_privilege",
        "has_any_column_privilege",
        "has_column_privilege",
        "has_function_privilege",
        "has_type_privilege",
        "has_language_privilege",
        "has_sequence_privilege",
        "has_server_privilege",
        "has_foreign_data_wrapper_privilege",
        "has_tablespace_privilege",
        "has_parameter_privilege",
        "pg_has_role",
    ];
    let mut functions = Vec::from(all.map(|name| Function::strict(name, SqlType::Boolean, |_, _| Ok(true.into()))));
    functions.push(Function::strict("row_security_active", SqlType::Boolean, |_, _| Ok(false.into())));
    functions
}
