#![allow(clippy::unwrap_used)]

use super::*;
use crate::StatementKind;
use crate::statement::{Emit, ExplainTarget, Show, ShowList, SubscribeTarget, Transaction};

fn one(text: &str) -> StatementKind {
    parse_one(text).unwrap_or_else(|error| panic!("{text}: {error:?}")).kind
}

/// `line:column message`, then the hint.
fn refused(text: &str) -> String {
    let Err(error) = parse(text) else { return "accepted".to_owned() };
    let place = error.span.map_or("?".to_owned(), |span| span.start.to_string());
    let hint = error.hint.map_or(String::new(), |hint| format!(" / {hint}"));
    format!("{place} {}{hint}", error.message)
}

#[test]
fn a_script_is_cut_at_semicolons_and_keeps_positions() {
    let script = "-- first\nSELECT 1; ;\n  insert into t values (';') ; /* end */";
    let statements = parse(script).unwrap();
    let texts: Vec<_> = statements.iter().map(|statement| &*statement.text).collect();
    assert_eq!(texts, ["SELECT 1", "insert into t values (';')"]);
    assert_eq!(statements[1].span.start.to_string(), "3:3");
    assert!(parse(" -- nothing\n").unwrap().is_empty());
}

#[test]
fn a_source_has_columns_watermark_includes_and_options() {
    let StatementKind::CreateSource(source) = one(
        "CREATE SOURCE IF NOT EXISTS shop.orders (order_id BIGINT NOT NULL, amount NUMERIC(12,2) DEFAULT 0, tags text[],
            ordered_at TIMESTAMPTZ, WATERMARK FOR ordered_at AS ordered_at - INTERVAL '5 seconds')
         INCLUDE KEY AS k, OFFSET INCLUDE timestamp AS ts
         WITH (connector = 'kafka', brokers = 'localhost:9092', 'kafka.linger.ms' = 5, kafka.debug = off, partitions = -1)
         FORMAT PLAIN ENCODE JSON",
    ) else {
        panic!("not a source")
    };
    assert!(source.if_not_exists);
    assert_eq!(source.name.to_string(), "shop.orders");
    let columns: Vec<_> = source
        .elements
        .columns
        .iter()
        .map(|column| {
            format!(
                "{} {} {} {:?}",
                column.name,
                column.data_type,
                column.not_null,
                column.default.as_ref().map(|d| &d.1)
            )
        })
        .collect();
    assert_eq!(
        columns,
        [
            "order_id BIGINT true None",
            "amount NUMERIC(12,2) false Some(\"0\")",
            "tags TEXT[] false None",
            "ordered_at TIMESTAMPTZ false None"
        ]
    );
    let watermark = source.elements.watermark.unwrap();
    assert_eq!(watermark.expression.to_string(), "ordered_at - INTERVAL '5 seconds'");
    let includes: Vec<_> = source
        .includes
        .iter()
        .map(|include| format!("{} {:?}", include.part, include.name.as_ref().map(|name| name.value.as_str())))
        .collect();
    assert_eq!(includes, ["KEY Some(\"k\")", "OFFSET None", "TIMESTAMP Some(\"ts\")"]);
    let options: Vec<_> = source.options.0.iter().map(|option| format!("{}={}", option.key, option.value)).collect();
    assert_eq!(
        options,
        [
            "connector=kafka",
            "brokers=localhost:9092",
            "kafka.linger.ms=5",
            "kafka.debug=off",
            "partitions=-1",
            "envelope=plain",
            "format=json"
        ]
    );
}

#[test]
fn a_table_has_its_key_at_the_column_or_at_the_end() {
    let StatementKind::CreateTable(table) =
        one("CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(20) NOT NULL CHECK (name <> ''))")
    else {
        panic!("not a table")
    };
    assert!(table.elements.columns[0].primary_key);
    assert_eq!(table.elements.unsupported[0].name, "CHECK");
    let StatementKind::CreateTable(table) = one("CREATE TABLE t (a INT, b INT, CONSTRAINT pk PRIMARY KEY (a, b))")
    else {
        panic!("not a table")
    };
    assert_eq!(table.elements.primary_key.unwrap().0.len(), 2);
}

#[test]
fn a_view_keeps_the_text_of_its_query() {
    let StatementKind::CreateMaterializedView(view) = one(
        "CREATE MATERIALIZED VIEW v (a) AS SELECT  count(*) -- all\n FROM tumble(o, ts, INTERVAL '1 minute') t EMIT ON WINDOW CLOSE",
    ) else {
        panic!("not a view")
    };
    assert_eq!(view.query.text, "SELECT  count(*) -- all\n FROM tumble(o, ts, INTERVAL '1 minute') t");
    assert_eq!(view.query.emit.unwrap().0, Emit::OnWindowClose);
    let StatementKind::CreateView(view) = one("CREATE OR REPLACE VIEW v AS TABLE t") else { panic!("not a view") };
    assert!(view.or_replace);
}

#[test]
fn emit_changes_follows_a_query_and_is_no_alias() {
    let StatementKind::Query(query) = one("SELECT * FROM orders EMIT CHANGES") else { panic!("not a query") };
    assert_eq!(query.query.to_string(), "SELECT * FROM orders");
    assert_eq!(query.emit.unwrap().0, Emit::Changes);
    assert_eq!(query.emit.unwrap().1.start.to_string(), "1:22");
    let StatementKind::Query(query) = one("SELECT emit FROM emit") else { panic!("not a query") };
    assert_eq!(query.emit, None);
}

#[test]
fn subscribe_takes_a_name_or_a_query() {
    let StatementKind::Subscribe(subscribe) = one("SUBSCRIBE TO revenue WITH (snapshot = false)") else { panic!() };
    assert_eq!(subscribe.options.get("snapshot").unwrap().value, "false");
    let StatementKind::Subscribe(subscribe) = one("SUBSCRIBE (SELECT a FROM t)") else { panic!() };
    assert!(matches!(subscribe.target, SubscribeTarget::Query(_)));
}

#[test]
fn show_lists_or_tells_a_setting() {
    let expected = Show::List { list: ShowList::MaterializedViews, schema: None, like: Some("r%".to_owned()) };
    assert_eq!(one("SHOW MATERIALIZED VIEWS LIKE 'r%'"), StatementKind::Show(expected));
    assert_eq!(one("show time zone"), StatementKind::Show(Show::Setting("timezone".to_owned())));
    assert_eq!(
        one("SHOW TRANSACTION ISOLATION LEVEL"),
        StatementKind::Show(Show::Setting("transaction_isolation".to_owned()))
    );
    assert!(matches!(one("SHOW CREATE MATERIALIZED VIEW v"), StatementKind::Show(Show::Create(_))));
}

#[test]
fn settings_have_several_spellings() {
    let StatementKind::Set(set) = one("SET search_path TO a, \"B\"") else { panic!() };
    assert_eq!((set.name.as_str(), set.value.as_deref()), ("search_path", Some("a, B")));
    let StatementKind::Set(set) = one("set local time zone 'Europe/Berlin'") else { panic!() };
    assert_eq!((set.name.as_str(), set.value.as_deref(), set.local), ("timezone", Some("Europe/Berlin"), true));
    assert!(matches!(one("RESET ALL"), StatementKind::Reset(name) if name == "all"));
    let StatementKind::Set(set) = one("SET statement_timeout = DEFAULT") else { panic!() };
    assert_eq!(set.value, None);
}

#[test]
fn transactions_and_prepared_statements_are_read() {
    let StatementKind::Transaction(Transaction::Begin { modes, .. }) =
        one("BEGIN READ ONLY, ISOLATION LEVEL SERIALIZABLE")
    else {
        panic!()
    };
    assert_eq!((modes.read_only, modes.isolation.as_deref()), (Some(true), Some("serializable")));
    assert!(matches!(one("ROLLBACK TO SAVEPOINT a"), StatementKind::Transaction(Transaction::RollbackTo(_))));
    let StatementKind::Prepare(prepare) = one("PREPARE p (int, text) AS SELECT $1, $2") else { panic!() };
    assert_eq!((&*prepare.statement.text, prepare.types.len()), ("SELECT $1, $2", 2));
    let StatementKind::Execute(execute) = one("EXECUTE p (1, 'a')") else { panic!() };
    assert_eq!(execute.arguments.len(), 2);
    assert!(matches!(one("DECLARE c CURSOR FOR SUBSCRIBE TO v"), StatementKind::Declare(_)));
    let StatementKind::Fetch(fetch) = one("FETCH FORWARD 10 FROM c") else { panic!() };
    assert_eq!(fetch.count, Some(10));
    let StatementKind::Fetch(fetch) = one("fetch c") else { panic!() };
    assert_eq!((fetch.count, fetch.name.value.as_str()), (Some(1), "c"));
}

#[test]
fn explain_takes_a_statement_or_a_view() {
    let StatementKind::Explain(explain) = one("EXPLAIN (ANALYZE, VERBOSE off) SELECT 1") else { panic!() };
    assert!(explain.analyze);
    let StatementKind::Explain(explain) = one("EXPLAIN ANALYZE revenue") else { panic!() };
    assert!(explain.analyze && matches!(explain.target, ExplainTarget::Name(_)));
    let StatementKind::Explain(explain) = one("explain create materialized view v as select 1") else { panic!() };
    let ExplainTarget::Statement(statement) = explain.target else { panic!() };
    assert_eq!(&*statement.text, "create materialized view v as select 1");
}

#[test]
fn data_statements_are_postgresqls() {
    assert!(matches!(
        one("INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING *"),
        StatementKind::Insert(_)
    ));
    let StatementKind::Insert(insert) = one("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x") else { panic!() };
    assert_eq!(insert.to_string(), "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x");
    assert!(matches!(one("UPDATE t SET a = 1 WHERE b = 2 RETURNING a"), StatementKind::Update(_)));
    assert!(matches!(one("DELETE FROM t USING s WHERE t.a = s.a"), StatementKind::Delete(_)));
    assert!(matches!(one("COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER)"), StatementKind::Copy(_)));
    assert!(matches!(one("COPY (SELECT 1) TO STDOUT"), StatementKind::Copy(_)));
    assert!(matches!(one("TABLE t"), StatementKind::Query(_)));
    assert!(matches!(one("(SELECT 1) UNION SELECT 2"), StatementKind::Query(_)));
    assert!(matches!(one("SELECT key, partition, offset, timestamp, headers FROM s"), StatementKind::Query(_)));
}

#[test]
fn mistakes_are_told_with_place_and_probable_meaning() {
    let golden = [
        ("SELCT 1", "1:1 syntax error at or near \"SELCT\" / Did you mean \"SELECT\" instead of \"SELCT\"?"),
        ("SELECT a FORM t", "1:15 syntax error at or near \"t\" / Did you mean \"FROM\" instead of \"FORM\"?"),
        (
            "SELECT a FROM t WHER b = 1",
            "1:22 syntax error at or near \"b\" / Did you mean \"WHERE\" instead of \"WHER\"?",
        ),
        ("SELECT 1 +", "1:11 syntax error at end of input / Expected an expression."),
        ("SELECT (1, 2", "1:13 syntax error at end of input / Expected \")\"."),
        ("SELECT 'abc", "1:8 unterminated quoted string at or near \"'abc\""),
        ("SELECT 1;\n  SELECT * FROM 5", "2:17 syntax error at or near \"5\" / Expected a name."),
        ("CREATE SOURCE s (a INT WITH (x = 1)", "1:24 syntax error at or near \"WITH\" / Expected \")\"."),
        (
            "CREATE MATERIALISED VIEW v AS SELECT 1",
            "1:8 syntax error at or near \"MATERIALISED\" / Did you mean \"MATERIALIZED\" instead of \"MATERIALISED\"?",
        ),
        ("CREATE SOURCE s (a INT) WITH (topic 'x')", "1:37 syntax error at or near \"'x'\" / Expected \"=\"."),
        ("CREATE SOURCE s (a INT) WITH (topic = 'x', topic = 'y')", "1:44 option \"topic\" is given twice"),
        ("CREATE FUNCTION f() RETURNS int", "1:1 CREATE FUNCTION is not supported"),
        (
            "CREATE OR REPLACE TABLE t (a INT)",
            "1:1 CREATE OR REPLACE TABLE is not supported / Only views can be replaced; drop the object first.",
        ),
        ("ALTER SEQUENCE s RESTART", "1:1 ALTER SEQUENCE is not supported"),
        ("ALTER TABLE t OWNER TO me", "1:15 ALTER TABLE … OWNER is not supported"),
        ("ALTER TABLE t ADD CHECK (a > 0)", "1:15 ALTER TABLE … ADD CONSTRAINT is not supported"),
        ("ALTER VIEW v AS SELECT 1", "1:14 syntax error at or near \"AS\" / Expected RENAME, SET SCHEMA or SWAP WITH."),
        ("DROP TABEL t", "1:6 syntax error at or near \"TABEL\" / Did you mean \"TABLE\" instead of \"TABEL\"?"),
        ("SHOW", "1:5 syntax error at end of input / Expected SOURCES, TABLES, VIEWS, …, or a setting."),
        (
            "EXPLAIN (ANALYSE) SELECT 1",
            "1:10 syntax error at or near \"ANALYSE\" / Expected LOGICAL, PHYSICAL, INCREMENTAL or ANALYZE.",
        ),
    ];
    let found: Vec<_> = golden.iter().map(|(text, _)| refused(text)).collect();
    let expected: Vec<_> = golden.iter().map(|(_, message)| (*message).to_owned()).collect();
    assert_eq!(found, expected, "{found:#?}");
}

/// Texts that are nearly SQL: words and marks of the dialect in any order, and characters of all sorts.
fn nearly_sql() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let words = vec![
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP BY",
        "ORDER BY",
        "LIMIT",
        "CREATE",
        "SOURCE",
        "TABLE",
        "MATERIALIZED VIEW",
        "SINK",
        "INDEX",
        "STREAM",
        "WITH",
        "AS",
        "(",
        ")",
        "[",
        "]",
        ",",
        ";",
        ".",
        "*",
        "=",
        "<",
        "::",
        "+",
        "-",
        "'x'",
        "'",
        "\"",
        "$1",
        "$$",
        "$a$",
        "E'\\",
        "U&'\\00",
        "1",
        "0x1F",
        "1e9",
        "99999999999999999999",
        "t",
        "v",
        "INTERVAL '1 day'",
        "WATERMARK FOR",
        "PRIMARY KEY",
        "EMIT ON WINDOW CLOSE",
        "EMIT CHANGES",
        "SUBSCRIBE TO",
        "TUMBLE(",
        "HOP(",
        "INSERT INTO",
        "VALUES",
        "UPDATE",
        "SET",
        "DELETE",
        "ON CONFLICT",
        "DO NOTHING",
        "JOIN",
        "ON",
        "USING",
        "LATERAL",
        "UNION ALL",
        "RECURSIVE",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "OVER",
        "PARTITION BY",
        "ROWS",
        "BETWEEN",
        "AND",
        "NOT",
        "NULL",
        "IN",
        "EXISTS",
        "COPY",
        "STDIN",
        "EXPLAIN",
        "ANALYZE",
        "SHOW",
        "DROP",
        "IF EXISTS",
        "CASCADE",
        "FORMAT PLAIN ENCODE JSON",
        "INCLUDE KEY",
        "/*",
        "*/",
        "--",
        "\n",
        "é",
        "\u{0}",
        "\u{1f600}",
    ];
    let word = proptest::sample::select(words).prop_map(str::to_owned);
    let piece = prop_oneof![12 => word, 1 => "\\PC{0,3}"];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.join(" "))
}

proptest::proptest! {
    /// Whatever the text, it is statements or an error whose place is in it.
    #[test]
    fn whatever_bytes_a_text_has_it_is_statements_or_an_error(text in nearly_sql()) {
        if let Err(error) = super::parse(&text) {
            proptest::prop_assert!(!error.to_string().is_empty());
        }
        drop(super::parse_one(&text));
        drop(super::parse_expression(&text));
    }
}
