"""Every clause of the page has a number, and something that shows it."""

import ast
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

from tests.conformance.checks import CHECKS
from tests.conformance.unseen import UNSEEN
from tests.wire.clauses import TESTS
from tests.wire.golden import FILES, PAGE, clauses_of_the_page, load

REPOSITORY: Final = Path(__file__).parents[2]
CLAUSES: Final = tuple(clauses_of_the_page())
NUMBERS: Final = frozenset(clause.number for clause in CLAUSES)


def shown_by_vectors() -> set[str]:
    return {vector.clause for file in FILES for vector in load(file)}


def test_clauses_are_numbered_in_order_below_their_sections() -> None:
    numbers = defaultdict(list)
    for clause in CLAUSES:
        numbers[clause.section].append(clause.number)
    for section, found in numbers.items():
        # What stands before the first subsection of a section is its part 0.
        above = f"{section}.0" if any(other.startswith(f"{section}.") for other in numbers) else section
        assert found == [f"{above}.{count}" for count in range(1, len(found) + 1)]


def test_every_rule_of_a_list_has_a_clause() -> None:
    rules = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("* ")]
    assert rules
    assert not [rule for rule in rules if not rule.startswith("* **")]


def shown_by_checks() -> set[str]:
    """What tests/conformance asks our own daemon, on each type of socket."""
    return {clause for check in CHECKS for clause in check.clauses}


def test_every_clause_has_a_vector_or_a_test() -> None:
    assert NUMBERS - shown_by_vectors() - set(TESTS) - shown_by_checks() == set()


def test_nothing_shows_a_clause_that_there_is_not() -> None:
    assert shown_by_vectors() | set(TESTS) | shown_by_checks() | set(UNSEEN) <= NUMBERS


def test_what_no_check_asks_has_a_reason() -> None:
    assert NUMBERS - shown_by_checks() == set(UNSEEN) - shown_by_checks()
    assert all(UNSEEN.values())


@pytest.mark.parametrize("node", sorted({node for nodes in TESTS.values() for node in nodes}))
def test_a_test_of_a_clause_is_there(node: str) -> None:
    file, _, name = node.partition("::")
    tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
    assert name in {part.name for part in tree.body if isinstance(part, ast.FunctionDef)}
