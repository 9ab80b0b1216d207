//! The items of WITH RECURSIVE in an order in which each reads only those before it, and itself: PostgreSQL lets them stand in any.

use sql::Span;
use sql::ast::{Cte, Query};

use super::name::folded;
use super::recursion::references;
use crate::error::ErrorKind;
use crate::{Error, Result};

/// Orders the items of a query's WITH.
pub(super) fn in_order(query: &mut Query) -> Result<()> {
    let Some(with) = &mut query.with else { return Ok(()) };
    let names: Vec<String> = with.cte_tables.iter().map(|cte| folded(&cte.alias.name)).collect();
    let again = (0..names.len()).find(|item| names[..*item].contains(&names[*item]));
    if let Some(item) = again {
        let message = format!("WITH query name \"{}\" specified more than once", names[item]);
        return Err(Error::new(ErrorKind::DuplicateAlias, message).at(place(&with.cte_tables[item])));
    }
    if !with.recursive || with.cte_tables.len() < 2 {
        return Ok(());
    }
    let reads = |cte: &Cte, own: usize| -> Vec<usize> {
        let others = (0..names.len()).filter(|item| *item != own);
        others.filter(|item| !references(&*cte.query, &names[*item]).is_empty()).collect()
    };
    let reads: Vec<Vec<usize>> = with.cte_tables.iter().enumerate().map(|(own, cte)| reads(cte, own)).collect();
    let mut left: Vec<usize> = (0..names.len()).collect();
    let mut order = Vec::with_capacity(left.len());
    while let Some(first) = left.first() {
        let Some(ready) = left.iter().position(|item| !reads[*item].iter().any(|read| left.contains(read))) else {
            let message = "mutual recursion between WITH items is not implemented";
            return Err(Error::new(ErrorKind::Unsupported, message).at(place(&with.cte_tables[*first])));
        };
        order.push(left.remove(ready));
    }
    if order.is_sorted() {
        return Ok(());
    }
    let mut items: Vec<Option<Cte>> = std::mem::take(&mut with.cte_tables).into_iter().map(Some).collect();
    with.cte_tables = order.into_iter().filter_map(|item| items[item].take()).collect();
    Ok(())
}

fn place(cte: &Cte) -> Option<Span> {
    Span::of_parser(cte.alias.name.span)
}
