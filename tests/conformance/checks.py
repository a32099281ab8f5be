"""All checks: modules register theirs when they are imported."""

from typing import Final

from tests.conformance import (
    checks_calls,
    checks_datagrams,
    checks_descriptors,
    checks_keys,
    checks_streams,
    checks_vectors,
    judging,
)

MODULES: Final = (
    checks_vectors,
    checks_calls,
    checks_streams,
    checks_descriptors,
    checks_datagrams,
    checks_keys,
)

CHECKS: Final = judging.CHECKS
