# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tool that draws and runs mutants: its parts that need neither mutmut nor a run of the tests."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

import mutants
from mutant_text import Mutant, as_mutant, changed_lines, function_at, is_python, place, statement_lines

SOURCE = """\
def low(value):
    limit = 5
    return value < limit


class Range:
    def high(self, value):
        limit = 5
        return check(
            value,
            limit,
        )
"""


def made(before: str, after: str) -> Mutant:
    mutant = as_mutant("_search", "a.py", SOURCE, SOURCE.replace(before, after))
    assert mutant is not None
    return mutant


def test_a_change_is_told_as_whole_lines() -> None:
    assert changed_lines(["a", "b", "c"], ["a", "B", "c"]) == (1, ["b"], ["B"])
    assert changed_lines(["a", "b", "c"], ["a", "c"]) == (1, ["b"], [])
    assert changed_lines(["a", "b"], ["a", "b", "b"])[1] == ["b"]


def test_a_mutant_has_its_function_line_and_column() -> None:
    mutant = made("value < limit", "value <= limit")
    assert (mutant.function, mutant.line, mutant.column) == ("low", 3, 19)
    assert function_at(SOURCE, 8) == "Range.high"


def test_a_change_that_python_cannot_read_is_no_mutant() -> None:
    assert as_mutant("_search", "a.py", SOURCE, SOURCE.replace("return", "retrun")) is None
    assert not is_python("return return")


def test_a_mutant_is_placed_by_its_text_in_code_that_moved() -> None:
    mutant = made("value < limit", "value <= limit")
    assert place(["", "", *SOURCE.splitlines()], mutant) == 4


def test_of_two_equal_lines_those_around_them_name_the_place() -> None:
    second = SOURCE[:60] + SOURCE[60:].replace("limit = 5", "limit = 6")
    mutant = as_mutant("_search", "a.py", SOURCE, second)
    assert mutant is not None
    assert place(SOURCE.splitlines(), mutant) == 7
    changed_above = SOURCE.replace("def high(self, value)", "def high(self, value: int)")
    assert place(changed_above.splitlines(), mutant) == 7


def test_lines_that_are_gone_or_could_be_meant_twice_have_no_place() -> None:
    mutant = replace(made("value < limit", "value <= limit"), lines_above=["gone"], lines_below=["gone"])
    assert place(SOURCE.replace("value < limit", "value > limit").splitlines(), mutant) is None
    assert place([*SOURCE.splitlines(), *SOURCE.splitlines()], mutant) is None
    assert place(SOURCE.splitlines(), mutant) == 2


def test_a_call_over_several_lines_is_covered_as_one_statement_and_a_block_by_its_head() -> None:
    assert statement_lines(SOURCE, 11, 1) == {9, 10, 11, 12}
    assert statement_lines(SOURCE, 7, 1) == {7}


def test_each_room_gets_its_share() -> None:
    shares = mutants.shared_out(30, list(mutants.ROOMS))
    assert sum(shares.values()) == 30
    assert set(shares.values()) == {3, 4}
    assert all((ROOT / folder).is_dir() for folder in mutants.ROOMS.values())


def test_the_first_failure_is_read_from_the_summary() -> None:
    assert mutants.failure_in("5 passed\n", 0) is None
    assert mutants.failure_in("ERROR tests/unit/test_a.py - NameError\n", 2) == "tests/unit/test_a.py"
    failed = "FAILED tests/unit/test_a.py::test_b[a - b] - assert 1 == 2\nFAILED tests/unit/test_c.py::test_d\n"
    assert mutants.failure_in(failed, 1) == "tests/unit/test_a.py::test_b[a - b]"
    with pytest.raises(RuntimeError, match="pytest ended with 4"):
        mutants.failure_in("no such file\n", 4)


def test_a_run_fails_when_fewer_are_killed_or_a_mutant_has_no_result() -> None:
    one, two = (replace(made("5", "6"), number=n, recorded="killed by a") for n in (1, 2))
    assert mutants.shortfall([one, two], ["killed by b", "killed by c"]) == ""
    assert mutants.shortfall([one, two], ["killed by b", mutants.SURVIVED]) == "Fewer mutants are killed than recorded."
    assert mutants.shortfall([one, two], ["killed by b", mutants.LOST]) == "Some mutants have no result: 2 lost."
    assert "all" in mutants.table([one, two], ["killed by b", mutants.SURVIVED]).splitlines()[-1]


def test_a_written_list_is_read_back(tmp_path: Path) -> None:
    mutant = made("value < limit", "value <= limit")
    mutants.write_list(tmp_path / "list.json", {"seed": 12}, [mutant])
    document, read = mutants.read_list(tmp_path / "list.json")
    assert (document["seed"], read) == (12, [mutant])


def test_the_committed_list_has_mutants_of_every_room_and_what_became_of_them() -> None:
    _document, drawn = mutants.read_list(mutants.LIST)
    assert [mutant.number for mutant in drawn] == list(range(1, 31))
    assert {mutant.room for mutant in drawn} == set(mutants.ROOMS)
    assert all(mutants.is_killed(mutant.recorded) or mutant.recorded == mutants.SURVIVED for mutant in drawn)
