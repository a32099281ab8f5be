"""All checks: modules register theirs when they are imported."""

from typing import Final

from tests.conformance import (
    checks_calls,
    checks_datagrams,
    checks_descriptors,
    checks_streams,
    checks_vectors,
    judging,
)

MODULES: Final = (checks_vectors, checks_calls, checks_streams, checks_descriptors, checks_datagrams)

CHECKS: Final = judging.CHECKS
