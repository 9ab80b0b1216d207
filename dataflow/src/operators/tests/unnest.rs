//! `UNNEST`.

use arrow::datatypes::Field;
use datafusion::functions_nested::expr_fn::make_array;
use datafusion::logical_expr::when;
use datafusion::scalar::ScalarValue;

use super::*;

/// Rows of `c1` beside `[c0, c2]` (NULL where `c0` is 0, empty where it is 1) and `[c2]` (NULL where `c2` is).
fn case(keeps_empty: bool) -> Case {
    let kinds = vec![Int, Text, Int];
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let empty = ScalarValue::List(ScalarValue::new_list_nullable(&[], &DataType::Int64));
    let pair = when(col("c0").eq(lit(0_i64)), lit(ScalarValue::Null))
        .when(col("c0").eq(lit(1_i64)), lit(empty))
        .otherwise(make_array(vec![column(0), column(2)]))
        .unwrap();
    let single = when(col("c2").is_null(), lit(ScalarValue::Null)).otherwise(make_array(vec![column(2)])).unwrap();
    let made = Arc::new(Node::Map(Map {
        input: input(0, &kinds, false),
        predicate: None,
        expressions: vec![column(1), pair, single],
        on_error: OnError::Report,
        schema: schema([DataType::Utf8View, list.clone(), list]),
    }));
    let types = schema([DataType::Utf8View, DataType::Int64, DataType::Int64]);
    let unnest = Unnest { input: made, lists: vec![1, 2], columns: vec![0, 1, 2], keeps_empty, schema: types };
    Case { root: Arc::new(Node::Unnest(unnest)), kinds: vec![kinds], form: ViewForm::Bag }
}

fn oracle(world: &World<'_>, keeps_empty: bool) -> Bag<TextRow> {
    let mut bag = Bag::new();
    for (row, weight) in &world.inputs[0] {
        let pair = match row[0] {
            Some(0 | 1) => vec![],
            first => vec![first, row[2]],
        };
        let single: Vec<_> = row[2].map(Some).into_iter().collect();
        let rows = pair.len().max(single.len()).max(usize::from(keeps_empty));
        for place in 0..rows {
            let element = |list: &[Option<i64>]| shown(Int, list.get(place).copied().flatten());
            add(&mut bag, vec![shown(Text, row[1]), element(&pair), element(&single)], *weight);
        }
    }
    bag
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn each_element_is_a_row(steps in steps(vec![3], 3, true), keeps_empty in any::<bool>()) {
        check(&case(keeps_empty), &steps, || move |world: &World<'_>| oracle(world, keeps_empty));
    }
}
