//! The name of a relation in FROM as a value: its row, or the one column of a function's rows.

use std::ops::ControlFlow;

use sql::ast::helpers::attached_token::AttachedToken;
use sql::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Select,
    SelectItem, TableFactor, TableWithJoins, Value, Visitor, VisitorMut,
};
use sql::walk;

use super::from_columns::FromColumns;
use super::name::folded;
use super::provider::{Relation, resolve};
use super::recursion::{may_fill_left, may_fill_right};
use super::rewrite::call;
use super::set_returning::single_column;
use crate::PlanContext;

/// `SELECT e FROM jsonb_array_elements(…) AS e`: the alias of a function of one column stands for that column, where no column is called so.
/// The name of another relation stands for its row: `SELECT row_to_json(t) FROM t`. Says whether anything was changed.
pub(super) fn expanded(query: &mut Query, context: &PlanContext<'_>) -> bool {
    let columns = FromColumns::new(context);
    let mut expander = WholeRows { context, columns, scopes: Vec::new(), rows: Vec::new(), changed: false };
    let ControlFlow::Continue(()) = walk::change(query, &mut expander);
    expander.changed
}

/// The query with `f(t)` in the place of `f(t.*)`, if there is any. DataFusion takes `count(t.*)` for `count(*)`.
pub(super) fn named(query: &Query) -> Option<Query> {
    struct Wildcards;
    impl Visitor for Wildcards {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
            let FunctionArguments::List(list) = &function.args else { return ControlFlow::Continue(()) };
            let found = list.args.iter().any(|arg| wildcard(arg).is_some());
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    impl VisitorMut for Wildcards {
        type Break = std::convert::Infallible;

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
            if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = expr {
                for arg in &mut list.args {
                    if let Some(name) = wildcard(arg) {
                        *arg = FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name)));
                    }
                }
            }
            ControlFlow::Continue(())
        }
    }
    if walk::read(query, &mut Wildcards).is_continue() {
        return None;
    }
    let mut query = query.clone();
    let ControlFlow::Continue(()) = walk::change(&mut query, &mut Wildcards);
    Some(query)
}

/// The relation whose `t.*` an argument is.
fn wildcard(arg: &FunctionArg) -> Option<Ident> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) => name.0.last()?.as_ident().cloned(),
        _ => None,
    }
}

struct WholeRows<'a> {
    context: &'a PlanContext<'a>,
    columns: FromColumns<'a>,
    /// Alias and column of the functions in FROM, by SELECT.
    scopes: Vec<Vec<(String, Ident)>>,
    /// Other relations, by SELECT.
    rows: Vec<Vec<Row>>,
    changed: bool,
}

/// The row of a relation.
struct Row {
    alias: String,
    columns: Vec<String>,
    presence: Presence,
}

/// By what a row is told from one of an outer join's NULLs, which is NULL as a whole.
enum Presence {
    /// No outer join makes such.
    Always,
    /// This column is never NULL.
    Column(String),
    /// One of its columns isn't NULL. A row of nothing but NULL is taken for none.
    AnyColumn,
}

impl WholeRows<'_> {
    fn row(&self, name: &Ident) -> Option<&Row> {
        let name = folded(name);
        let mut rows = self.rows.iter().rev().flatten();
        // A column of that name is meant first.
        if self.rows.iter().flatten().any(|row| row.columns.contains(&name)) {
            return None;
        }
        rows.find(|row| row.alias == name)
    }

    /// The columns of the relation that a name stands for, as expressions beside their names.
    fn fields(&self, name: &Ident) -> Option<Vec<(String, Expr)>> {
        let row = self.row(name)?;
        Some(row.columns.iter().map(|column| (column.clone(), field(name, column))).collect())
    }

    /// What is made of the row that a name stands for; NULL where an outer join has none.
    fn if_present(&self, name: &Ident, value: Expr) -> Expr {
        let Some(row) = self.row(name) else { return value };
        let is_there = |column: &String| Expr::IsNotNull(Box::new(field(name, column)));
        let condition = match &row.presence {
            Presence::Always => return value,
            Presence::Column(column) => Some(is_there(column)),
            Presence::AnyColumn => row.columns.iter().map(is_there).reduce(|left, right| Expr::BinaryOp {
                left: Box::new(left),
                op: BinaryOperator::Or,
                right: Box::new(right),
            }),
        };
        let Some(condition) = condition else { return value };
        Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition, result: value }],
            else_result: None,
        }
    }

    /// A relation in FROM, as far as its text or the catalog tell.
    fn row_of(&mut self, factor: &TableFactor, may_be_filled: bool) -> Option<Row> {
        if single_column(factor).is_some() {
            return None;
        }
        let alias = match factor {
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. } => folded(&alias.name),
            TableFactor::Table { name, .. } => folded(name.0.last()?.as_ident()?),
            _ => return None,
        };
        let columns = self.columns.of_factor(factor)?;
        let presence = match may_be_filled {
            true => self.witness(factor, &columns).map_or(Presence::AnyColumn, Presence::Column),
            false => Presence::Always,
        };
        Some(Row { alias, columns, presence })
    }

    /// A column that is never NULL.
    fn witness(&self, factor: &TableFactor, columns: &[String]) -> Option<String> {
        let TableFactor::Table { name, args: None, .. } = factor else { return None };
        let parts: Vec<String> = name.0.iter().map(|part| part.as_ident().map(folded)).collect::<Option<_>>()?;
        if self.columns.is_common_table(&parts) {
            return None;
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let Relation::Object(object) = resolve(self.context, &parts).ok()? else { return None };
        let place = object.columns.iter().position(|column| !column.nullable)?;
        columns.get(place).cloned()
    }

    /// The relations of a SELECT.
    fn rows_of(&mut self, from: &[TableWithJoins]) -> Vec<Row> {
        let mut rows = Vec::new();
        for table in from {
            let relations = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
            for (number, relation) in relations.enumerate() {
                let by_itself = number > 0 && may_fill_right(&table.joins[number - 1].join_operator);
                let later = table.joins[number..].iter().any(|join| may_fill_left(&join.join_operator));
                rows.extend(self.row_of(relation, by_itself || later));
            }
        }
        rows
    }

    /// `count(t)`: of rows that are there.
    fn as_count(&self, function: &mut Function) -> Option<()> {
        if !function.name.to_string().eq_ignore_ascii_case("count") {
            return None;
        }
        let FunctionArguments::List(list) = &mut function.args else { return None };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name)))] = list.args.as_slice() else {
            return None;
        };
        if list.duplicate_treatment.is_some() {
            return None;
        }
        self.row(name)?;
        let one = self.if_present(name, Expr::value(Value::Number("1".to_owned(), false)));
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(one))];
        Some(())
    }

    /// `to_jsonb(t)`, `json_agg(t)`: an object with the columns' names.
    fn as_json(&self, function: &mut Function) -> Option<()> {
        let name = function.name.to_string().to_lowercase();
        let jsonb = match name.as_str() {
            "row_to_json" | "to_json" | "json_agg" => false,
            "to_jsonb" | "jsonb_agg" => true,
            _ => return None,
        };
        let FunctionArguments::List(list) = &mut function.args else { return None };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(row)))] = list.args.as_slice() else {
            return None;
        };
        let members = self
            .fields(row)?
            .into_iter()
            .flat_map(|(name, column)| [Expr::value(Value::SingleQuotedString(name)), column]);
        let object = call(if jsonb { "jsonb_build_object" } else { "json_row" }, members.collect());
        let object = self.if_present(row, object);
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(object))];
        if name == "row_to_json" {
            function.name = sql::ast::ObjectName::from(vec![Ident::new("to_json")]);
        }
        Some(())
    }

    /// `array_to_json(array_agg(t))`, which is `json_agg(t)`.
    fn as_array_of_json(&self, function: &mut Function) -> Option<()> {
        let name = match function.name.to_string().to_lowercase().as_str() {
            "array_to_json" | "to_json" => "json_agg",
            "to_jsonb" => "jsonb_agg",
            _ => return None,
        };
        let FunctionArguments::List(list) = &function.args else { return None };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(array)))] = list.args.as_slice() else {
            return None;
        };
        let FunctionArguments::List(rows) = &array.args else { return None };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(row)))] = rows.args.as_slice() else {
            return None;
        };
        if !array.name.to_string().eq_ignore_ascii_case("array_agg") {
            return None;
        }
        self.row(row)?;
        let array = array.clone();
        *function = Function { name: sql::ast::ObjectName::from(vec![Ident::new(name)]), ..array };
        self.as_json(function)
    }

    /// The column, or the row, that a name stands for.
    fn value(&self, name: &Ident) -> Option<Expr> {
        self.column(name).or_else(|| {
            let fields = self.fields(name)?;
            let row = call("row", fields.into_iter().map(|(_, column)| column).collect());
            Some(self.if_present(name, row))
        })
    }

    /// The column that a name stands for.
    fn column(&self, name: &Ident) -> Option<Expr> {
        let name_folded = folded(name);
        let (_, column) = self.scopes.iter().rev().flatten().find(|(alias, _)| *alias == name_folded)?;
        Some(Expr::CompoundIdentifier(vec![name.clone(), column.clone()]))
    }
}

impl VisitorMut for WholeRows<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.columns.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Self::Break> {
        self.columns.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        let factors = select
            .from
            .iter()
            .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
        let factors: Vec<&TableFactor> = factors.collect();
        self.scopes.push(factors.into_iter().filter_map(single_column).collect());
        let rows = self.rows_of(&select.from);
        self.rows.push(rows);
        for item in &mut select.projection {
            let named = match &*item {
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => self.value(name).map(|expr| (expr, name.clone())),
                SelectItem::UnnamedExpr(Expr::Function(function)) => {
                    let mut replaced = function.clone();
                    let name = Ident::with_quote('"', function.name.to_string().to_lowercase());
                    let done = (self.as_array_of_json(&mut replaced))
                        .or_else(|| self.as_json(&mut replaced))
                        .or_else(|| self.as_count(&mut replaced));
                    done.map(|()| (Expr::Function(replaced), name))
                }
                _ => None,
            };
            if let Some((expr, alias)) = named {
                *item = SelectItem::ExprWithAlias { expr, alias };
                self.changed = true;
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<Self::Break> {
        self.scopes.pop();
        self.rows.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Function(function) = &mut *expr
            && (self.as_array_of_json(function).or_else(|| self.as_json(function)))
                .or_else(|| self.as_count(function))
                .is_some()
        {
            self.changed = true;
        }
        if let Expr::Identifier(name) = &*expr
            && let Some(value) = self.value(name)
        {
            *expr = value;
            self.changed = true;
        }
        ControlFlow::Continue(())
    }
}

fn field(relation: &Ident, column: &str) -> Expr {
    Expr::CompoundIdentifier(vec![relation.clone(), Ident::with_quote('"', column)])
}
