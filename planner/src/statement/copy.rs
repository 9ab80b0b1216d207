//! COPY … FROM STDIN and TO STDOUT.

use sql::ast::{self, CopyLegacyOption, CopyOption, CopySource, CopyTarget};

use super::plan::{CopyDirection, CopyFormat, CopyPlan, Plan};
use super::table;
use crate::error::ErrorKind;
use crate::query::plan_query;
use crate::{Error, PlanContext, Result};

pub(super) fn plan(copy: &ast::Statement, context: &PlanContext<'_>) -> Result<Plan> {
    let ast::Statement::Copy { source, to, target, options, legacy_options, .. } = copy else {
        return Err(Error::internal("COPY is parsed as COPY"));
    };
    let format = format(options, legacy_options)?;
    let expected = if *to { CopyTarget::Stdout } else { CopyTarget::Stdin };
    if *target != expected {
        let hint = "Use STDIN or STDOUT, or psql's \\copy.";
        return Err(Error::unsupported("COPY with a file or program").with_hint(hint));
    }
    let direction =
        if *to { CopyDirection::Out(Box::new(outgoing(source, context)?)) } else { incoming(source, context)? };
    Ok(Plan::Copy(Box::new(CopyPlan { direction, format })))
}

fn incoming(source: &CopySource, context: &PlanContext<'_>) -> Result<CopyDirection> {
    let CopySource::Table { table_name, columns } = source else {
        return Err(Error::new(ErrorKind::Syntax, "COPY FROM needs a table"));
    };
    let target = table::writable(table_name, context)?;
    let columns = if columns.is_empty() {
        (0..target.object.columns.len()).collect()
    } else {
        columns.iter().map(|ident| target.column(ident)).collect::<Result<Vec<_>>>()?
    };
    let default = |column| if columns.contains(&column) { Ok(None) } else { target.default(column, context).map(Some) };
    let defaults = (0..target.object.columns.len()).map(default).collect::<Result<_>>()?;
    Ok(CopyDirection::In { table: target.object.id, columns, defaults })
}

fn outgoing(source: &CopySource, context: &PlanContext<'_>) -> Result<crate::query::QueryPlan> {
    match source {
        CopySource::Query(query) => plan_query(query, context),
        CopySource::Table { table_name, columns } => {
            let list = if columns.is_empty() {
                "*".to_owned()
            } else {
                columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            match sql::parse_one(&format!("SELECT {list} FROM {table_name}"))?.kind {
                sql::StatementKind::Query(query) => plan_query(&query.query, context).map_err(Error::nowhere),
                _ => Err(Error::internal("a SELECT is a query")),
            }
        }
    }
}

fn format(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<CopyFormat> {
    let unsupported = |what: &dyn std::fmt::Display| Err(Error::unsupported(format!("COPY option {what}")));
    let mut csv = false;
    let (mut delimiter, mut null, mut header, mut quote, mut escape) = (None, None, false, None, None);
    for option in options {
        match option {
            CopyOption::Format(name) => match name.value.to_lowercase().as_str() {
                "csv" => csv = true,
                "text" => csv = false,
                other => return unsupported(&format!("FORMAT {other}")),
            },
            CopyOption::Delimiter(value) => delimiter = Some(*value),
            CopyOption::Null(value) => null = Some(value.clone()),
            CopyOption::Header(value) => header = *value,
            CopyOption::Quote(value) => quote = Some(*value),
            CopyOption::Escape(value) => escape = Some(*value),
            CopyOption::Encoding(name) if name.eq_ignore_ascii_case("utf8") || name.eq_ignore_ascii_case("utf-8") => {}
            other => return unsupported(other),
        }
    }
    for option in legacy {
        match option {
            CopyLegacyOption::Delimiter(value) => delimiter = Some(*value),
            CopyLegacyOption::Null(value) => null = Some(value.clone()),
            CopyLegacyOption::Header => header = true,
            CopyLegacyOption::Csv(parts) => {
                csv = true;
                for part in parts {
                    match part {
                        ast::CopyLegacyCsvOption::Header => header = true,
                        ast::CopyLegacyCsvOption::Quote(value) => quote = Some(*value),
                        ast::CopyLegacyCsvOption::Escape(value) => escape = Some(*value),
                        other => return unsupported(other),
                    }
                }
            }
            other => return unsupported(other),
        }
    }
    if !csv && (quote.is_some() || escape.is_some()) {
        return Err(Error::new(ErrorKind::InvalidOption, "COPY QUOTE and ESCAPE are available only in CSV mode"));
    }
    Ok(CopyFormat {
        csv,
        delimiter: delimiter.unwrap_or(if csv { ',' } else { '\t' }),
        null: null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
        header,
        quote: quote.unwrap_or('"'),
        escape: escape.or(quote).unwrap_or('"'),
    })
}
