# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The champion's document in S3: conditions, answers that never came, refusals, and what the lab's S3 makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from types import SimpleNamespace

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search import s3_store
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State, render
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import (
    GenerationConflict,
    StoreError,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.decision import ChampionMismatch
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.s3_store import (
    TRIES,
    WRITES_KEPT,
    WRITES_KEY,
    S3ChampionStore,
    parse_url,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.stores import check_choice
from botocore.exceptions import NoCredentialsError
from support.aws import refused
from support.fake_s3 import BUCKET, KEY, Crash, FakeS3, Objects, refusal
from support.region import ACCESS_KEY, REGION, SECRET_KEY, TestRegion
from support.rounds import champion

PROCESSES, PROPOSALS = 8, 12


class Planned:
    """A store with one event for each of its next requests, and what it did."""

    def __init__(self, objects: Objects, *events: str | None) -> None:
        self.events = list(events)
        self.paused: list[float] = []
        self.client = FakeS3(objects, lambda _action: self.events.pop(0) if self.events else None)
        self.store = S3ChampionStore(self.client, BUCKET, KEY, pause=self.paused.append)


@pytest.fixture
def objects() -> Objects:
    return Objects()


def test_a_missing_object_is_an_empty_document_and_a_champion_costs_one_write(objects: Objects) -> None:
    made = Planned(objects)
    assert made.store.read() == State()
    assert made.store.swap(0, State(champion=champion(120))).generation == 1
    assert made.client.requests == ["GetObject", "PutObject"]
    assert made.store.swap(1, State(champion=champion(110))).generation == 2
    assert made.client.requests == ["GetObject", "PutObject", "PutObject"]


def test_the_generation_in_the_document_counts_not_only_the_etag(objects: Objects) -> None:
    store = Planned(objects).store
    store.swap(0, State(search_id="a"))
    with pytest.raises(GenerationConflict, match="is at generation 1, not 5"):
        store.swap(5, State(search_id="b"))
    assert len(objects.history) == 1


def test_a_champion_of_another_measure_is_refused(objects: Objects) -> None:
    store = Planned(objects).store
    store.swap(0, State(champion=champion(120)))
    with pytest.raises(ChampionMismatch, match="wire time"):
        store.swap(1, State(champion=champion(90, metric="wire")))
    assert store.read().generation == 1


def test_a_writer_that_comes_late_is_refused(objects: Objects) -> None:
    first, second = Planned(objects).store, Planned(objects).store
    assert first.read() == second.read()
    first.swap(0, State(search_id="first"))
    with pytest.raises(GenerationConflict, match="by another writer"):
        second.swap(0, State(search_id="second"))
    assert second.read().search_id == "first"


@pytest.mark.parametrize("event", ["lost_after", "503_after", "lost_before", "503_before"])
def test_a_write_whose_answer_is_lost_is_made_once_and_no_conflict(objects: Objects, event: str) -> None:
    made = Planned(objects)
    made.store.read()
    made.events = [event]
    assert made.store.swap(0, State(search_id="mine")).generation == 1
    assert len(objects.history) == 1
    assert made.store.swap(1, State(search_id="next")).generation == 2


def test_a_lost_write_that_another_writer_built_on_is_still_known_as_made(objects: Objects) -> None:
    mine, other = Planned(objects), Planned(objects)
    mine.store.read()

    def plan(action: str) -> str | None:
        if len(mine.client.requests) == 2:  # the reading back
            other.store.update(lambda state: state.with_qualified({"instance_id": f"i-{state.generation}"}))
        return "lost_after" if action == "PutObject" else None

    mine.client.plan = plan
    assert mine.store.swap(0, State(search_id="mine")).generation == 1
    assert other.store.read().generation == 2 and other.store.read().search_id == "mine"


def test_a_repeated_write_that_meets_itself_is_no_conflict(objects: Objects) -> None:
    """As when a proxy, or a client with retries of its own, sends a request twice."""
    made = Planned(objects)
    made.store.read()
    put = made.client.put_object

    def twice(**request: t.Any) -> t.Any:
        put(**request)
        return put(**request)

    made.client.put_object = twice  # type: ignore[method-assign]
    assert made.store.swap(0, State(search_id="mine")).generation == 1
    assert len(objects.history) == 1


def test_a_conflict_that_s3_sees_coming_is_one(objects: Objects) -> None:
    made = Planned(objects)
    made.store.read()
    made.events = ["409"]
    with pytest.raises(GenerationConflict, match="ConditionalRequestConflict"):
        made.store.swap(0, State(search_id="mine"))
    assert objects.history == []


def test_a_deleted_document_is_a_conflict_and_then_an_empty_one(objects: Objects) -> None:
    store = Planned(objects).store
    store.swap(0, State(search_id="a"))
    del objects.held[KEY]
    with pytest.raises(GenerationConflict):
        store.swap(1, State(search_id="b"))
    assert store.read() == State()


def test_s3_that_stays_away_is_told_after_some_tries(objects: Objects) -> None:
    made = Planned(objects, *["lost_before"] * 100)
    with pytest.raises(StoreError, match=r"s3://champions/tokyo/state\.json cannot be read: ReadTimeoutError"):
        made.store.read()
    assert len(made.client.requests) == TRIES == len(made.paused) + 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (refusal("AccessDenied", 403), "AccessDenied; it takes s3:GetObject and s3:ListBucket"),
        (refusal("NoSuchBucket", 404), "NoSuchBucket; make the bucket first"),
        (NoCredentialsError(), "NoCredentialsError"),
    ],
)
def test_what_no_repetition_mends_is_told_at_once(objects: Objects, error: Exception, told: str) -> None:
    made = Planned(objects)

    def fail(**_request: t.Any) -> t.Any:
        made.client.requests.append("GetObject")
        raise error

    made.client.get_object = fail  # type: ignore[method-assign]
    with pytest.raises(StoreError, match=told):
        made.store.read()
    assert made.client.requests == ["GetObject"]


def test_a_guard_that_raises_leaves_the_old_document(objects: Objects) -> None:
    store = Planned(objects).store

    def guard() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        store.swap(0, State(search_id="new"), guard)
    assert objects.history == []


def test_the_writes_that_an_object_remembers_fit_into_its_metadata(objects: Objects) -> None:
    store = Planned(objects).store
    for generation in range(WRITES_KEPT + 3):
        store.swap(generation, State(search_id=str(generation)))
    kept = objects.held[KEY][2][WRITES_KEY]
    assert len(kept.split()) == WRITES_KEPT
    assert len(WRITES_KEY) + len(kept) < 2048


def test_writers_who_met_wait_longer_and_longer(objects: Objects) -> None:
    made, other = Planned(objects), Planned(objects)
    met = 0

    def change(state: State) -> State:
        nonlocal met
        met += 1
        if met < 9:
            other.store.update(lambda each: each.with_qualified({"instance_id": f"i-{each.generation}"}))
        return state.with_qualified({"instance_id": "mine"})

    made.store.update(change)
    assert len(made.paused) == 8
    assert all(0 <= pause <= 0.02 * 2**number for number, pause in enumerate(made.paused))


@pytest.mark.parametrize(
    "wrong",
    ["s3:bucket/key", "s3://bucket", "s3://bucket/", "s3://B/key", "s3://bucket/a/", "s3://bucket/" + 901 * "k"],
)
def test_a_url_that_names_no_object_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not s3://BUCKET/KEY"):
        check_choice(wrong)


def test_a_url_names_bucket_and_key() -> None:
    assert parse_url("s3://my.bucket-1/searches/tokyo.json") == ("my.bucket-1", "searches/tokyo.json")
    check_choice(None)
    with pytest.raises(ValueError, match="null keeps the document in the reports directory"):
        check_choice("/srv/state.json")


# -- the lab's S3 ---------------------------------------------------------------------------------------


@pytest.fixture(params=["lab", "fake"])
def client(request: pytest.FixtureRequest) -> t.Any:
    """S3 of the lab, and the one that the other tests take for S3."""
    if request.param == "fake":
        return FakeS3(Objects())
    made = request.getfixturevalue("region_api").client("s3")
    made.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return made


def put(client: t.Any, **condition: str) -> str:
    metadata = {WRITES_KEY: "a b"}
    where = {"Bucket": BUCKET, "Key": KEY}
    return str(client.put_object(**where, Body=b"{}", ContentType="text/plain", Metadata=metadata, **condition)["ETag"])


def test_s3_keeps_its_conditions(client: t.Any) -> None:
    with refused("NoSuchKey", 404):
        put(client, IfMatch='"0"')
    etag = put(client, IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        put(client, IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        put(client, IfMatch='"0"')
    put(client, IfMatch=etag)
    found = client.get_object(Bucket=BUCKET, Key=KEY)
    assert (found["Body"].read(), found["Metadata"]) == (b"{}", {WRITES_KEY: "a b"})
    with refused("NoSuchKey", 404):
        client.get_object(Bucket=BUCKET, Key="other")
    copy = {"Bucket": BUCKET, "CopySource": f"{BUCKET}/{KEY}"}
    with refused("PreconditionFailed", 412):
        client.copy_object(**copy, Key="aside", CopySourceIfMatch='"0"')
    client.copy_object(**copy, Key="aside", CopySourceIfMatch=found["ETag"])
    assert client.get_object(Bucket=BUCKET, Key="aside")["Body"].read() == b"{}"


CHILD = """
import json, sys
import boto3
from botocore.config import Config
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.s3_store import CLIENT_CONFIG, S3ChampionStore
from support.rounds import champion

given = json.loads(sys.argv[1])
client = boto3.client("s3", config=Config(**CLIENT_CONFIG), **given["client"])
store = S3ChampionStore(client, given["bucket"], given["key"])
sys.stdin.readline()
for number, best_us in enumerate(given["best_us"]):
    made = champion(best_us, f"i-{given['process']}-{number}")

    def change(state):
        if state.champion is not None and state.champion["best_us"] <= best_us:
            return state
        return state.with_champion(made)

    after = store.update(change)
    print(json.dumps([made["instance_id"], best_us, after.champion == made, after.generation]), flush=True)
"""


def test_eight_controllers_at_once_crown_the_best_and_lose_nobody(region_api: TestRegion) -> None:
    region_api.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    connection = {
        "endpoint_url": region_api.endpoint_url,
        "region_name": REGION,
        "aws_access_key_id": ACCESS_KEY,
        "aws_secret_access_key": SECRET_KEY,
    }
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    children = []
    for process in range(PROCESSES):
        # All go down at the same pace, so that each proposal is better than what most others have proposed so far.
        best_us = [500.0 - 10 * number - process for number in range(PROPOSALS)]
        given = {"client": connection, "bucket": BUCKET, "key": KEY, "process": process, "best_us": best_us}
        children.append(
            subprocess.Popen(
                [sys.executable, "-c", CHILD, json.dumps(given)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        told = [json.loads(line) for child in children for line in child.communicate(timeout=300)[0].splitlines()]
        assert [child.returncode for child in children] == [0] * PROCESSES
    finally:
        for child in children:
            child.kill()
            child.wait(30)
    assert len(told) == PROCESSES * PROPOSALS
    crowned = sorted((generation, best_us, name) for name, best_us, won, generation in told if won)
    # Each win is a generation of its own, and better than the one before.
    assert [generation for generation, _us, _name in crowned] == list(range(1, len(crowned) + 1))
    figures = [best_us for _generation, best_us, _name in crowned]
    assert figures == sorted(set(figures), reverse=True)
    state = S3ChampionStore(region_api.client("s3"), BUCKET, KEY).read()
    assert state.champion is not None
    assert (state.generation, state.champion["best_us"]) == (len(crowned), 500.0 - 10 * (PROPOSALS - 1) - 7)
    assert [each["instance_id"] for each in state.retiring] == [name for _g, _us, name in crowned[:-1]]
    refused_writes = [call for call in region_api.calls if call.service == "s3" and call.code == "412"]
    assert refused_writes, "no two controllers ever met"


# -- what is no document ---------------------------------------------------------------------------------


def test_what_is_no_document_is_copied_before_it_is_replaced(objects: Objects) -> None:
    objects.put(KEY, b"{", {})
    made = Planned(objects)
    aside, written = made.store.replace_unreadable(State(champion=champion(120)))
    assert made.client.requests == ["GetObject", "CopyObject", "PutObject"]
    assert aside.startswith(f"s3://{BUCKET}/{KEY}.unreadable-2")
    assert objects.held[aside.removeprefix(f"s3://{BUCKET}/")][0] == b"{"
    assert made.store.read() == written and written.generation > 10**9


def test_a_second_one_within_a_second_is_kept_too(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "time", SimpleNamespace(time=lambda: 1_800_000_000.5))
    for text in (b"a", b"b", b"c"):
        objects.put(KEY, text, {})
        Planned(objects).store.replace_unreadable(State())
    aside = [held[0] for key, held in objects.held.items() if key.startswith(f"{KEY}.unreadable-20270115T080000Z")]
    assert sorted(aside) == [b"a", b"b", b"c"]


def test_what_another_controller_mended_is_left_alone(objects: Objects) -> None:
    objects.put(KEY, b"{", {})
    first, second = Planned(objects), Planned(objects)

    def plan(action: str) -> str | None:
        if action == "CopyObject":
            first.store.replace_unreadable(State(search_id="first"))
        return None

    second.client.plan = plan
    with pytest.raises(GenerationConflict):
        second.store.replace_unreadable(State(search_id="second"))
    with pytest.raises(GenerationConflict, match="is a document again"):
        second.store.replace_unreadable(State(search_id="second"))
    assert second.store.read().search_id == "first"


def test_a_crash_between_the_two_steps_leaves_what_was_there(objects: Objects) -> None:
    objects.put(KEY, b"{", {})
    with pytest.raises(Crash):
        Planned(objects, None, None, "crash_before").store.replace_unreadable(State())
    assert objects.held[KEY][0] == b"{"
    Planned(objects).store.replace_unreadable(State(search_id="later"))
    assert Planned(objects).store.read().search_id == "later"


def test_a_document_is_not_replaced(objects: Objects) -> None:
    objects.put(KEY, render(State(generation=3)).encode(), {})
    with pytest.raises(GenerationConflict, match="generation 3"):
        Planned(objects).store.replace_unreadable(State())
