//! What every adapter must do: one suite, run against RabbitMQ and against the jobs table on both engines; and what only
//! RabbitMQ can get wrong.
//!
//! `AMQP_URL` and `DATABASE_URL` name the servers, as `scripts/test` sets them; what needs a missing one is skipped, loudly.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails")]

mod clock;
mod consume;
mod dead;
mod fixture;
mod foreign;
mod history;
mod privileges;
mod provisioned;
mod publish;
mod rabbitmq;
mod retry;

use fixture::{Kind, run};

/// One test per case and adapter.
macro_rules! conformance {
    ($($module:ident: $($case:ident),+;)+) => {
        conformance! { @adapter on_rabbitmq, RabbitMq, $($module: $($case),+;)+ }
        conformance! { @adapter on_provisioned_rabbitmq, ProvisionedRabbitMq, $($module: $($case),+;)+ }
        conformance! { @adapter on_sqlite_table, SqliteTable, $($module: $($case),+;)+ }
        conformance! { @adapter on_postgres_table, PostgresTable, $($module: $($case),+;)+ }
    };
    (@adapter $adapter:ident, $kind:ident, $($module:ident: $($case:ident),+;)+) => {
        mod $adapter {
            use super::*;
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    run(Kind::$kind, $module::$case).await;
                }
            )+)+
        }
    };
}

conformance! {
    publish:
        everything_published_arrives_once_in_each_bound_queue,
        bytes_arrive_as_they_were,
        unroutable_is_told_apart_from_confirmed,
        publishers_at_the_same_time_dont_mix_up_their_outcomes,
        a_big_batch_is_confirmed_and_arrives,
        an_endless_routing_key_is_an_outcome,
        declaring_again_and_at_the_same_time_changes_nothing,
        an_unknown_queue_is_refused;
    consume:
        consumers_of_a_queue_share_it,
        prefetch_is_a_bound,
        what_a_dropped_consumer_had_comes_back,
        what_is_dropped_without_an_answer_comes_again,
        next_can_be_dropped_at_any_moment,
        a_busy_reader_keeps_what_it_has,
        a_lapsed_lease_costs_its_holder_nothing,
        depth_counts_what_waits;
    retry:
        a_retry_waits_and_keeps_bytes_key_and_history,
        a_retry_blocks_nobody,
        one_batch_takes_all_verdicts_in_any_order,
        an_undeclared_delay_is_still_a_retry,
        an_endless_error_is_no_obstacle,
        an_ack_of_an_older_delivery_doesnt_undo_a_retry_of_the_newest;
    history:
        a_command_goes_to_its_owner_alone,
        a_later_queue_is_filled_from_the_history,
        what_is_too_old_is_not_recalled,
        an_event_that_nobody_hears_is_kept_all_the_same;
    dead:
        dead_letters_are_listed_counted_and_kept,
        the_latest_failure_comes_first,
        replay_keeps_bytes_and_id,
        only_what_was_selected_is_replayed_or_purged,
        what_is_never_answered_ends_as_a_dead_letter;
}
