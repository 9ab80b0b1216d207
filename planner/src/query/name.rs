//! The names that PostgreSQL gives to the columns of a SELECT list.

use sql::ast::{AccessExpr, CastKind, DataType, Expr, Function, Query, SelectItem, SetExpr, Subscript, TrimWhereField};

/// What a column without a name is called.
pub(crate) const UNNAMED: &str = "?column?";

/// How sure a name is: a column's or function's own name wins over that of a cast around it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Weak,
    Own,
}

/// The name of a column of this expression.
pub(crate) fn column_name(expr: &Expr) -> String {
    figure(expr).map_or_else(|| UNNAMED.to_owned(), |(name, _)| name)
}

fn figure(expr: &Expr) -> Option<(String, Strength)> {
    let own = |name: &str| Some((name.to_owned(), Strength::Own));
    match expr {
        Expr::Identifier(ident) => Some((folded(ident), Strength::Own)),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| (folded(ident), Strength::Own)),
        Expr::CompoundFieldAccess { root, access_chain } => access_chain
            .iter()
            .rev()
            .find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Some((folded(ident), Strength::Own)),
                AccessExpr::Dot(_) | AccessExpr::Subscript(Subscript::Index { .. } | Subscript::Slice { .. }) => None,
            })
            .or_else(|| figure(root)),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::Function(function) => figure_function(function),
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon | CastKind::TryCast | CastKind::SafeCast,
            expr,
            data_type,
            ..
        } => match figure(expr) {
            Some((name, Strength::Own)) => Some((name, Strength::Own)),
            _ => Some((type_name(data_type), Strength::Weak)),
        },
        Expr::TypedString(typed) => Some((type_name(&typed.data_type), Strength::Weak)),
        Expr::Interval(_) => Some(("interval".to_owned(), Strength::Weak)),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, Strength::Own)) => Some((name, Strength::Own)),
            _ => Some(("case".to_owned(), Strength::Weak)),
        },
        Expr::Exists { negated: false, .. } => own("exists"),
        Expr::Subquery(query) => figure_subquery(query),
        Expr::Array(_) => own("array"),
        Expr::Tuple(_) => own("row"),
        Expr::Extract { .. } => own("extract"),
        Expr::Ceil { .. } => own("ceil"),
        Expr::Floor { .. } => own("floor"),
        Expr::Position { .. } => own("position"),
        Expr::Substring { shorthand: true, .. } => own("substr"),
        Expr::Substring { .. } => own("substring"),
        Expr::Overlay { .. } => own("overlay"),
        Expr::Trim { trim_where, .. } => own(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            Some(TrimWhereField::Both) | None => "btrim",
        }),
        Expr::AtTimeZone { .. } => own("timezone"),
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => own("grouping"),
        _ => None,
    }
}

fn figure_function(function: &Function) -> Option<(String, Strength)> {
    let name = folded(function.name.0.last()?.as_ident()?);
    Some((name, Strength::Own))
}

/// A scalar subquery is named as its one column.
fn figure_subquery(query: &Query) -> Option<(String, Strength)> {
    let mut body = &query.body;
    loop {
        match &**body {
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Query(query) => body = &query.body,
            SetExpr::Values(_) => return Some(("column1".to_owned(), Strength::Own)),
            SetExpr::Select(select) => {
                return match select.projection.first()? {
                    SelectItem::UnnamedExpr(expr) => figure(expr),
                    SelectItem::ExprWithAlias { alias, .. } => Some((folded(alias), Strength::Own)),
                    _ => None,
                };
            }
            _ => return None,
        }
    }
}

/// The short name of a type, as PostgreSQL's own catalog has it.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean | DataType::Bool => "bool".to_owned(),
        DataType::SmallInt(_) | DataType::Int2(_) => "int2".to_owned(),
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4".to_owned(),
        DataType::BigInt(_) | DataType::Int8(_) => "int8".to_owned(),
        DataType::Real | DataType::Float4 => "float4".to_owned(),
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 | DataType::Float(_) => "float8".to_owned(),
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric".to_owned(),
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => "varchar".to_owned(),
        DataType::Char(_) | DataType::Character(_) => "bpchar".to_owned(),
        DataType::Time(_, sql::ast::TimezoneInfo::Tz | sql::ast::TimezoneInfo::WithTimeZone) => "timetz".to_owned(),
        DataType::Time(..) => "time".to_owned(),
        DataType::Timestamp(_, sql::ast::TimezoneInfo::Tz | sql::ast::TimezoneInfo::WithTimeZone) => {
            "timestamptz".to_owned()
        }
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Interval { .. } => "interval".to_owned(),
        DataType::Array(
            sql::ast::ArrayElemTypeDef::SquareBracket(element, _) | sql::ast::ArrayElemTypeDef::AngleBracket(element),
        ) => type_name(element),
        DataType::Custom(name, _) => {
            name.0.last().and_then(|part| part.as_ident()).map_or_else(|| name.to_string(), folded)
        }
        other => other.to_string().to_lowercase(),
    }
}

/// An identifier as PostgreSQL folds it.
pub(crate) fn folded(ident: &sql::ast::Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}
