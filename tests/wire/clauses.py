"""What shows that superd keeps a clause of the protocol which no vector can show: the tests of its own sockets."""

from collections.abc import Mapping, Sequence
from typing import Final

#: Clause of docs/reference/protocol.md: the tests that show it, as pytest names them.
TESTS: Final[Mapping[str, Sequence[str]]] = {
    "1.1": ["tests/contract/test_contract.py::test_a_typed_call_gives_a_model"],
    "1.3": ["tests/client/test_address.py::test_the_environment_names_the_default"],
    "2.4": [
        "tests/wire/test_framing.py::test_memory_does_not_grow_by_a_declared_length",
        "tests/daemon/test_session.py::test_a_declared_length_costs_no_memory",
    ],
    "2.13": [
        "tests/wire/test_framing.py::test_sending_at_the_limit",
        "tests/wire/test_connection_ends.py::test_a_request_over_the_limit_is_not_begun",
    ],
    "6.3": ["tests/daemon/test_process.py::test_the_document"],
    "7.1.1": ["tests/daemon/test_session.py::test_ten_thousand_requests_in_one_write"],
    "7.3.1": [
        "tests/daemon/test_session.py::test_at_the_limit_the_peer_is_not_read_from",
        "tests/daemon/test_session.py::test_the_limit_of_the_write_buffer",
    ],
    "7.4.2": ["tests/daemon/test_session.py::test_a_peer_that_vanishes_cancels_its_calls"],
    "7.5.3": [
        "tests/client/test_sync.py::test_a_server_that_drains_answers_what_it_has_read_and_gets_no_more"
    ],
    "7.5.5": [
        "tests/client/test_sync.py::test_a_server_that_drains_answers_what_it_has_read_and_gets_no_more"
    ],
    "7.6.5": [
        "tests/wire/test_connection.py::test_a_result_that_does_not_fit_is_a_failure_of_that_call_alone"
    ],
    "7.7.1": ["tests/daemon/test_quotas.py::test_calls_and_streams_of_one_user_on_all_its_connections"],
    "7.7.2": [
        "tests/daemon/test_quota.py::test_nobody_is_starved_below_the_stated_share",
        "tests/daemon/test_quotas.py::test_a_hog_gets_a_half_and_a_modest_peer_does_not_notice",
    ],
    "7.7.3": ["tests/daemon/test_quotas.py::test_calls_and_streams_of_one_user_on_all_its_connections"],
    "7.7.4": [
        "tests/daemon/test_quotas.py::test_a_frame_is_read_when_there_is_room_for_all_of_it",
        "tests/daemon/test_quotas.py::test_one_frame_may_always_be_received",
        "tests/daemon/test_quotas.py::test_params_of_calls_that_run_are_held",
        "tests/daemon/test_quotas.py::test_replies_that_nobody_reads_are_held",
    ],
    "7.7.5": ["tests/daemon/test_quotas.py::test_administrative_methods_get_through_when_all_is_taken"],
    "7.7.6": [
        "tests/daemon/test_quotas.py::test_calls_above_the_rate_are_told_when_to_come_again",
        "tests/daemon/test_quotas.py::test_a_client_comes_again_when_it_was_told",
        "tests/daemon/test_quotas.py::test_a_client_gives_up_after_some_times",
    ],
    "9.6": [
        "tests/client/test_sockets.py::test_a_socket_of_another_type_is_refused",
        "tests/daemon/test_listeners.py::test_one_abstract_name_serves_each_kind_once",
    ],
    "8.17": ["tests/daemon/test_bad_input.py::test_more_faults_than_are_looked_at"],
    "8.18": ["tests/daemon/test_session.py::test_an_error_always_fits_the_smallest_frame"],
    "8.19": ["tests/wire/test_vectors.py::test_what_an_error_says_of_the_work"],
    "12.1": ["tests/wire/test_clauses.py::test_every_clause_has_a_vector_or_a_test"],
    "15.6": [
        "tests/client/test_fd.py::test_faults_of_params_close_everything",
        "tests/client/test_fd.py::test_items_that_are_none_leave_theirs_to_the_caller",
    ],
    "16.1": [
        "tests/client/test_blob.py::test_there_and_back",
        "tests/client/test_blob.py::test_other_base64_is_refused",
        "tests/client/test_blob.py::test_other_shapes_are_refused",
    ],
    "16.2": ["tests/client/test_blob.py::test_there_and_back"],
    "16.3": [
        "tests/client/test_blob.py::test_each_seal_is_needed",
        "tests/client/test_blob.py::test_other_files_are_refused",
    ],
    "16.4": [
        "tests/client/test_blob.py::test_the_size_is_what_is_said",
        "tests/client/test_blob.py::test_a_sparse_one_is_refused",
    ],
    "17.6": [
        "tests/client/test_sync.py::test_a_server_that_drains_answers_what_it_has_read_and_gets_no_more"
    ],
    "17.4": [
        "tests/daemon/test_packet_sessions.py::test_a_result_at_the_size_of_a_packet",
        "tests/daemon/test_packets.py::test_the_largest_frame_is_known",
    ],
    "18.1": [
        "tests/daemon/test_datagrams.py::test_a_call_is_answered",
        "tests/daemon/test_datagrams.py::test_ids_are_of_their_sender",
    ],
    "18.2": [
        "tests/daemon/test_datagrams.py::test_a_sender_without_an_address_gets_no_reply_which_is_logged",
        "tests/daemon/test_datagrams.py::test_a_relative_path_gets_no_reply",
        "tests/daemon/test_datagrams.py::test_another_users_socket_gets_no_reply",
    ],
    "18.3": [
        "tests/daemon/test_datagrams.py::test_the_caller_is_who_sent_the_datagram",
        "tests/daemon/test_datagrams.py::test_what_came_before_credentials_were_asked_for_is_dropped",
    ],
    "18.4": [
        "tests/daemon/test_datagrams.py::test_there_are_no_streams",
        "tests/daemon/test_datagrams.py::test_descriptors_are_refused_and_closed",
    ],
    "18.5": [
        "tests/daemon/test_datagrams.py::test_what_is_no_message_is_refused_and_the_next_is_served",
        "tests/daemon/test_datagrams.py::test_the_frame_limit_holds_for_datagrams",
    ],
    "18.6": [
        "tests/client/test_datagram_clients.py::test_a_full_server_within_the_deadline",
        "tests/daemon/test_datagrams.py::test_a_full_receiver_gets_all_its_replies_once_it_reads",
        "tests/daemon/test_datagrams.py::test_a_receiver_that_never_reads_costs_itself_its_replies",
        "tests/client/test_replies.py::test_the_replies_of_a_user_are_bounded",
        "tests/client/test_replies.py::test_the_replies_of_all_users_are_bounded",
    ],
    "18.7": [
        "tests/daemon/test_datagrams.py::test_a_call_is_cancelled_from_its_own_address_alone",
        "tests/daemon/test_datagrams.py::test_the_other_notifications_of_the_protocol_have_no_effect",
    ],
    "18.8": [
        "tests/daemon/test_superd_stop.py::test_a_datagram_ends_it_in_order",
        "tests/daemon/test_superd_stop.py::test_a_call_is_answered_before",
        "tests/daemon/test_superd_stop.py::test_another_user_is_refused_and_logged",
        "tests/daemon/test_superd_stop.py::test_what_systemd_started_is_for_systemctl",
    ],
    "18.9": [
        "tests/daemon/test_datagrams.py::test_a_reply_is_not_answered",
    ],
    "18.10": [
        "tests/client/test_datagram_clients.py::test_a_reply_may_come_from_another_socket_and_with_nothing_else",
        "tests/client/test_datagram_clients.py::test_replies_that_are_not_its_own_are_ignored",
        "tests/daemon/test_datagrams.py::test_a_sender_that_connected_its_socket_is_answered",
    ],
    "18.11": [
        "tests/daemon/test_datagrams.py::test_the_calls_of_a_user_are_bounded",
        "tests/daemon/test_datagrams.py::test_a_full_socket_is_not_read_and_its_senders_wait",
    ],
    "18.12": [
        "tests/daemon/test_datagrams.py::test_what_was_sent_before_the_drain_is_answered_and_then_senders_are_told",
        "tests/daemon/test_datagrams.py::test_what_waits_in_a_socket_of_systemd_stays_for_the_next_process",
    ],
    "19.2": ["tests/client/test_flows.py::test_hello_ignores_what_it_does_not_know"],
    "19.6": [
        "tests/daemon/test_restart.py::test_a_stream_ends_behind_its_last_item",
        "tests/client/test_flows.py::test_a_stream_that_a_restart_ended_is_not_begun_again",
    ],
    "20.1": [
        "tests/daemon/test_repeats.py::test_a_repeat_gets_the_first_answer_on_whichever_connection",
        "tests/daemon/test_window.py::test_keys_are_of_their_user",
    ],
    "20.2": [
        "tests/client/test_repeats.py::test_a_call_with_a_key_says_since_when",
        "tests/client/test_repeats.py::test_a_refused_call_is_no_use_of_its_key",
    ],
    "20.3": [
        "tests/daemon/test_repeats.py::test_a_repeat_gets_the_first_failure_under_its_own_call_id",
        "tests/daemon/test_repeats.py::test_params_that_do_not_fit_use_no_key_up",
        "tests/daemon/test_repeats.py::test_a_call_whose_deadline_had_passed_may_be_repeated",
    ],
    "20.7": [
        "tests/daemon/test_killed.py::test_what_ran_is_lost",
        "tests/daemon/test_window.py::test_an_end_that_is_not_known",
        "tests/daemon/test_window.py::test_a_dump_is_loaded",
    ],
    "20.8": [
        "tests/daemon/test_repeats.py::test_a_caller_that_vanishes_may_come_back_for_its_answer",
        "tests/daemon/test_repeats.py::test_what_a_cancelled_handler_decides_counts",
        "tests/daemon/test_repeats.py::test_a_thread_that_goes_on_after_the_cancellation",
    ],
    "20.9": [
        "tests/daemon/test_killed.py::test_what_was_never_read_is_carried_out",
        "tests/daemon/test_killed.py::test_without_systemd_nothing_is_known_after_the_end",
        "tests/daemon/test_window.py::test_no_call_is_ever_carried_out_twice",
        "tests/daemon/test_window.py::test_before_the_window_began_nothing_is_known",
    ],
    "20.10": [
        "tests/daemon/test_window.py::test_answers_are_kept_for_the_age_after_their_calls_ended",
        "tests/daemon/test_window.py::test_the_oldest_goes_where_a_user_has_too_many",
        "tests/daemon/test_window.py::test_the_size_of_an_answer",
        "tests/daemon/test_repeats.py::test_more_calls_with_keys_than_are_remembered_run",
    ],
    "20.11": ["tests/daemon/test_repeats.py::test_what_cannot_be_told_again_takes_no_key"],
    "20.12": ["tests/daemon/test_repeats.py::test_a_server_that_stops_begins_no_call_with_a_key"],
    "20.13": ["tests/client/test_repeats.py::test_a_server_that_knows_no_keys_refuses_them"],
    "20.14": [
        "tests/client/test_repeats.py::test_a_refusal_of_the_repeat_leaves_the_outcome_unknown",
        "tests/client/test_repeats.py::test_a_failure_of_the_repeat_is_the_answer",
    ],
}
