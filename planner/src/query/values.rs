//! VALUES whose rows say the type of a column in some of them only: `VALUES ('{}'::jsonb), (NULL), ('[]')`.

use sql::ast::{self, Expr, SetExpr, Value};

/// Casts literals of a column to the type that another row casts its literal to.
pub(super) fn one_type(body: &mut SetExpr) {
    let SetExpr::Values(values) = body else { return };
    let width = values.rows.first().map_or(0, |row| row.content.len());
    for column in 0..width {
        let types = values.rows.iter().filter_map(|row| row.content.get(column).and_then(written_type));
        let mut types: Vec<ast::DataType> = types.cloned().collect();
        types.dedup();
        let [data_type] = types.as_slice() else { continue };
        for cell in values.rows.iter_mut().filter_map(|row| row.content.get_mut(column)) {
            if is_literal(cell) {
                *cell = Expr::Cast {
                    kind: ast::CastKind::DoubleColon,
                    expr: Box::new(cell.clone()),
                    data_type: data_type.clone(),
                    array: false,
                    format: None,
                };
            }
        }
    }
}

/// The type that a cast, or a literal of a type, names.
fn written_type(expr: &Expr) -> Option<&ast::DataType> {
    match expr {
        Expr::Cast { data_type, .. } => Some(data_type),
        Expr::TypedString(typed) => Some(&typed.data_type),
        Expr::Nested(inner) => written_type(inner),
        _ => None,
    }
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => !matches!(value.value, Value::Placeholder(_)),
        Expr::Nested(inner) => is_literal(inner),
        Expr::UnaryOp { op: ast::UnaryOperator::Minus | ast::UnaryOperator::Plus, expr } => is_literal(expr),
        _ => false,
    }
}
