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
}
