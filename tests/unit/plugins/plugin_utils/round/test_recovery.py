# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run finishes for an earlier one: survivors that only their tags know, since nobody came to write them down."""

from __future__ import annotations

import os
import typing as t
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._ec2.ownership import Owner, current_owner, machine_name
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import FileChampionStore
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGone
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.mending import MendingStore
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.recovery import is_left_alone
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.slot import SlotMemory
from support.rounds import rack_probe
from support.stage import Stage, make_round, steps_of

# No process is as old as the machine's first tick and has this id.
GONE = str(Owner(machine_name(), os.getpid(), 1, "slot-1"))
NOW = datetime(2026, 11, 22, 14, 0, tzinfo=timezone.utc)


def document(folder: Path) -> State:
    return FileChampionStore(folder / "champion_state.json").read()


def as_ec2_shows(stage: Stage, owner: str = GONE) -> dict[str, t.Any]:
    """The instance that a round has tagged, whose controller is gone."""
    return {
        "instance_id": stage.instance,
        "instance_type": "c8g.large",
        "placement_group": "g-of-the-round",
        "state": "running",
        "tags": {**stage.options["protect"]["tags"], "lowlatency:owner": owner},
    }


def broken_off(folder: Path, name: str, best_us: float) -> Stage:
    """A round that tagged its candidate as champion, and whose controller ended before the document was written."""
    stage = Stage()
    stage.instance, stage.probe = name, rack_probe(best_us)
    made = make_round(folder, stage, SlotMemory(rounds=1), confirm=False)

    def end(*_given: t.Any, **_more: t.Any) -> t.NoReturn:
        raise ControllerGone("the controller has ended")

    made.store.swap = end  # type: ignore[method-assign]
    with pytest.raises(ControllerGone):
        made.run()
    return stage


def next_run(folder: Path, *tagged: dict[str, t.Any], **options: t.Any) -> Stage:
    stage = Stage()
    stage.instance, stage.probe, stage.tagged = "i-9", rack_probe(300.0), list(tagged)
    make_round(folder, stage, max_rounds=1, **options).run()
    return stage


def test_a_first_champion_that_was_only_tagged_is_taken_in(tmp_path: Path) -> None:
    lost = broken_off(tmp_path, "i-1", 110.0)
    assert document(tmp_path) == State()
    stage = next_run(tmp_path, as_ec2_shows(lost))
    state = document(tmp_path)
    assert state.champion is not None
    assert (state.champion["instance_id"], state.champion["best_us"]) == ("i-1", 110.0)
    assert state.champion["best_addresses"][0]["pin"] == "198.19.1.1"
    assert "known by their tags alone, taken into the champion document: i-1" in stage.said
    assert [stage.options["terminate"]["instance_id"]] == ["i-9"]


def test_of_a_champion_and_a_better_one_that_was_only_tagged_the_better_one_stays(tmp_path: Path) -> None:
    make_round(tmp_path, Stage()).run()
    lost = broken_off(tmp_path, "i-1", 110.0)
    stage = next_run(tmp_path, as_ec2_shows(lost))
    assert document(tmp_path).survivors() == {"i-1"}
    assert document(tmp_path).retiring == ()
    # The old one is ended before anything is launched, the candidate of this round after it.
    assert steps_of(stage).index("terminate") < steps_of(stage).index("placement_group")


def test_one_that_lost_its_race_before_it_was_written_down_is_ended(tmp_path: Path) -> None:
    make_round(tmp_path, Stage()).run()
    lost = broken_off(tmp_path, "i-1", 110.0)
    quicker = Stage()
    quicker.instance, quicker.probe = "i-2", rack_probe(105.0)
    make_round(tmp_path, quicker, SlotMemory(rounds=1), confirm=False).run()
    ended: list[str] = []
    stage = Stage()
    stage.instance, stage.probe, stage.tagged = "i-9", rack_probe(300.0), [as_ec2_shows(lost), as_ec2_shows(quicker)]
    run = stage.run

    def note(module: str, step: str, /, **options: t.Any) -> dict[str, t.Any]:
        if step == "terminate":
            ended.append(options["instance_id"])
        return run(module, step, **options)

    stage.run = note  # type: ignore[method-assign]
    make_round(tmp_path, stage, max_rounds=1).run()
    assert ended == ["i-1", "i-9"]
    assert (document(tmp_path).survivors(), document(tmp_path).retiring) == ({"i-2"}, ())


def test_a_survivor_of_a_controller_that_lives_is_left_to_it(tmp_path: Path) -> None:
    lost = broken_off(tmp_path, "i-1", 110.0)
    next_run(tmp_path, as_ec2_shows(lost, current_owner(os.getpid(), "slot-1")))
    assert document(tmp_path).survivors() == {"i-9"}


def test_what_is_in_the_document_already_is_not_written_again(tmp_path: Path) -> None:
    first = Stage()
    make_round(tmp_path, first).run()
    before = document(tmp_path)
    stage = next_run(tmp_path, as_ec2_shows(first))
    assert document(tmp_path) == before
    assert "recover" not in stage.steps, "EC2 has shown it as running"


def test_a_document_that_is_spoiled_in_the_middle_of_a_promotion_comes_back(tmp_path: Path) -> None:
    first = Stage()
    make_round(tmp_path, first).run()
    stage = Stage()
    stage.instance, stage.probe = "i-1", rack_probe(110.0)
    made = make_round(tmp_path, stage, SlotMemory(rounds=1), confirm=False)
    path = tmp_path / "champion_state.json"

    def survivors() -> list[dict[str, t.Any]]:
        return [as_ec2_shows(first)] + ([as_ec2_shows(stage)] if "protect" in stage.options else [])

    made.store = MendingStore(
        FileChampionStore(path), search_id="test", survivors=survivors, say=stage.said.append, guard=stage.check
    )
    command = stage.command

    def spoil(told: str) -> tuple[int, str, str]:
        path.write_bytes(b'{"schema_version": 1,')
        return command(told)

    stage.command = spoil  # type: ignore[method-assign]
    assert made.run()["verdict"]["kind"] == "champion"
    assert document(tmp_path).survivors() == {"i-1"}
    assert stage.options["terminate"]["instance_id"] == "i-0"
    assert len(list(tmp_path.glob("champion_state.json.unreadable-*"))) == 1


@pytest.mark.parametrize(
    ("owner", "since", "left"),
    [
        (GONE, NOW, True),
        (current_owner(os.getpid(), "slot-1"), NOW - timedelta(days=9), False),
        ("f" * 32 + ":1:1:slot-1", NOW - timedelta(minutes=119), False),
        ("f" * 32 + ":1:1:slot-1", NOW - timedelta(minutes=121), True),
        ("nobody", None, True),
    ],
    ids=["gone", "lives", "elsewhere, lately", "elsewhere, long ago", "nobody"],
)
def test_who_is_left_alone(owner: str, since: datetime | None, left: bool) -> None:
    tags = {"lowlatency:owner": owner} | ({"lowlatency:since": since.isoformat()} if since else {})
    assert is_left_alone(tags, NOW, timedelta(minutes=120)) is left


def test_what_tags_say_comes_in_as_plain_text(tmp_path: Path) -> None:
    lost = as_ec2_shows(broken_off(tmp_path, "i-1", 110.0))
    # As it stands in a tag: an escape of a terminal and a line end, of which the tag itself shows nothing.
    lost["tags"]["lowlatency:address"] = "198.19.3.1@1b[31m@0aNew champion"
    unusable = {**lost, "instance_id": "i-2", "tags": {**lost["tags"], "lowlatency:samples": "\x1b[31m\nmany"}}
    stage = next_run(tmp_path, lost, unusable)
    state = document(tmp_path)
    assert state.champion is not None
    assert state.champion["address"] == "198.19.3.1\\x1b[31m New champion"
    assert any(said.startswith("i-2 is left out") for said in stage.said)
    assert not any("\x1b" in said or "\n" in said for said in stage.said)
