//! The auction benchmark's queries as materialized views: from SQL to operators, as golden text.
//! `INSTA_UPDATE=always cargo test -p planner --test auction_benchmark` rewrites it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::Path;

use catalog::Catalog;
use planner::context::{FunctionRegistry, NoSystemRelations, PlanSettings};
use planner::statement::plan::CreatePlan;
use planner::{Plan, PlanContext, explain};

fn create(catalog: &Catalog, text: &str) -> (Catalog, CreatePlan) {
    let context = PlanContext {
        catalog,
        settings: &PlanSettings::default(),
        system: &NoSystemRelations,
        functions: &FunctionRegistry::default(),
        parameter_types: &[],
    };
    let statement = sql::parse_one(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let Plan::Create(plan) = planner::plan(&statement, &context).unwrap_or_else(|error| panic!("{text}: {error}"))
    else {
        panic!("{text} makes nothing");
    };
    let (catalog, object) = catalog.assign(plan.object.clone());
    (catalog.create(object).unwrap(), *plan)
}

#[test]
fn views_of_the_auction_benchmark() {
    let queries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/queries");
    let tables = fs::read_to_string(queries.join("tables.sql")).unwrap();
    let mut catalog = Catalog::new();
    for statement in tables.split("CREATE").skip(1) {
        let mut statement = format!("CREATE{statement}");
        for table in ["person", "auction", "bid"] {
            let options = format!("connector = 'generator', kind = 'nexmark', table = '{table}'");
            statement = statement.replace(&format!("@{table}@"), &options);
        }
        catalog = create(&catalog, &statement).0;
    }

    let mut text = String::new();
    for query in ["q0", "q1", "q2", "q3", "q4", "q5", "q7", "q8", "q12", "q15", "q16", "q17", "q20", "q22"] {
        let select = fs::read_to_string(queries.join(format!("{query}.sql"))).unwrap();
        let (with_view, plan) = create(&catalog, &format!("CREATE MATERIALIZED VIEW {query} AS {select}"));
        catalog = with_view;
        let name = |id| catalog.get(id).unwrap().name.to_string();
        text += &format!("-- {query}\n{}\n", explain::incremental(&plan.view.unwrap(), &name));
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}
