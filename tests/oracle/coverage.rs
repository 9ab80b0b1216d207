//! Which constructs the views had, and after how many changes rows had gone from views that have them: what a run has shown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;

/// Constructs by what the text of a view contains, any of the alternatives.
const CONSTRUCTS: &[(&str, &[&str])] = &[
    ("inner join", &[" JOIN "]),
    ("left join", &["LEFT JOIN"]),
    ("right join", &["RIGHT JOIN"]),
    ("full join", &["FULL JOIN"]),
    ("cross join", &["CROSS JOIN"]),
    ("join by a range", &[" BETWEEN r.", " BETWEEN m.", " BETWEEN n."]),
    ("join by a time's range", &["- INTERVAL '1 minute' AND r."]),
    ("NULL-safe key", &["IS NOT DISTINCT FROM r.", "IS NOT DISTINCT FROM m.", "IS NOT DISTINCT FROM n."]),
    ("USING", &[" USING ("]),
    ("NATURAL", &[" NATURAL "]),
    ("ASOF", &[" ASOF "]),
    ("SYSTEM_TIME AS OF a time", &["AS OF l.", "AS OF o."]),
    ("PROCTIME()", &["PROCTIME()"]),
    ("LATERAL subquery", &["LATERAL (SELECT"]),
    ("EXISTS", &["EXISTS (SELECT"]),
    ("NOT EXISTS", &["NOT EXISTS (SELECT"]),
    ("IN", &[" IN (SELECT"]),
    ("NOT IN", &["NOT IN (SELECT"]),
    ("ANY of a subquery", &["ANY (SELECT"]),
    ("ALL of a subquery", &["ALL (SELECT"]),
    (
        "subquery in a subquery",
        &[" FROM t0 AS n WHERE", " FROM t1 AS n WHERE", " FROM bag AS n WHERE", " FROM log AS n WHERE"],
    ),
    ("array of a subquery", &["ARRAY(SELECT"]),
    ("row compared with a subquery", &["(SELECT max(i.", ") = ANY (SELECT i", ") < ALL (SELECT i"]),
    ("row IN", &[") IN (SELECT", ") NOT IN (SELECT"]),
    ("scalar subquery", &["(SELECT max(i", "(SELECT min(", "(SELECT max(", "(SELECT count(*) FROM"]),
    ("first row as a value", &["LIMIT 1)"]),
    ("GROUP BY", &["GROUP BY"]),
    ("HAVING", &["HAVING"]),
    ("GROUP BY a primary key", &[" GROUP BY g.id HAVING", " GROUP BY g.a, g.id", " GROUP BY g.id"]),
    ("aggregate in a subquery of HAVING", &["HAVING EXISTS (SELECT", "HAVING NOT EXISTS (SELECT"]),
    ("CYCLE", &[" CYCLE "]),
    ("GROUP BY ()", &["GROUP BY ()"]),
    ("window function over groups", &["sum(count(*)) OVER", "OVER (ORDER BY count(*)"]),
    ("subquery in an aggregate", &["sum((SELECT", "FILTER (WHERE EXISTS", "FILTER (WHERE NOT EXISTS"]),
    ("star", &["e.*", "SELECT * FROM"]),
    (
        "join in parentheses",
        &["JOIN (t0 AS r", "JOIN (t1 AS r", "JOIN (bag AS r", "JOIN (log AS r", "JOIN (view0 AS r"],
    ),
    ("whole row", &["to_jsonb(e)", "row_to_json(e)", "count(e)"]),
    ("ROLLUP", &["ROLLUP ("]),
    ("CUBE", &["CUBE ("]),
    ("GROUPING SETS", &["GROUPING SETS ("]),
    ("grouping()", &["grouping("]),
    ("FILTER", &["FILTER (WHERE"]),
    ("aggregate of DISTINCT", &["(DISTINCT "]),
    ("aggregate with ORDER BY", &["agg(", "first_value("]),
    ("string_agg", &["string_agg("]),
    ("array_agg", &["array_agg("]),
    ("jsonb_agg", &["jsonb_agg("]),
    ("jsonb_object_agg", &["jsonb_object_agg("]),
    ("percentile_disc", &["percentile_disc("]),
    ("percentile_cont", &["percentile_cont("]),
    ("mode", &["mode()"]),
    ("rank and its kin WITHIN GROUP", &["(2) WITHIN GROUP"]),
    ("approx_distinct", &["approx_distinct("]),
    ("json_agg", &["(json_agg("]),
    ("every", &["every("]),
    ("median", &["median("]),
    ("corr and its kin", &["corr(", "covar_", "regr_"]),
    ("stddev and variance", &["stddev", "var_"]),
    ("bit aggregates", &["bit_"]),
    ("bool_and, bool_or", &["bool_"]),
    ("DISTINCT", &["SELECT DISTINCT "]),
    ("DISTINCT ON", &["DISTINCT ON ("]),
    ("LIMIT", &[" LIMIT "]),
    ("OFFSET", &[" OFFSET "]),
    ("WITH TIES", &["WITH TIES"]),
    ("QUALIFY", &["QUALIFY"]),
    ("first of each", &["AS ranked WHERE"]),
    ("UNION", &[" UNION SELECT", " UNION (SELECT"]),
    ("UNION ALL", &["UNION ALL"]),
    ("INTERSECT", &["INTERSECT SELECT"]),
    ("INTERSECT ALL", &["INTERSECT ALL"]),
    ("EXCEPT", &["EXCEPT SELECT"]),
    ("EXCEPT ALL", &["EXCEPT ALL"]),
    ("VALUES", &["VALUES"]),
    ("LATERAL VALUES", &["LATERAL (VALUES"]),
    ("WINDOW clause", &[" WINDOW w0 AS"]),
    ("common table expressions, two", &["WITH common0a", "WITH common1a", "WITH common2a"]),
    ("common table expression", &["WITH common"]),
    ("WITH RECURSIVE", &["WITH RECURSIVE"]),
    ("unnest", &["unnest("]),
    ("generate_series", &["generate_series("]),
    ("WITH ORDINALITY", &["WITH ORDINALITY"]),
    ("jsonb set-returning", &["jsonb_array_elements", "jsonb_each(", "jsonb_object_keys("]),
    ("split to table", &["_to_table("]),
    ("TUMBLE", &["TUMBLE("]),
    ("HOP", &["HOP("]),
    ("CUMULATE", &["CUMULATE("]),
    ("SESSION", &["SESSION("]),
    ("EMIT ON WINDOW CLOSE", &["EMIT ON WINDOW CLOSE"]),
    ("now()", &["now()"]),
    ("retention", &["retention ="]),
    ("on_error = 'null'", &["on_error = 'null'"]),
    ("window function", &[" OVER ("]),
    ("row_number", &["row_number()"]),
    ("rank", &[" rank() OVER", "(rank() OVER"]),
    ("dense_rank", &["dense_rank()"]),
    ("percent_rank, cume_dist, ntile", &["percent_rank()", "cume_dist()", "ntile("]),
    ("lag, lead", &["lag(", "lead("]),
    ("IGNORE NULLS", &["IGNORE NULLS"]),
    ("first_value, last_value, nth_value", &["first_value(", "last_value(", "nth_value("]),
    ("ROWS frame", &[" ROWS BETWEEN"]),
    ("RANGE frame", &[" RANGE BETWEEN"]),
    ("RANGE frame of time", &["RANGE BETWEEN INTERVAL"]),
    ("GROUPS frame", &[" GROUPS BETWEEN"]),
    ("EXCLUDE", &["EXCLUDE "]),
    ("jsonb", &["->", "JSONB", "jsonb_"]),
    ("array", &["ARRAY[", "[1:2]", ")[1]", "array_", "cardinality("]),
    ("interval", &["INTERVAL '"]),
    ("numeric", &["NUMERIC("]),
    ("date", &["DATE '", "AS DATE)"]),
    ("jsonb_path", &["jsonb_path_"]),
    ("array slices and searches", &["[1:2]", "array_position(", " && "]),
    ("timestamptz", &["TIMESTAMPTZ", "AT TIME ZONE"]),
    ("pattern", &[" ~ '", "SIMILAR TO", " LIKE "]),
    ("CASE", &["CASE "]),
];

/// How many views, and how many times rows had gone from one.
static SEEN: Mutex<BTreeMap<&'static str, (u64, u64)>> = Mutex::new(BTreeMap::new());

/// The constructs of a view's definition.
pub fn constructs(text: &str) -> Vec<&'static str> {
    let has = |alternatives: &&[&str]| alternatives.iter().any(|part| text.contains(part));
    CONSTRUCTS.iter().filter(|(_, alternatives)| has(alternatives)).map(|(name, _)| *name).collect()
}

/// All of their names.
pub fn all() -> impl Iterator<Item = &'static str> {
    CONSTRUCTS.iter().map(|(name, _)| *name)
}

/// A view was made.
pub fn made(constructs: &[&'static str]) {
    let mut seen = SEEN.lock().unwrap();
    constructs.iter().for_each(|name| seen.entry(name).or_default().0 += 1);
}

/// Rows went from it.
pub fn shrank(constructs: &[&'static str]) {
    let mut seen = SEEN.lock().unwrap();
    constructs.iter().for_each(|name| seen.entry(name).or_default().1 += 1);
}

/// What was seen so far: views that have it, and how often one of them lost rows.
pub fn report() -> String {
    let seen = SEEN.lock().unwrap();
    let mut text = String::from("views that have it, times that one lost rows:\n");
    for (place, (name, (views, shrank))) in seen.iter().enumerate() {
        let end = if place % 4 == 3 { "\n" } else { "; " };
        write!(text, "{name} {views}, {shrank}{end}").expect("a text takes more");
    }
    text
}
