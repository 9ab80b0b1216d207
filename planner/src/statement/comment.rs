//! COMMENT ON.

use sql::ast::ObjectName;
use sql::statement::Comment;

use super::plan::{CommentPlan, Plan};
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::query::provider::{name_span, resolve_object};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(comment: &Comment, context: &PlanContext<'_>) -> Result<Plan> {
    if !comment.column {
        let object = resolve_object(context, &comment.name)?.id;
        return Ok(Plan::Comment(CommentPlan { object, column: None, comment: comment.text.clone() }));
    }
    let span = name_span(&comment.name);
    let Some(([.., _], column)) = comment.name.0.split_last().map(|(column, relation)| (relation, column)) else {
        return Err(Error::new(ErrorKind::Syntax, "column name must be qualified").at(span));
    };
    let relation = ObjectName(comment.name.0[..comment.name.0.len() - 1].to_vec());
    let object = resolve_object(context, &relation)?;
    let name = column.as_ident().map(folded).unwrap_or_default();
    let Some(position) = object.column_index(&name) else {
        let hint = object.near_miss_column(&name).map(|near| format!("Did you mean \"{near}\"?"));
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", object.name.name);
        return Err(Error::new(ErrorKind::UndefinedColumn, message).with_hint_if(hint).at(span));
    };
    Ok(Plan::Comment(CommentPlan { object: object.id, column: Some(position), comment: comment.text.clone() }))
}
