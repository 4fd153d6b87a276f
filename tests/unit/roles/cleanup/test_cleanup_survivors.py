# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role cleanup as a playbook runs it, against the simulated region in this process."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.intents import Intent, write_intent
from support.leftovers import GONE, PAST, Leftovers
from support.plays import run_playbook
from support.region import TestRegion, Vpc
from support.rounds import champion

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def leftovers(region_api: TestRegion, vpc: Vpc) -> Leftovers:
    return Leftovers(region_api, vpc)


def cleanup(leftovers: Leftovers, folder: Path, *options: str) -> tuple[int, str]:
    """Run the playbook; return its code and what it printed."""
    connection = leftovers.region.connection
    given = {
        "aws_region": connection["region"],
        "aws_endpoint_url": connection["endpoint_url"],
        "aws_access_key": connection["access_key"],
        "aws_secret_key": connection["secret_key"],
        "cleanup_delay_s": 0,
        "cleanup_search_id": "tokyo",
        "search_reports_dir": str(folder),
    }
    leftovers.region.forget_calls()
    done = run_playbook(folder, ROOT / "playbooks/cleanup.yml", given, *options)
    return done.returncode, done.stdout + done.stderr


def test_what_the_document_names_stays_whatever_its_tags_say(leftovers: Leftovers, tmp_path: Path) -> None:
    named = {place: leftovers.round(f"g-{place}", expires_at=PAST) for place in ("champion", "anchor", "qualified")}
    leftovers.round("g-left", expires_at=PAST)
    by_tag = leftovers.round("g-tag", role="champion", owner=GONE)
    state = State(
        champion=champion(110, named["champion"]),
        anchor={"instance_id": named["anchor"]},
        qualified=({"instance_id": named["qualified"]},),
    )
    (tmp_path / "champion_state.json").write_text(json.dumps(state.to_dict()), encoding="utf-8")

    code, told = cleanup(leftovers, tmp_path, "--check")
    assert code == 0, told
    assert leftovers.region.write_calls() == []

    code, told = cleanup(leftovers, tmp_path)
    assert code == 0, told
    assert leftovers.live() == {*named.values(), by_tag}
    assert leftovers.groups() == {"g-champion", "g-anchor", "g-qualified", "g-tag"}


def test_what_was_being_promoted_is_left_to_the_next_search_until_its_time_is_up(
    leftovers: Leftovers, tmp_path: Path
) -> None:
    soon = (datetime.now(timezone.utc) + timedelta(minutes=5)).isoformat()
    open_one = leftovers.round("g-open", expires_at=soon, owner=GONE)
    late_one = leftovers.round("g-late", expires_at=PAST, owner=GONE)
    for instance_id, expires_at in ((open_one, soon), (late_one, PAST)):
        write_intent(str(tmp_path), intent_of(instance_id, expires_at))
    leftovers.round("g-left", expires_at=soon, owner=GONE)

    code, told = cleanup(leftovers, tmp_path)
    assert code == 0, told
    assert leftovers.live() == {open_one}
    assert leftovers.groups() == {"g-open"}


def intent_of(instance_id: str, expires_at: str) -> Intent:
    """A round that was interrupted while it promoted this one."""
    return Intent(
        round_id=f"round-of-{instance_id}",
        search_id="tokyo",
        slot="slot-1",
        owner=GONE,
        group="g",
        expires_at=expires_at,
        began_at=PAST,
        step="promote",
        instance_id=instance_id,
        promotion={"record": {"instance_id": instance_id}},
    )


@pytest.mark.parametrize("broken", ["", "[]", '{"champion": {"instance_id"', '{"foreign": 1}'])
def test_a_document_that_cannot_be_read_spares_everything(leftovers: Leftovers, tmp_path: Path, broken: str) -> None:
    """Nobody knows whom it named: nothing is ended before somebody has looked."""
    (tmp_path / "champion_state.json").write_text(broken, encoding="utf-8")
    leftovers.round("g-left", expires_at=PAST)
    code, told = cleanup(leftovers, tmp_path)
    assert code != 0
    assert "champion_state.json" in told
    assert leftovers.region.write_calls() == []
