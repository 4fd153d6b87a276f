# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of a search's list of addresses, which slots write at once."""

from __future__ import annotations

import json
import multiprocessing
import typing as t
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.book import ALIVE, EndpointBook, checked, named
from ansible_collections.lowlatency.ec2.plugins.module_utils._addresses.document import document_from
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._addresses.frozen import (
    AddressListError,
    FrozenAddresses,
    frozen_endpoints,
)

NOW = datetime(2026, 11, 22, 8, 43, tzinfo=timezone.utc)
ENDPOINTS: list[dict[str, t.Any]] = [{"name": "primary", "host": "host", "port": 443, "addresses": []}]


def found(*addresses: str, **errors: int) -> dict[str, t.Any]:
    """A probe's result."""
    known = [{"address": each, "samples": 0 if errors else 100, "errors": errors} for each in addresses]
    return {"endpoints": [{"name": "primary", "host": "host", "port": 443, "addresses": known}]}


def a_round(frozen: FrozenAddresses, probe: dict[str, t.Any], began: datetime = NOW) -> float:
    asked = frozen.endpoints(ENDPOINTS, began)
    return frozen.learn(asked, probe, began=began, now=began + timedelta(minutes=1))


def test_the_first_round_freezes_and_the_file_says_when_and_by_which_rule(tmp_path: Path) -> None:
    frozen = FrozenAddresses(str(tmp_path / "reports"), "mine")
    assert frozen.endpoints(ENDPOINTS, NOW) == ENDPOINTS
    assert not (tmp_path / "reports").exists()
    assert a_round(frozen, found("198.19.3.2", "198.19.3.1")) == 0
    document = json.loads((tmp_path / "reports/addresses_mine.json").read_text(encoding="utf-8"))
    assert document["frozen_at"] == "2026-11-22T08:44:00+00:00"
    assert document["rule"]["refresh_hours"] is None
    assert document["endpoints"][0]["addresses"] == ["198.19.3.1", "198.19.3.2"]
    later = frozen_endpoints(str(tmp_path / "reports"), "mine", ENDPOINTS, NOW + timedelta(days=9))
    assert later == [{**ENDPOINTS[0], "addresses": ["198.19.3.1", "198.19.3.2"]}]


def test_a_round_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    frozen = FrozenAddresses(str(tmp_path), "mine")
    a_round(frozen, found("198.19.3.1"))
    before = Path(frozen.path).stat()
    a_round(frozen, found("198.19.3.1"), NOW + timedelta(hours=1))
    assert Path(frozen.path).stat().st_mtime_ns == before.st_mtime_ns
    assert frozen.read().generation == 1


def test_a_search_has_a_list_of_its_own_whatever_its_name(tmp_path: Path) -> None:
    for name in ("one", "two/../..", "a b"):
        a_round(FrozenAddresses(str(tmp_path), name), found("198.19.3.1"))
    assert len(list(tmp_path.glob("addresses_*.json"))) == 3
    assert not list(tmp_path.parent.glob("addresses_*"))


def _slot(path: str, number: int, together: t.Any) -> None:
    frozen = FrozenAddresses(path, "mine")
    asked = frozen.endpoints(ENDPOINTS, NOW)
    # A round that begins after another has written is on that one's list: here none has, and all write at once.
    together.wait(60)
    seen = found(f"198.19.3.{number}", f"198.19.3.{number + 1}")
    frozen.learn(asked, seen, began=NOW, now=NOW + timedelta(minutes=1))


def test_slots_that_begin_together_make_one_list(tmp_path: Path) -> None:
    """Each in a process of its own and each shown two other addresses: none is lost."""
    context = multiprocessing.get_context("fork")
    together = context.Barrier(8)
    slots = [context.Process(target=_slot, args=(str(tmp_path), 2 * number, together)) for number in range(1, 9)]
    for slot in slots:
        slot.start()
    for slot in slots:
        slot.join(60)
    assert [slot.exitcode for slot in slots] == [0] * 8
    (endpoint,) = FrozenAddresses(str(tmp_path), "mine").read().endpoints
    assert list(endpoint.addresses) == [f"198.19.3.{last}" for last in range(2, 18)]


def test_an_orphaned_round_writes_nothing(tmp_path: Path) -> None:
    class Gone(Exception):
        pass

    def gone() -> None:
        raise Gone

    frozen = FrozenAddresses(str(tmp_path), "mine", guard=gone)
    with pytest.raises(Gone):
        a_round(frozen, found("198.19.3.1"))
    assert list(tmp_path.glob("*addresses*.json*")) == [tmp_path / "addresses_mine.json.lock"]


def test_a_venue_that_refuses_everybody_is_left_alone_for_longer_and_longer(tmp_path: Path) -> None:
    frozen = FrozenAddresses(str(tmp_path), "mine")
    waits_s = [a_round(frozen, found("198.19.3.1", refused=3)) for _round in range(6)]
    assert waits_s == [60, 120, 240, 480, 600, 600]
    assert a_round(frozen, found("198.19.3.1")) == 0
    assert a_round(frozen, found("198.19.3.1", refused=3)) == 60


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"schema_version": 2}', "[" * 100_000, "\x00"])
def test_a_file_that_is_no_list_is_named_and_left_as_it_is(tmp_path: Path, broken: str) -> None:
    frozen = FrozenAddresses(str(tmp_path), "mine")
    Path(frozen.path).write_text(broken, encoding="utf-8")
    for call in (
        lambda: frozen.endpoints(ENDPOINTS, NOW),
        lambda: frozen.learn(ENDPOINTS, found("198.19.3.1"), began=NOW, now=NOW),
    ):
        with pytest.raises(AddressListError, match=r"^[^\n]*addresses_mine\.json[^\n]*$"):
            call()
    assert Path(frozen.path).read_text(encoding="utf-8") == broken


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(AddressListError, match=r"file/addresses_mine\.json cannot be written"):
        FrozenAddresses(str(tmp_path / "file"), "mine").learn(ENDPOINTS, found("198.19.3.1"), began=NOW, now=NOW)


def discovered(path: Path, *addresses: str) -> str:
    now_s = int(NOW.timestamp())
    known = checked(named(EndpointBook("host", 443), addresses, now_s), dict.fromkeys(addresses, ALIVE), now_s)
    path.write_text(json.dumps(document_from({"any": known}, now_s)), encoding="utf-8")
    return str(path)


def test_a_discoverers_document_is_taken_once(tmp_path: Path) -> None:
    source = discovered(tmp_path / "found.json", "198.19.3.7", "198.19.3.8")
    frozen = FrozenAddresses(str(tmp_path), "mine", addresses_from=source)
    assert frozen.endpoints(ENDPOINTS, NOW)[0]["addresses"] == ["198.19.3.7", "198.19.3.8"]
    discovered(tmp_path / "found.json", "198.19.3.9")
    assert frozen.endpoints(ENDPOINTS, NOW)[0]["addresses"] == ["198.19.3.7", "198.19.3.8"]
    assert frozen.read().endpoints[0].reason == "document"


def test_a_dry_list_decides_the_same_and_writes_nothing(tmp_path: Path) -> None:
    source = discovered(tmp_path / "found.json", "198.19.3.7")
    frozen = FrozenAddresses(str(tmp_path / "reports"), "mine", addresses_from=source, dry=True)
    assert frozen.endpoints(ENDPOINTS, NOW)[0]["addresses"] == ["198.19.3.7"]
    assert a_round(frozen, found("198.19.3.7", refused=3)) == 60
    assert not (tmp_path / "reports").exists()


def test_endpoints_whose_addresses_were_given_need_no_document(tmp_path: Path) -> None:
    frozen = FrozenAddresses(str(tmp_path), "mine", addresses_from=str(tmp_path / "none"))
    mine = [{**ENDPOINTS[0], "addresses": ["198.19.3.1"]}]
    assert frozen.endpoints(mine, NOW) == mine
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [None, "{"])
def test_a_document_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "found.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(AddressListError, match=r"^search_addresses_from: .*found\.json"):
        FrozenAddresses(str(tmp_path), "mine", addresses_from=str(path)).endpoints(ENDPOINTS, NOW)
