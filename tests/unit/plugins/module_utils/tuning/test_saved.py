# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store of what was wished, turned and found; and that one run at a time may change it."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import pathlib

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import saved
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Host
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import BOOT, Knob, Setting, TuningError
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.paths import STATE, STORE
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.saved import Entry, Store
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.wishes import Wish
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

texts = st.text(max_size=8)
knobs = st.builds(
    Knob,
    id=texts,
    group=texts,
    means=texts,
    target=texts,
    value=st.one_of(texts, st.dictionaries(texts, texts, max_size=2)),
    summary=texts,
    source=texts,
    enabled=st.booleans(),
    effect=st.sampled_from(["now", "boot"]),
    applies_if=st.lists(texts, max_size=2).map(tuple),
    verify=st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
)
wishes = st.builds(
    Wish,
    groups=st.lists(texts, max_size=3).map(tuple),
    knobs=st.dictionaries(texts, st.one_of(st.booleans(), texts), max_size=3),
    extra_knobs=st.lists(knobs, max_size=2).map(tuple),
    housekeeping=st.one_of(st.none(), st.integers(1, 99)),
    parameters=st.dictionaries(texts, texts, max_size=2),
)
entries = st.builds(
    Entry,
    setting=st.builds(
        Setting, knob=knobs, value=texts, verify=st.lists(st.tuples(texts, texts), max_size=2).map(tuple)
    ).map(saved.bare),
    original=st.dictionaries(texts, texts, max_size=3),
    kept=st.booleans(),
    boot_id=texts,
)
stores = st.builds(
    lambda wish, planned, found: Store(wish, planned, {entry.setting.id: entry for entry in found}),
    wishes,
    st.dictionaries(texts, texts, max_size=2),
    st.lists(entries, max_size=3),
)


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    return Host(str(tmp_path))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(store=stores)
def test_what_is_saved_is_what_is_loaded(host: Host, store: Store) -> None:
    saved.save(host, store)
    assert saved.load(host) == store
    changes = host.changes
    assert not saved.save(host, store)
    assert host.changes == changes


def test_a_machine_that_was_never_tuned_has_no_store(host: Host) -> None:
    assert saved.load(host) is None
    assert not saved.remove(host)


def test_the_document_is_as_agreed_and_private(host: Host) -> None:
    knob = Knob(
        "busy_poll", "network", "sysctl", "net.core.busy_poll", {"default": "50"}, "Words.", "here", effect=BOOT
    )
    entry = Entry(saved.bare(Setting(knob, "50", (("/a", "1"),))), {"net.core.busy_poll": "0"}, True, "b")
    saved.save(host, Store(Wish(("network",)), {"cpus": "x"}, {"busy_poll": entry}))
    document = json.loads(host.read(STORE) or "")
    assert set(document) == {"schema_version", "wish", "planned_for", "settings", "originals"}
    assert document["originals"] == {"busy_poll": {"net.core.busy_poll": "0"}}
    assert document["settings"]["busy_poll"] == {
        "group": "network",
        "means": "sysctl",
        "target": "net.core.busy_poll",
        "value": "50",
        "effect": "boot",
        "verify": [["/a", "1"]],
        "kept": True,
        "boot_id": "b",
    }
    assert os.stat(host.path(STORE)).st_mode & 0o777 == 0o600
    assert saved.remove(host)
    assert not host.exists(STATE)


def broken(host: Host, text: bytes) -> str:
    path = pathlib.Path(host.path(STORE))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    with pytest.raises(TuningError) as error:
        saved.load(host)
    assert path.read_bytes() == text
    assert STORE in str(error.value)
    return str(error.value)


def test_a_damaged_store_is_named_with_the_way_out(host: Host) -> None:
    saved.save(host, Store(Wish(("network",))))
    whole = pathlib.Path(host.path(STORE)).read_bytes()
    for end in range(len(whole) - 2):
        assert "bring it back from a copy" in broken(host, whole[:end])
    assert "damaged" in broken(host, b"\xff\xfe")


def test_a_store_of_another_version_is_named_with_the_way_out(host: Host) -> None:
    assert "schema version 2" in broken(host, b'{"schema_version": 2, "else": 1}')
    assert "or a newer one" in broken(host, b'{"schema_version": "x"}')


def test_a_store_that_is_no_file_is_named(host: Host) -> None:
    os.makedirs(host.path(STORE))
    with pytest.raises(TuningError, match="cannot be read"):
        saved.load(host)


FACTS = Facts("intel", "x86_64", "debian", "12", "6.1", {}, Topology((Cpu(0, 0, 0), Cpu(1, 0, 0))), 4_000_000)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"memory_kib": 4_010_000}, True),
        ({"kernel": "6.2"}, True),
        ({"memory_kib": 8_000_000}, False),
        ({"family": "amd"}, False),
        ({"topology": Topology((Cpu(0, 0, 0), Cpu(1, 1, 0)))}, False),
        ({"topology": Topology((Cpu(0, 0, 0), Cpu(1, 0, 0), Cpu(2, 2, 1)))}, False),
    ],
)
def test_what_a_plan_was_made_for(changes: dict[str, object], same: bool) -> None:
    other = dataclasses.replace(FACTS, **changes)  # type: ignore[arg-type]
    assert (saved.planned_for(FACTS) == saved.planned_for(other)) == same


def test_one_run_at_a_time(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "_LOCK_PATIENCE_S", 0)
    other = os.open(host.root, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(TuningError, match="another run"), saved.locked(host):
        pass
    os.close(other)
    with saved.locked(host):
        other = os.open(host.root, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    assert os.listdir(host.root) == []
