# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A document that cannot be read, in either store: it is put aside, said, and made anew from tags."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_document import State, render
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_store import (
    FileChampionStore,
    GenerationConflict,
    MendableStore,
    StoreError,
    StoreTooNew,
)
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.champion_tags import document_tags, tags_of
from ansible_collections.lowlatency.ec2.plugins.module_utils._search.s3_store import S3ChampionStore
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._round.mending import MendingStore, tagged_survivors
from support.fake_s3 import BUCKET, KEY, FakeS3, Objects
from support.rounds import champion

SEARCH = "tokyo"
WHOLE = render(State(generation=3, search_id=SEARCH, champion=champion(120.0, "i-1"))).encode()
BAD = {
    "empty": b"",
    "blank": b" \n",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "without its end": WHOLE[:-3],
    "zeros": bytes(4096),
    "no text": b"\xff\xfe\x00",
    "foreign object": b'{"version": 4, "terraform_version": "1.9.0", "generation": 12}',
    "foreign list": b"[1, 2]",
    "web page": b"<html><body>404</body></html>",
    "no champion's figures": WHOLE.replace(b"120.0", b'"fast"'),
}


class Kept:
    """A store of either kind, the bytes in it, and what was put aside."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.said: list[str] = []
        self.tagged: list[dict[str, t.Any]] = []
        self._path = folder / "champion_state.json"
        self._objects = Objects()
        self._kind = kind

    @property
    def store(self) -> MendableStore:
        if self._kind == "file":
            return FileChampionStore(self._path)
        return S3ChampionStore(FakeS3(self._objects), BUCKET, KEY, pause=lambda _seconds: None)

    def mending(self, **more: t.Any) -> MendingStore:
        return MendingStore(self.store, search_id=SEARCH, survivors=lambda: self.tagged, say=self.said.append, **more)

    def put(self, text: bytes) -> None:
        if self._kind == "file":
            self._path.write_bytes(text)
        else:
            self._objects.put(KEY, text, {})

    def text(self) -> bytes:
        return self._path.read_bytes() if self._kind == "file" else self._objects.held[KEY][0]

    def aside(self) -> list[bytes]:
        if self._kind == "file":
            return [path.read_bytes() for path in self._path.parent.glob("champion_state.json.unreadable-*")]
        return [held[0] for key, held in self._objects.held.items() if key.startswith(f"{KEY}.unreadable-")]

    def tag(self, entry: t.Mapping[str, t.Any]) -> None:
        told = {**entry, "kind": "champion", "search_id": SEARCH}
        tags = {**tags_of(told), **document_tags(self.store.identity), "lowlatency:champion": "true"}
        about = {key: entry[key] for key in ("instance_id", "instance_type", "placement_group")}
        self.tagged.append({**about, "state": "running", "tags": tags})


@pytest.fixture(params=["file", "s3"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    return Kept(request.param, tmp_path)


@pytest.mark.parametrize("bad", BAD)
def test_it_is_put_aside_and_the_champion_comes_back_from_its_tags(kept: Kept, bad: str) -> None:
    kept.tag(champion(120.0, "i-1"))
    kept.put(BAD[bad])
    state = kept.mending().read()
    assert state.champion == {**champion(120.0, "i-1"), "kind": "champion", "search_id": SEARCH}
    assert kept.aside() == [BAD[bad]]
    assert kept.store.read() == state
    assert len(kept.said) == 1 and "\n" not in kept.said[0]
    assert kept.store.name in kept.said[0] and ".unreadable-2" in kept.said[0] and "i-1" in kept.said[0]
    assert kept.mending().read() == state
    assert len(kept.aside()) == 1


def test_without_tags_an_empty_document_begins(kept: Kept) -> None:
    kept.put(b"")
    state = kept.mending().read()
    assert (state.champion, state.search_id) == (None, SEARCH)
    assert state.generation > 3
    assert "no survivor" in kept.said[0]


def test_a_dry_run_shows_what_would_be_made_and_changes_nothing(kept: Kept) -> None:
    kept.tag(champion(120.0, "i-1"))
    kept.put(b"{")
    state = kept.mending(dry=True).read()
    assert state.champion is not None and state.champion["instance_id"] == "i-1"
    assert (kept.text(), kept.aside()) == (b"{", [])


def test_a_document_of_a_later_release_is_refused_with_the_way_out(kept: Kept) -> None:
    text = WHOLE.replace(b'"schema_version": 1', b'"schema_version": 2')
    kept.put(text)
    store = kept.mending()
    for attempt in (store.read, lambda: store.swap(3, State()), lambda: store.update(lambda state: State())):
        with pytest.raises(StoreTooNew, match=r"upgrade lowlatency\.ec2"):
            attempt()
    assert (kept.text(), kept.aside(), kept.said) == (text, [], [])


def test_a_swap_that_meets_one_is_a_conflict_and_an_update_goes_on(kept: Kept) -> None:
    kept.tag(champion(120.0, "i-1"))
    kept.put(b"{")
    store = kept.mending()
    with pytest.raises(GenerationConflict):
        store.swap(1, State())
    kept.put(b"{")
    after = store.update(lambda state: state.with_qualified({"instance_id": "i-2"}))
    assert after.survivors() == {"i-1", "i-2"}


def test_another_controller_that_is_quicker_is_believed(kept: Kept) -> None:
    kept.put(b"{")
    other = State(search_id="quicker")

    def survivors() -> list[t.Any]:
        kept.store.replace_unreadable(other)
        return []

    store = MendingStore(kept.store, search_id=SEARCH, survivors=survivors, say=kept.said.append)
    assert store.read().search_id == "quicker"
    assert kept.said == []
    assert len(kept.aside()) == 1


def test_a_guard_that_raises_leaves_it_alone(kept: Kept) -> None:
    kept.put(b"{")

    def guard() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        kept.mending(guard=guard).read()
    assert (kept.text(), kept.aside()) == (b"{", [])


def test_one_that_is_spoiled_again_and_again_is_given_up(kept: Kept) -> None:
    kept.put(b"{")

    def survivors() -> list[t.Any]:
        kept.put(WHOLE)  # so that nothing is replaced
        return []

    class Spoiled(MendingStore):
        def _mend(self, error: t.Any) -> State | None:
            super()._mend(error)
            kept.put(b"{")
            return None

    with pytest.raises(StoreError, match="again 5 times in a row"):
        Spoiled(kept.store, search_id=SEARCH, survivors=survivors, say=kept.said.append).read()


def test_survivors_of_another_document_are_not_this_ones(kept: Kept) -> None:
    kept.tag(champion(120.0, "i-1"))
    kept.tag(champion(110.0, "i-2"))
    kept.tagged[1]["tags"].update(document_tags("s3://another/document"))

    class Modules:
        def run(self, module: str, step: str, /, **options: t.Any) -> dict[str, t.Any]:
            assert options["search_id"] == SEARCH
            return {"candidates": kept.tagged}

    found = tagged_survivors(t.cast(t.Any, Modules()), SEARCH, kept.store.identity)
    assert [each["instance_id"] for each in found] == ["i-1"]
