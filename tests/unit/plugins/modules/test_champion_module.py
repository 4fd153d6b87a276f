# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module champion against the simulated region, with its document in a file and in S3; write calls are counted."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import (
    FileChampionStore,
    MendableStore,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_tags import document_tags, tags_of
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.s3_store import S3ChampionStore
from ansible_collections.lowlatency.ec2.plugins.modules import champion as module
from support.fake_s3 import BUCKET, KEY
from support.region import REGION, TestRegion, Vpc, tag_specifications
from support.rounds import champion

SEARCH = "tokyo"
Result = dict[str, t.Any]
FIGURES = {"best_us": 101.5, "address": "198.19.3.1", "endpoint": "fstream-mm", "metric": "wall", "samples": 500}


class Search:
    """A search's survivors, its document, and runs of the module."""

    def __init__(self, kind: str, region: TestRegion, vpc: Vpc, folder: Path) -> None:
        self.region = region
        self._vpc = vpc
        self._kind = kind
        self._folder = folder
        self._groups = 0
        if kind == "s3":
            where = {"LocationConstraint": REGION}
            region.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
        self.where = {"reports_dir": str(folder)} if kind == "file" else {"store": f"s3://{BUCKET}/{KEY}"}

    @property
    def store(self) -> MendableStore:
        if self._kind == "file":
            return FileChampionStore(self._folder / "champion_state.json")
        return S3ChampionStore(self.region.client("s3"), BUCKET, KEY)

    def spoil(self, text: bytes) -> None:
        if self._kind == "file":
            (self._folder / "champion_state.json").write_bytes(text)
        else:
            self.region.client("s3").put_object(Bucket=BUCKET, Key=KEY, Body=text)

    def instance(self, best_us: float | None = None, **tags: str) -> Result:
        """An instance; with a figure, one that carries the tags of a champion. Returns its entry."""
        self._groups += 1
        group = f"g-{self._groups}"
        self.region.client().create_placement_group(GroupName=group, Strategy="cluster")
        launched = self.region.launch(
            self._vpc,
            "c8g.medium",
            Placement={"GroupName": group},
            TagSpecifications=tag_specifications("instance", {"lowlatency:search-id": SEARCH, "Name": "x"}),
        )
        entry = {
            **champion(best_us or 150.0, launched["InstanceId"]),
            "instance_type": "c8g.medium",
            "placement_group": group,
            "search_id": SEARCH,
            "kind": "champion",
        }
        told = {f"lowlatency:{key.replace('_', '-')}": value for key, value in tags.items()}
        if best_us is not None:
            told = {**tags_of(entry), **document_tags(self.store.identity), "lowlatency:champion": "true", **told}
        if told:
            self.tag(entry["instance_id"], told)
        return entry

    def tag(self, instance_id: str, tags: dict[str, str]) -> None:
        told = [{"Key": key, "Value": value} for key, value in tags.items()]
        self.region.client().create_tags(Resources=[instance_id], Tags=told)

    def tags(self, instance_id: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.region.describe(instance_id)[0]["Tags"]}

    def run(self, state: str = "shown", **options: t.Any) -> Result:
        self.region.forget_calls()
        return self.region.run_module(module.main, state=state, search_id=SEARCH, **{**self.where, **options})

    def refused(self, state: str, **options: t.Any) -> str:
        result = self.run(state, fail_ok=True, **options)
        assert result["failed"] is True
        assert self.writes == []
        return str(result["msg"])

    @property
    def writes(self) -> list[str]:
        return self.region.write_calls()


@pytest.fixture(params=["file", "s3"])
def search(request: pytest.FixtureRequest, region_api: TestRegion, vpc: Vpc, tmp_path: Path) -> Search:
    return Search(request.param, region_api, vpc, tmp_path)


def test_show_tells_the_document_and_its_instances(search: Search) -> None:
    entry = search.instance(120.0)
    gone = champion(110.0, "i-0123456789abcdef0")
    search.store.swap(0, State(search_id=SEARCH, champion=entry, retiring=(gone,)))
    result = search.run()
    assert (result["changed"], result["problem"], result["set_aside"]) == (False, None, None)
    assert result["document"] == search.store.read().to_dict()
    assert result["survivors"] == [entry["instance_id"]]
    told = {each["instance_id"]: (each["places"], each["state"]) for each in result["instances"]}
    assert told == {entry["instance_id"]: (["champion"], "running"), gone["instance_id"]: (["retiring"], "gone")}
    assert search.writes == []


def test_show_of_nothing_is_an_empty_document(search: Search) -> None:
    result = search.run()
    assert (result["document"]["generation"], result["document"]["champion"], result["instances"]) == (0, None, [])
    assert result["store"] == search.store.name


def test_show_of_what_is_no_document_tells_the_problem_and_what_tags_make_of_it(search: Search) -> None:
    entry = search.instance(120.0)
    search.spoil(b"{")
    result = search.run()
    assert (result["changed"], result["survivors"]) == (False, [entry["instance_id"]])
    assert "is no champion's document" in result["problem"]
    assert search.writes == []


def test_rebuilt_puts_it_aside_and_makes_it_anew_once(search: Search) -> None:
    entry = search.instance(120.0)
    search.spoil(b"{")
    checked = search.run("rebuilt", check=True)
    assert (checked["changed"], checked["set_aside"], search.writes) == (True, None, [])
    result = search.run("rebuilt")
    assert result["changed"] and result["set_aside"].startswith(f"{search.store.name}.unreadable-")
    assert result["document"]["champion"] == entry == search.store.read().champion
    assert result["document"] | {"generation": 0} == checked["document"]
    again = search.run("rebuilt")
    assert (again["changed"], again["document"], search.writes) == (False, result["document"], [])


def test_rebuilt_adds_who_is_known_by_tags_alone_and_the_better_one_has_the_seat(search: Search) -> None:
    old, new = search.instance(120.0), search.instance(110.0)
    search.store.swap(0, State(search_id=SEARCH, champion=old))
    result = search.run("rebuilt", diff=True)
    assert result["document"]["champion"] == new
    assert [each["instance_id"] for each in result["document"]["retiring"]] == [old["instance_id"]]
    assert set(result["diff"]["after"]) == {"champion", "retiring"}
    assert search.run("rebuilt")["changed"] is False


def test_rebuilt_leaves_survivors_of_other_documents_to_them_unless_they_are_named(search: Search) -> None:
    entry = search.instance(120.0, document="file://elsewhere/champion_state.json")
    assert search.run("rebuilt")["survivors"] == []
    result = search.run("rebuilt", from_documents=["file://elsewhere/champion_state.json"])
    assert result["survivors"] == [entry["instance_id"]]
    assert document_tags(search.store.identity).items() <= search.tags(entry["instance_id"]).items()
    assert search.run("rebuilt")["changed"] is False


def test_a_document_of_a_later_release_is_refused_with_the_way_out(search: Search) -> None:
    search.spoil(b'{"schema_version": 2, "generation": 1}')
    for state, options in (("shown", {}), ("rebuilt", {}), ("demoted", {"instance_id": "i-0123456789abcdef0"})):
        assert "upgrade lowlatency.ec2 on this controller" in search.refused(state, **options)


def test_adopted_protects_tags_and_seats_once(search: Search) -> None:
    name = search.instance()["instance_id"]
    checked = search.run("adopted", instance_id=name, figures=FIGURES, check=True)
    assert (checked["changed"], search.writes) == (True, [])
    result = search.run("adopted", instance_id=name, figures=FIGURES)
    assert result["changed"]
    assert search.store.read().champion is not None
    seat = result["document"]["champion"]
    assert {key: seat[key] for key in FIGURES} == FIGURES and seat["instance_id"] == name
    tags = search.tags(name)
    assert (tags["lowlatency:role"], tags["lowlatency:champion"], tags["lowlatency:best-us"]) == (
        "champion",
        "true",
        "101.5",
    )
    for attribute in ("disableApiTermination", "disableApiStop"):
        answer = search.region.client().describe_instance_attribute(InstanceId=name, Attribute=attribute)
        assert answer[attribute[0].upper() + attribute[1:]]["Value"] is True
    again = search.run("adopted", instance_id=name, figures=FIGURES)
    assert (again["changed"], search.writes) == (False, [])
    # The tags hold all of it: without the document and without figures it is the same.
    search.spoil(b"")
    assert search.run("rebuilt")["document"]["champion"] == seat
    assert search.run("adopted", instance_id=name)["changed"] is False


def test_adopted_replaces_a_worse_champion_which_retires(search: Search) -> None:
    old, new = search.instance(120.0), search.instance(110.0)
    search.store.swap(0, State(search_id=SEARCH, champion=old))
    result = search.run("adopted", instance_id=new["instance_id"])
    assert result["document"]["champion"]["instance_id"] == new["instance_id"]
    assert [each["instance_id"] for each in result["document"]["retiring"]] == [old["instance_id"]]
    assert search.tags(old["instance_id"])["lowlatency:champion"] == "false"


def test_adopted_refuses_one_that_is_no_better_unless_forced(search: Search) -> None:
    better, worse = search.instance(110.0), search.instance(120.0)
    search.store.swap(0, State(search_id=SEARCH, champion=better))
    told = search.refused("adopted", instance_id=worse["instance_id"])
    assert "120.00 us is no better" in told and "demote that one first, or set force: true" in told
    result = search.run("adopted", instance_id=worse["instance_id"], force=True)
    assert result["document"]["champion"]["instance_id"] == worse["instance_id"]
    # Its tags do not bring the better one back, nor does a document that was lost.
    assert search.run("rebuilt")["changed"] is False
    search.spoil(b"")
    assert search.run("rebuilt")["survivors"] == [worse["instance_id"]]


def test_adopted_refuses_what_cannot_be_compared_or_kept(search: Search) -> None:
    sits, bare = search.instance(120.0), search.instance()
    search.store.swap(0, State(search_id=SEARCH, champion=sits))
    name = bare["instance_id"]
    assert "has no best_us, address, endpoint, metric, samples in its tags" in search.refused(
        "adopted", instance_id=name
    )
    other = {**FIGURES, "metric": "wire"}
    assert "only equal measures are compared" in search.refused("adopted", instance_id=name, figures=other)
    assert "there is no live instance" in search.refused("adopted", instance_id="i-0123456789abcdef0")
    search.spoil(b"{")
    assert "state: rebuilt puts it aside" in search.refused("adopted", instance_id=name, figures=FIGURES)


def test_demoted_leaves_the_document_and_runs_on(search: Search) -> None:
    entry = search.instance(120.0)
    search.store.swap(0, State(search_id=SEARCH, champion=entry, anchor=entry))
    name = entry["instance_id"]
    checked = search.run("demoted", instance_id=name, check=True)
    assert (checked["changed"], checked["survivors"], search.writes) == (True, [], [])
    result = search.run("demoted", instance_id=name, diff=True)
    assert (result["changed"], result["survivors"], result["document"]["retiring"]) == (True, [], [])
    assert set(result["diff"]["before"]) == {"champion", "anchor"}
    assert search.region.states(name) == ["running"]
    tags = search.tags(name)
    assert (tags["lowlatency:role"], tags["lowlatency:champion"]) == ("demoted", "false")
    again = search.run("demoted", instance_id=name)
    assert (again["changed"], search.writes) == (False, [])
    assert search.run("rebuilt")["changed"] is False
    assert search.run("adopted", instance_id=name)["document"]["champion"]["instance_id"] == name


def test_demoted_to_retire_is_ended_by_the_next_search(search: Search) -> None:
    entry = search.instance(120.0)
    search.store.swap(0, State(search_id=SEARCH, champion=entry))
    result = search.run("demoted", instance_id=entry["instance_id"], retire=True)
    assert (result["survivors"], [each["instance_id"] for each in result["document"]["retiring"]]) == (
        [],
        [entry["instance_id"]],
    )
    assert search.run("demoted", instance_id=entry["instance_id"], retire=True)["changed"] is False


def test_a_plain_candidate_is_not_demoted(search: Search) -> None:
    name = search.instance()["instance_id"]
    assert (search.run("demoted", instance_id=name)["changed"], search.writes) == (False, [])


def test_one_that_is_gone_leaves_the_document(search: Search) -> None:
    entry = champion(120.0, "i-0123456789abcdef0")
    search.store.swap(0, State(search_id=SEARCH, champion=entry))
    assert search.run("demoted", instance_id="i-0123456789abcdef0", retire=True)["document"]["retiring"] == []
    assert search.store.read().champion is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"store": "s3://BUCKET"}, "store: 's3://BUCKET' is not s3://BUCKET/KEY"),
        ({"store": "/srv/state.json"}, "null keeps the document in the reports directory"),
        ({}, "one of the following is required: store, reports_dir"),
        ({"reports_dir": "/tmp", "state": "adopted"}, "state is adopted but all of the following are missing"),
    ],
)
def test_bad_input_is_told(region_api: TestRegion, options: dict[str, t.Any], told: str) -> None:
    result = region_api.run_module(module.main, search_id=SEARCH, fail_ok=True, **options)
    assert told in result["msg"]


def test_a_bucket_that_is_not_there_is_told(region_api: TestRegion) -> None:
    result = region_api.run_module(module.main, search_id=SEARCH, store="s3://nowhere/key", fail_ok=True)
    assert "s3://nowhere/key cannot be read: NoSuchBucket; make the bucket first" in result["msg"]


def test_texts_of_tags_and_of_the_document_are_shown_in_one_line(search: Search) -> None:
    entry = search.instance(120.0, endpoint="fstream-mm@1b[31m@0aNew champion")
    search.spoil(b"{")
    told = search.run("rebuilt")["document"]["champion"]["endpoint"]
    assert told == "fstream-mm\\x1b[31m New champion"
    foreign = {**search.store.read().to_dict(), "search_id": "a\x1b]0;owned\x07\nb"}
    search.spoil(json.dumps(foreign).encode())
    assert search.run()["document"]["search_id"] == "a\\x1b]0;owned\\x07 b"
    search.tag(entry["instance_id"], {"lowlatency:search-id": "other\u202e\u2028", "lowlatency:role": "champion"})
    said = search.refused("demoted", instance_id=entry["instance_id"])
    assert "is of the search" in said and said.isprintable()
