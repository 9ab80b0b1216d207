//! The engine's promises, one by one: views that are built beside running ones, what a crash leaves, what is kept of bad input.

mod altering;
mod building;
mod clock;
mod consistency;
mod recursions;
mod serving;
mod storing;
mod temporal_joins;

use libtest_mimic::Trial;

use crate::support::trial;

pub fn trials() -> Vec<Trial> {
    let tests: &[(&str, fn())] = &[
        ("altering::subscribers_and_readers_get_the_difference", altering::subscribers_and_readers_get_the_difference),
        ("altering::a_crash_leaves_the_old_view_or_the_new_one", altering::a_crash_leaves_the_old_view_or_the_new_one),
        (
            "altering::what_is_cancelled_or_cannot_be_built_leaves_nothing",
            altering::what_is_cancelled_or_cannot_be_built_leaves_nothing,
        ),
        ("altering::an_equal_part_keeps_its_state", altering::an_equal_part_keeps_its_state),
        (
            "altering::an_operator_inside_of_a_plan_keeps_its_state",
            altering::an_operator_inside_of_a_plan_keeps_its_state,
        ),
        (
            "altering::an_operator_is_taken_over_while_rows_arrive",
            altering::an_operator_is_taken_over_while_rows_arrive,
        ),
        (
            "altering::readers_that_rely_on_rows_that_stay_are_built_anew",
            altering::readers_that_rely_on_rows_that_stay_are_built_anew,
        ),
        ("altering::what_a_transaction_makes_appears_together", altering::what_a_transaction_makes_appears_together),
        ("building::a_view_waits_for_the_view_it_reads", building::a_view_waits_for_the_view_it_reads),
        ("building::a_build_cut_short_by_a_crash_begins_again", building::a_build_cut_short_by_a_crash_begins_again),
        ("building::stopping_ends_the_threads_that_build", building::stopping_ends_the_threads_that_build),
        (
            "building::dropping_a_view_that_is_built_leaves_nothing",
            building::dropping_a_view_that_is_built_leaves_nothing,
        ),
        ("building::a_failed_build_says_so_and_is_tried_again", building::a_failed_build_says_so_and_is_tried_again),
        ("building::views_wait_for_their_turn_to_be_built", building::views_wait_for_their_turn_to_be_built),
        (
            "building::a_build_that_cannot_go_on_gives_its_place_away",
            building::a_build_that_cannot_go_on_gives_its_place_away,
        ),
        ("building::equal_views_of_different_age_stay_apart", building::equal_views_of_different_age_stay_apart),
        ("building::a_second_count_over_nothing_is_a_row_too", building::a_second_count_over_nothing_is_a_row_too),
        (
            "building::a_source_is_read_whole_after_its_only_reader_is_gone",
            building::a_source_is_read_whole_after_its_only_reader_is_gone,
        ),
        ("clock::time_passes_by_itself", clock::time_passes_by_itself),
        ("clock::rows_come_and_go_without_input", clock::rows_come_and_go_without_input),
        ("clock::a_clock_that_jumps_stops_nothing", clock::a_clock_that_jumps_stops_nothing),
        ("clock::rows_go_by_the_clock_without_a_watermark", clock::rows_go_by_the_clock_without_a_watermark),
        ("clock::keys_are_forgotten_over_a_restart_too", clock::keys_are_forgotten_over_a_restart_too),
        ("clock::time_goes_on_while_the_engine_is_stopped", clock::time_goes_on_while_the_engine_is_stopped),
        ("temporal_joins::a_row_meets_its_epoch", temporal_joins::a_row_meets_its_epoch),
        ("temporal_joins::a_later_view_meets_what_is_there", temporal_joins::a_later_view_meets_what_is_there),
        ("temporal_joins::versions_are_those_of_the_time", temporal_joins::versions_are_those_of_the_time),
        (
            "consistency::outer_joins_and_views_over_views_agree_in_every_epoch",
            consistency::outer_joins_and_views_over_views_agree_in_every_epoch,
        ),
        ("recursions::a_recursion_keeps_to_its_memory", recursions::a_recursion_keeps_to_its_memory),
        ("recursions::dropping_ends_a_recursion", recursions::dropping_ends_a_recursion),
        (
            "storing::bad_records_count_once_however_often_they_are_read",
            storing::bad_records_count_once_however_often_they_are_read,
        ),
        (
            "storing::views_that_another_version_planned_otherwise_are_named",
            storing::views_that_another_version_planned_otherwise_are_named,
        ),
        ("storing::a_full_disk_refuses_writes_and_recovers", storing::a_full_disk_refuses_writes_and_recovers),
        (
            "storing::a_full_disk_does_not_keep_the_engine_from_stopping",
            storing::a_full_disk_does_not_keep_the_engine_from_stopping,
        ),
        (
            "serving::an_index_made_while_rows_arrive_has_them_all",
            serving::an_index_made_while_rows_arrive_has_them_all,
        ),
        ("serving::a_subscription_adds_up_to_the_view", serving::a_subscription_adds_up_to_the_view),
    ];
    tests.iter().map(|(name, test)| trial(&format!("engine::{name}"), *test)).collect()
}
