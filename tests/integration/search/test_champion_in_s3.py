# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Searches whose champion is kept in the S3 of the lab: from two controllers, and when its document is lost."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from support.lab import Lab
from support.shared_lab import SharedLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

BUCKET, KEY = "champions", "searches/lab.json"
STORE = {"search_champion_store": f"s3://{BUCKET}/{KEY}"}
SHORT = {
    "search_slot_count": 1,
    "search_max_rounds": 1,
    "search_criteria": {"median_us": 1, "best_us": 1},
}


@pytest.fixture(scope="module")
def running_lab(lab_of_worker: SharedLab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = lab_of_worker.as_new(tmp_path_factory.mktemp("champion"), probe_samples=100, **STORE, **SHORT)
    lab.make_bucket(BUCKET)
    return lab


def document(mine: Lab) -> dict[str, t.Any]:
    body = mine.client("s3").get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
    return t.cast("dict[str, t.Any]", json.loads(body))


def test_a_search_keeps_its_champion_in_s3(running_lab: Lab) -> None:
    running_lab.play("search")
    state = document(running_lab)
    assert [each["instance_id"] for each in running_lab.instances()] == [state["champion"]["instance_id"]]
    assert not (running_lab.reports / "champion_state.json").exists()
    tags = running_lab.instances()[0]["tags"]
    assert tags["lowlatency:document"] == STORE["search_champion_store"]
    assert float(tags["lowlatency:best-us"]) == state["champion"]["best_us"]


def test_another_controller_goes_on_with_the_same_champion(running_lab: Lab, tmp_path: Path) -> None:
    before = document(running_lab)["champion"]
    told = running_lab.play("search", search_reports_dir=str(tmp_path / "reports")).stdout
    after = document(running_lab)["champion"]
    # In this region the second rack is nearer than the first. Its instance was compared with a champion of the other
    # controller, whose host key was in the document.
    assert after["instance_id"] != before["instance_id"], told[-3000:]
    assert "in alternation it was lower in" in told
    assert [each["instance_id"] for each in running_lab.instances()] == [after["instance_id"]]


def test_a_spoiled_document_is_put_aside_and_comes_back_from_tags(running_lab: Lab) -> None:
    before = document(running_lab)
    running_lab.client("s3").put_object(Bucket=BUCKET, Key=KEY, Body=b'{"schema_version": 1, "gen')
    told = running_lab.play("champion").stdout
    assert "It cannot be read" in told and before["champion"]["instance_id"] in told
    refused = running_lab.play("cleanup", fails=True).stdout
    assert "Nobody knows which instances it wants kept, and nothing was removed" in refused
    assert [each["instance_id"] for each in running_lab.instances()] == [before["champion"]["instance_id"]]
    told = running_lab.play("search").stdout
    assert re.search(r"is no champion's document.*it is kept as s3://champions/searches/lab\.json\.unreadable-2", told)
    after = document(running_lab)
    assert after["champion"]["best_us"] <= before["champion"]["best_us"]
    assert after["generation"] > before["generation"]
    kept = [each["Key"] for each in running_lab.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert sorted(kept)[0] == KEY and len(kept) == 2
    assert [each["instance_id"] for each in running_lab.instances()] == [after["champion"]["instance_id"]]


@pytest.mark.full
def test_a_person_demotes_adopts_and_rebuilds(running_lab: Lab) -> None:
    before = document(running_lab)
    name = before["champion"]["instance_id"]
    running_lab.play("champion", "--check", champion_state="demoted", champion_instance_id=name)
    assert document(running_lab) == before
    running_lab.play("champion", champion_state="demoted", champion_instance_id=name)
    assert document(running_lab)["champion"] is None
    assert [each["instance_id"] for each in running_lab.instances()] == [name]
    running_lab.play("champion", champion_state="adopted", champion_instance_id=name)
    again = running_lab.play("champion", champion_state="adopted", champion_instance_id=name).stdout
    assert re.search(r"localhost\s+: .*changed=0", again)
    assert document(running_lab)["champion"] == {**before["champion"], "kind": "champion"}
    running_lab.client("s3").delete_object(Bucket=BUCKET, Key=KEY)
    running_lab.play("champion", champion_state="rebuilt")
    assert document(running_lab)["champion"]["instance_id"] == name
