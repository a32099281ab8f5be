"""Runs for tests, as the JSON file holds them."""

from collections.abc import Mapping, Sequence
from typing import Any


def cell(rate: float, *, foreign: float = 0.0, seconds: float = 1.0) -> dict[str, Any]:
    """A section of `seconds` in which `rate` calls a second were made, all of it processor time of the two sides."""
    return {
        "calls": rate * seconds,
        "seconds": seconds,
        "client_cpu": seconds / 4,
        "server_cpu": seconds * 3 / 4,
        "foreign": foreign,
        "stolen": 0.0,
        "thrown_away": 0,
        "disturbed": None,
    }


def rounds(*cells: Mapping[str, Any], disturbed: Sequence[int] = ()) -> list[dict[str, Any]]:
    """A round for each of `cells`; in those that are `disturbed`, all of them are."""
    return [
        {
            "round": number,
            "cells": {
                name: {**cell, "disturbed": "by somebody"}
                if number in disturbed and "seconds" in cell
                else cell
                for name, cell in each.items()
            },
        }
        for number, each in enumerate(cells)
    ]


def a_run(**scenarios: list[dict[str, Any]]) -> dict[str, Any]:
    """A run; the keys have underscores for hyphens."""
    return {
        "machine": {"processors": "2 × any", "python": "CPython 3.11.7"},
        "command": "make bench",
        "versions": {"superd": "0.1.0"},
        "quick": False,
        "scenarios": {key.replace("_", "-"): found for key, found in scenarios.items()},
    }
