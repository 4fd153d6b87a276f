# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a slot remembers, and what is read of a running probe."""

from __future__ import annotations

import json

from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.modules import StepFailed, parse_look
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import EXHAUSTED_S, SlotMemory, dead_man_timer
from hypothesis import given
from hypothesis import strategies as st

TYPES = st.lists(st.sampled_from(["c8g.large", "c7i.large", "c8g.24xlarge", "m7a.large"]), min_size=1, unique=True)


@given(types=TYPES, rounds=st.integers(1, 50))
def test_types_rotate_by_round(types: list[str], rounds: int) -> None:
    memory = SlotMemory(rounds=rounds)
    tried = memory.types_to_try(types, 0.0)
    assert sorted(tried) == sorted(types)
    assert tried[0] == types[(rounds - 1) % len(types)]


@given(types=TYPES, data=st.data())
def test_an_exhausted_type_is_left_out_for_a_while(types: list[str], data: st.DataObject) -> None:
    exhausted = data.draw(st.sets(st.sampled_from(types)))
    memory = SlotMemory(rounds=1, exhausted_until_s=dict.fromkeys(exhausted, 100.0 + EXHAUSTED_S))
    tried = memory.types_to_try(types, 101.0)
    # When every type is exhausted all are tried again: there is nothing better to do.
    assert set(tried) == (set(types) - exhausted or set(types))
    assert set(memory.types_to_try(types, 100.0 + EXHAUSTED_S)) == set(types)


def test_backoff_doubles_from_5_to_60_seconds() -> None:
    assert [SlotMemory(shortages_in_row=n).backoff_s() for n in range(7)] == [0, 5, 10, 20, 40, 60, 60]


def test_dead_man_timer_is_a_script_that_shuts_down() -> None:
    lines = dead_man_timer(90).splitlines()
    assert lines[0] == "#!/bin/sh"
    assert lines[-1] == "shutdown -h +90"


RUNNING = json.dumps({"started": True, "finished": False, "ansible_job_id": "j1"})
PROGRESS = json.dumps({"stage": "measure", "handshakes_done": 10, "handshakes_total": 100})


def test_a_look_at_a_running_probe_shows_its_progress() -> None:
    progress, found = parse_look(f"{PROGRESS}\n\n{RUNNING}")
    assert progress is not None
    assert progress["handshakes_done"] == 10
    assert found is None


def test_a_look_before_the_first_progress() -> None:
    assert parse_look(f"\n{RUNNING}") == (None, None)


def test_a_look_at_a_file_that_is_being_written() -> None:
    assert parse_look(PROGRESS[:20]) == (None, None)


def test_a_look_at_the_result() -> None:
    result = {"changed": False, "handshakes": 5, "endpoints": []}
    assert parse_look(f"{PROGRESS}\n\n{json.dumps(result)}") == (json.loads(PROGRESS), result)


def test_a_failed_step_knows_what_no_further_round_can_mend() -> None:
    assert StepFailed("launch", "UnauthorizedOperation", "no").hopeless
    assert not StepFailed("launch", "RequestLimitExceeded", "slow down").hopeless
    assert StepFailed("launch", "RequestLimitExceeded", "slow down").as_failure() == {
        "code": "RequestLimitExceeded",
        "step": "launch",
        "message": "slow down",
    }
