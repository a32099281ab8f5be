"""The dimension of the wire that every test of both ends runs over."""

from typing import Final

import pytest

from tests.wire.joined import Wire

#: The name under which a test reports how far the model was driven.
FIGURE: Final = "steps of the model of two ends"


@pytest.fixture(params=[1, 2, 7, 64, 0], ids=["1 byte", "2 bytes", "7 bytes", "64 bytes", "whole"])
def wire(request: pytest.FixtureRequest) -> Wire:
    return Wire(request.param)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, steps in report.user_properties:
            if name == FIGURE:
                terminalreporter.write_line(f"{name}: {steps:,}")
