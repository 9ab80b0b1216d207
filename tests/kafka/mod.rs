//! What Kafka promises, on a real broker where there is one: see [`broker`] for which, and what the mock leaves out.

mod alone;
pub mod broker;
mod client;
mod cluster;
mod connector;
mod consistency;
mod faults;
mod lifecycle;
mod outage;
mod outages;
mod restored;
mod sinks;
mod soak;
mod sources;

use libtest_mimic::Trial;

use crate::support::trial;

/// What a test needs beyond what the mock broker has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing: it runs on the mock, too.
    Any,
    /// Apache Kafka.
    Real,
    /// Apache Kafka that the test may stop.
    Own,
}

pub fn trials() -> Vec<Trial> {
    use Needs::{Any, Own, Real};
    let tests: &[(&str, Needs, fn())] = &[
        ("connector::an_older_instance_is_fenced", Real, connector::an_older_instance_is_fenced),
        (
            "connector::a_crash_before_the_commit_leaves_nothing",
            Real,
            connector::a_crash_before_the_commit_leaves_nothing,
        ),
        (
            "connector::markers_at_the_end_of_a_topic_are_passed",
            Real,
            connector::markers_at_the_end_of_a_topic_are_passed,
        ),
        ("connector::added_partitions_are_found", Real, connector::added_partitions_are_found),
        (
            "connector::deleted_records_are_not_passed_over_in_silence",
            Real,
            connector::deleted_records_are_not_passed_over_in_silence,
        ),
        ("connector::a_timestamp_finds_its_offset", Real, connector::a_timestamp_finds_its_offset),
        ("consistency::money_is_only_moved", Any, consistency::money_is_only_moved),
        ("sources::json_becomes_typed_columns", Any, sources::json_becomes_typed_columns),
        ("sources::bad_records_become_dead_letters", Any, sources::bad_records_become_dead_letters),
        ("sources::skip_and_null_policies", Any, sources::skip_and_null_policies),
        ("sources::metadata_is_included", Any, sources::metadata_is_included),
        ("sources::upsert_table_follows_keys_and_tombstones", Any, sources::upsert_table_follows_keys_and_tombstones),
        ("sources::start_latest_skips_what_was_there", Any, sources::start_latest_skips_what_was_there),
        ("sources::start_offsets_are_exact", Any, sources::start_offsets_are_exact),
        (
            "sources::start_timestamp_finds_the_first_record_since",
            Real,
            sources::start_timestamp_finds_the_first_record_since,
        ),
        ("sources::new_partitions_are_found", Real, sources::new_partitions_are_found),
        ("sources::missing_topic_is_an_error_at_create", Real, sources::missing_topic_is_an_error_at_create),
        ("sources::a_restart_goes_on_where_it_was", Any, sources::a_restart_goes_on_where_it_was),
        ("sources::late_view_reads_the_past", Any, sources::late_view_reads_the_past),
        ("sources::the_first_query_waits_for_the_topic", Any, sources::the_first_query_waits_for_the_topic),
        ("sources::windows_close_with_the_watermark", Any, sources::windows_close_with_the_watermark),
        ("sinks::upsert_sink_holds_the_view", Real, sinks::upsert_sink_holds_the_view),
        ("sinks::append_sink_adds_up_to_the_view", Real, sinks::append_sink_adds_up_to_the_view),
        (
            "sinks::a_view_that_is_altered_emits_the_difference",
            Real,
            sinks::a_view_that_is_altered_emits_the_difference,
        ),
        ("sinks::a_restart_repeats_nothing", Real, sinks::a_restart_repeats_nothing),
        ("sinks::a_sink_begins_with_what_is_there", Real, sinks::a_sink_begins_with_what_is_there),
        ("sinks::a_sink_of_a_view_being_built_has_all_of_it", Real, sinks::a_sink_of_a_view_being_built_has_all_of_it),
        ("sinks::a_sink_starts_the_source_it_reads", Real, sinks::a_sink_starts_the_source_it_reads),
        ("outage::broker_goes_away_and_comes_back", Own, outage::broker_goes_away_and_comes_back),
        ("restored::a_restored_server_sends_nothing_twice", Real, restored::a_restored_server_sends_nothing_twice),
        ("restored::of_two_servers_with_one_sink_one_stops", Real, restored::of_two_servers_with_one_sink_one_stops),
        ("lifecycle::sigterm_with_ten_sources_is_quick", Any, lifecycle::sigterm_with_ten_sources_is_quick),
        ("lifecycle::sigterm_drains_and_exits_0", Any, lifecycle::sigterm_drains_and_exits_0),
        ("lifecycle::second_server_on_a_directory_is_refused", Any, lifecycle::second_server_on_a_directory_is_refused),
        ("lifecycle::a_public_address_is_refused", Any, lifecycle::a_public_address_is_refused),
        ("lifecycle::http_tells_health_metrics_and_answers", Any, lifecycle::http_tells_health_metrics_and_answers),
        ("lifecycle::acknowledged_writes_survive_sigkill", Any, lifecycle::acknowledged_writes_survive_sigkill),
        ("alone::what_fails_fails_alone", Real, alone::what_fails_fails_alone),
        ("outages::a_cluster_falls_apart_and_nothing_is_lost", Own, outages::a_cluster_falls_apart_and_nothing_is_lost),
        ("faults::sigkill_loses_nothing_and_repeats_nothing", Real, faults::sigkill_loses_nothing_and_repeats_nothing),
    ];
    let missing = [broker::why_not_real(), broker::why_not_restarted()];
    if let [_, Some(why)] = &missing {
        let on = if missing[0].is_some() { "on librdkafka's mock broker" } else { "without broker restarts" };
        eprintln!("*** Kafka tests run {on}, and tests that need more are IGNORED: {why} ***");
    }
    tests
        .iter()
        .map(|&(name, needs, test)| {
            let ignored = match needs {
                Any => false,
                Real => missing[0].is_some(),
                Own => missing[1].is_some(),
            };
            trial(&format!("kafka::{name}"), test).with_ignored_flag(ignored)
        })
        .chain(soak::minutes().map(|_| trial("kafka::soak::nothing_grows", soak::nothing_grows)))
        .collect()
}
