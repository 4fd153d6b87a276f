# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of parts, and the time table that is made of their reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.lab_index import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import test_parts as parts
import test_times as times


def test_names_are_used_once_in_a_level() -> None:
    for level in (parts.TEST, parts.FULL):
        names = [part.name for part in level]
        assert names and len(set(names)) == len(names)


def test_every_part_runs_what_is_there() -> None:
    for part in (*parts.TEST, *parts.FULL):
        paths = [word for word in part.command if word.startswith(("tests/", "tools/"))]
        assert paths
        assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_of_tests_is_in_a_part_of_each_level_it_has_tests_for() -> None:
    run = " ".join(word for part in parts.TEST for word in part.command)
    assert {"tests/unit", "tests/integration", "tests/vm"} <= set(run.split())
    longer = " ".join(word for part in parts.FULL for word in part.command)
    chaos = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/chaos").glob("test_*.py")}
    assert chaos and chaos <= set(longer.split())


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["unit"], ["unit"]),
        (["full", "vm", "bounds"], ["vm", "bounds"]),
        (["full"], [part.name for part in parts.FULL]),
    ],
)
def test_parts_are_chosen_by_name(words: list[str], names: list[str]) -> None:
    assert [part.name for part in parts.chosen(words)] == names


@pytest.mark.parametrize("words", [["chaos-file"], ["full", "nothing"], []])
def test_what_is_no_part_is_named(words: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"PART: '.*' is no part; choose from unit, "):
        parts.chosen(words)


def test_the_page_says_what_each_part_proves() -> None:
    page = " ".join((ROOT / "docs/testing.md").read_text(encoding="utf-8").split())
    for level in (parts.TEST, parts.FULL):
        for part in level:
            assert f"| `{part.name}` | {part.proves}" in page


def test_the_time_table_adds_up(tmp_path: Path) -> None:
    (tmp_path / "unit.json").write_text(json.dumps({"wall_s": 100.0, "cpu_s": 150.0}), encoding="utf-8")
    cases = (
        '<testcase classname="tests.unit.tools.test_test_parts" name="a" time="61.4"/>'
        '<testcase classname="tests.unit.tools.test_test_parts.TestClass" name="b" time="30"/>'
    )
    (tmp_path / "unit.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>", encoding="utf-8")
    notes = [{"kind": "lab", "wall_s": 5.0}, {"kind": "playbook", "wall_s": 20.0}, {"kind": "playbook", "wall_s": 5.0}]
    (tmp_path / "unit.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes), encoding="utf-8")
    part = times.read("unit", tmp_path)
    assert part.by_file == {"tests/unit/tools/test_test_parts.py": pytest.approx(91.4)}
    row = times.table([part]).splitlines()[-1]
    assert row == "| unit | 2 | 1:40 | 75% | 0:05 (1) | 0:25 (2) | - | - | 1:01 |"
    assert times.slowest([part]).endswith("| `tests/unit/tools/test_test_parts.py` | 1:31 |")


def test_a_test_of_no_file_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match=r"no file of tests for tests\.nowhere"):
        times.file_of("tests.nowhere")
