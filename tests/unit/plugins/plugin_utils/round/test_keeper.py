# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a round writes down before it acts, and what is told of rounds that were open on Ctrl+C."""

from __future__ import annotations

import dataclasses
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2 import ownership
from ansible_collections.lowlatency.ec2.plugins.module_utils._search import intents
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.intents import (
    Intent,
    IntentUnreadable,
    open_intents,
    path_of,
    read_intent,
    remove_intent,
    write_intent,
)
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round import keeper
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.keeper import describe, is_over
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import StepFailed
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.open_rounds import Board, interrupted_line
from hypothesis import given
from hypothesis import strategies as st
from support.stage import Stage, make_round, steps_of

INTENT = Intent(
    round_id="test-1-slot-1-0a1b",
    search_id="test",
    slot="slot-1",
    owner="machine:1:2:slot-1",
    group="dc-1",
    expires_at="2025-07-22T07:35:26+00:00",
    began_at="2025-07-22T05:35:26+00:00",
)

TEXTS = st.text(min_size=1, max_size=20)


@given(
    instance_id=st.none() | TEXTS,
    tokens=st.lists(TEXTS).map(tuple),
    promotion=st.none() | st.dictionaries(TEXTS, TEXTS),
    serial=st.integers(0, 99),
)
def test_an_intent_reads_back_as_it_was_written(
    instance_id: str | None, tokens: tuple[str, ...], promotion: dict[str, str] | None, serial: int
) -> None:
    intent = dataclasses.replace(
        INTENT, instance_id=instance_id, client_tokens=tokens, promotion=promotion, serial=serial
    )
    assert Intent.from_dict(intent.to_dict()) == intent


def test_a_file_that_is_no_intent_is_told_and_left(tmp_path: Path) -> None:
    write_intent(str(tmp_path), INTENT)
    spoiled = Path(path_of(str(tmp_path), "spoiled"))
    for text in ("", "{", "[]", '{"schema_version": 2}', '{"schema_version": 1, "round_id": "x"}'):
        spoiled.write_text(text, encoding="utf-8")
        told: list[str] = []
        assert list(open_intents(str(tmp_path), told.append)) == [INTENT]
        assert len(told) == 1 and "spoiled.json" in told[0]
        assert spoiled.read_text(encoding="utf-8") == text
        with pytest.raises(IntentUnreadable):
            read_intent(str(tmp_path), "spoiled")


def test_a_round_that_is_removed_is_no_longer_open(tmp_path: Path) -> None:
    write_intent(str(tmp_path), INTENT)
    remove_intent(str(tmp_path), INTENT.round_id)
    remove_intent(str(tmp_path), INTENT.round_id)
    assert list(open_intents(str(tmp_path), pytest.fail)) == []
    assert list(open_intents(str(tmp_path / "nowhere"), pytest.fail)) == []


@pytest.mark.parametrize(
    ("state", "expires_at", "over"),
    [
        (ownership.GONE, "2100-01-01T00:00:00+00:00", True),
        (ownership.ALIVE, "2000-01-01T00:00:00+00:00", False),
        (ownership.UNKNOWN, "2100-01-01T00:00:00+00:00", False),
        (ownership.UNKNOWN, "2000-01-01T00:00:00+00:00", True),
        (ownership.UNKNOWN, "soon", False),
    ],
)
def test_only_rounds_of_owners_that_are_gone_are_over(state: str, expires_at: str, over: bool) -> None:
    assert is_over(dataclasses.replace(INTENT, expires_at=expires_at), lambda _owner: state) is over


def test_each_step_is_written_down_before_it_is_done(tmp_path: Path) -> None:
    stage = Stage()
    made = make_round(tmp_path, stage)
    step = stage.step
    seen: dict[str, str] = {}

    def noted(name: str) -> None:
        intents = list(open_intents(str(tmp_path), pytest.fail))
        if name != "guard" and intents:
            seen[name] = intents[0].step
        step(name)

    stage.step = noted  # type: ignore[method-assign]
    made.run()
    assert seen == {
        "placement_group": "group",
        "launch": "launch",
        "ssh": "launched",
        "probe": "launched",
        "host_keys": "launched",
        "stop_on_shutdown": "promote",
        "cancel_timer": "promote",
        "protect": "promote",
    }
    assert list(open_intents(str(tmp_path), pytest.fail)) == []


class FullDisk:
    """Writes go through until the disk is full."""

    def __init__(self, patch: pytest.MonkeyPatch, after: int) -> None:
        self._left, self._write = after, intents.write_whole
        patch.setattr(intents, "write_whole", self._limited)

    def _limited(self, *given: t.Any) -> None:
        self._left -= 1
        if self._left < 0:
            raise OSError(28, "No space left on device")
        self._write(*given)


@pytest.mark.parametrize(("after", "last"), [(0, None), (1, "drop_group"), (2, "terminate"), (3, "terminate")], ids=str)
def test_a_full_disk_stops_a_round_and_keeps_nothing_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, last: str | None
) -> None:
    stage = Stage()
    made = make_round(tmp_path, stage, max_rounds=1)
    FullDisk(monkeypatch, after)
    if last is None:
        with pytest.raises(StepFailed, match="cannot be written down: No space left"):
            made.run()
        assert steps_of(stage) == []
        return
    result = made.run()
    assert result["failure"]["code"] == "NotWritten"
    assert steps_of(stage)[-1] == last


class Broken:
    """A guardian that is told of a round, and dies at once when it is told more."""

    def __init__(self) -> None:
        self.started = 0
        self.handed_over = 0
        self.goodbyes = 0
        self.owner = "nowhere:1:1:guardian"
        self.dies = False

    def watch(self, _intent: Intent) -> Broken:
        self.started += 1
        return self

    def finish(self, _intent: Intent) -> None:
        """Nothing was left."""

    def tell(self, intent: Intent) -> None:
        if self.dies and intent.step == "launch":
            raise BrokenPipeError

    def goodbye(self) -> None:
        self.goodbyes += 1

    def hand_over(self) -> None:
        self.handed_over += 1


def test_a_guardian_that_died_is_replaced_before_the_next_step(tmp_path: Path) -> None:
    guardians = Broken()
    guardians.dies = True
    make_round(tmp_path, Stage(), guardians=guardians).run()
    assert (guardians.started, guardians.goodbyes, guardians.handed_over) == (2, 1, 0)


def test_a_round_that_breaks_off_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guardians, stage = Broken(), Stage()
    made = make_round(tmp_path, stage, guardians=guardians)
    monkeypatch.setattr(made, "_measure", lambda _result: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.run()
    assert (guardians.goodbyes, guardians.handed_over) == (0, 1)
    assert stage.said[-1].endswith(f"interrupted_{made.labels.round_id}.json")


def test_a_search_that_is_over_starts_no_guardian(tmp_path: Path) -> None:
    guardians = Broken()
    memory_over = make_round(tmp_path, Stage(), guardians=guardians, max_hours=0.0)
    assert memory_over.run()["verdict"]["stop_reason"] == "budget"
    assert guardians.started == 0
    assert not (tmp_path / "rounds").exists()


def test_an_open_round_is_told_by_the_process_that_began() -> None:
    board = Board()
    board.open("/r/interrupted_a.json")
    assert board.left() == []
    board.begin()
    board.open("/r/interrupted_a.json")
    child = os.fork()
    if child == 0:
        board.open("/r/interrupted_b.json")
        board.close("/r/interrupted_a.json")
        os._exit(0 if board.left() == [] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert board.left() == ["/r/interrupted_b.json"]
    line = interrupted_line(board.left())
    assert "/r/interrupted_b.json" in line and "\n" not in line


def test_what_was_done_and_left_is_a_line_each() -> None:
    report = {
        "did": ["terminated i-1: it was not kept"],
        "left": [{"kind": "placement_group", "id": "dc-1", "why": "i-1 is shutting-down"}],
        "failure": None,
    }
    assert describe(report) == [
        "terminated i-1: it was not kept",
        "placement_group dc-1 is left: i-1 is shutting-down",
    ]
    assert describe(None) == ["no report was written"]
    assert keeper.HAND_OVER_S >= 60
