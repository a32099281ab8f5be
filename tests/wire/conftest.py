"""The dimension of the wire that every test of both ends runs over."""

import pytest

from tests.wire.joined import Wire


@pytest.fixture(params=[1, 2, 7, 64, 0], ids=["1 byte", "2 bytes", "7 bytes", "64 bytes", "whole"])
def wire(request: pytest.FixtureRequest) -> Wire:
    return Wire(request.param)
