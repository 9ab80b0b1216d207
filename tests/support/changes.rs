//! Following a relation, epoch by epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{Response, Session};
use futures::StreamExt;

/// What the changes so far add up to: how often each row is there.
pub type Contents = BTreeMap<Vec<String>, i64>;

/// Runs a subscription and adds its changes up. `whole` sees the contents at the end of each epoch that another one follows; the contents are
/// returned when `done` says so. No row may ever be there less than once.
pub fn follow(
    session: &mut Session,
    sql: &str,
    mut whole: impl FnMut(i64, &Contents),
    mut done: impl FnMut(&Contents) -> bool,
) -> Contents {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let statement = session.parse(sql).unwrap().remove(0);
        let Response::Rows(mut rows) = session.run(&statement).await.unwrap() else { panic!("{sql} returns rows") };
        let text = server::text::Text::of(|name| session.setting(name));
        let mut contents = Contents::new();
        let mut last_epoch = None;
        loop {
            let batch = tokio::time::timeout(Duration::from_secs(60), rows.batches.next()).await;
            let batch = batch.unwrap_or_else(|_| panic!("{sql}: changes go on")).expect("it has no end").unwrap();
            for row in text.rows(&rows.columns, &batch).unwrap() {
                let row: Vec<String> = row.into_iter().map(|value| value.unwrap_or("NULL".to_owned())).collect();
                let (epoch, weight): (i64, i64) = (row[0].parse().unwrap(), row[1].parse().unwrap());
                match last_epoch {
                    Some(last) if epoch > last => whole(last, &contents),
                    last => assert!(last.is_none_or(|last| epoch == last), "{sql}: epochs come in order"),
                }
                last_epoch = Some(epoch);
                *contents.entry(row[2..].to_vec()).or_default() += weight;
            }
            contents.retain(|_, weight| *weight != 0);
            assert!(contents.values().all(|weight| *weight > 0), "{sql}: {contents:?}");
            if done(&contents) {
                return contents;
            }
        }
    })
}
