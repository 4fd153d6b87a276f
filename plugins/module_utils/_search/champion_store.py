# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: where the champion's document is kept, changed by compare-and-swap on a generation number.

A writer names the generation that it read; the document is replaced only while it still has that one. Here is what
every store does, and the one that keeps the document in a file: a lock beside it orders the writers of one machine, and
the file is written apart and renamed, so that a reader and a crash see either the old document or the new one.
"""

from __future__ import annotations

import os
import random
import time
import typing as t
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from .._whole_file import locked, write_whole
from .champion_document import DocumentTooNew, State, check_document, next_generation, parse, render
from .decision import check_same_measure

#: Times that C(update) tries. Each failure means that another writer succeeded.
MAX_ATTEMPTS = 50

#: The longest pause between two tries, in seconds: at random between nothing and this, which doubles from the first.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.02, 1.0

Guard = t.Optional[Callable[[], None]]


class StoreError(Exception):
    """The champion's document could not be read or changed."""


class StoreTooNew(StoreError):
    """The document is of a later release of this collection: it is left as it is, and never rebuilt."""


class StoreUnreadable(StoreError):
    """The document is there but is none; it is left as it is until it was put aside."""


class GenerationConflict(StoreError):
    """Another writer changed the document since it was read: read it again and decide again."""


class ChampionStore(t.Protocol):
    """What keeps the champion's document. All raise StoreError for a place that cannot be read or written."""

    @property
    def name(self) -> str:
        """Where the document is, for a person."""

    @property
    def identity(self) -> str:
        """The name of the document among those of all controllers; survivors carry it as a tag."""

    def read(self) -> State:
        """The document as it stands; a missing one is an empty one of generation 0.

        Raises StoreUnreadable for what is no such document, StoreTooNew for one of a later release.
        """

    def swap(self, expected_generation: int, new_state: State, guard: Guard = None) -> State:
        """Replace the document of that generation and return it as written, one generation on.

        C(guard) is called just before the write, and what it raises leaves the old document in place. Raises
        GenerationConflict when the document has another generation, ChampionMismatch when the champion would be
        replaced by one measured in another way, and what C(read) raises.
        """

    def update(self, change: Callable[[State], State], guard: Guard = None) -> State:
        """Read, change and swap until no other writer comes between; return the document as it then stands.

        C(change) decides on each fresh reading; when it returns its argument, nothing is written. Raises what C(swap)
        raises, and GenerationConflict when others came between every time.
        """


class MendableStore(ChampionStore, t.Protocol):
    """A store in which what is no document can be replaced by one, see L(champion_tags.rebuild)."""

    def replace_unreadable(self, rebuilt: State, guard: Guard = None) -> tuple[str, State]:
        """Put what is no document aside and write this one in its place; return where it is and what was written.

        The generation is beyond all earlier ones. Raises GenerationConflict when there is a document after all.
        """


def successor(current: State, expected_generation: int, new_state: State, name: str) -> State:
    """The document to write, one generation on. Raises GenerationConflict, ChampionMismatch or ValueError."""
    if current.generation != expected_generation:
        raise GenerationConflict(f"{name} is at generation {current.generation}, not {expected_generation}")
    if current.champion is not None and new_state.champion is not None:
        check_same_measure(current.champion, new_state.champion)
    written = replace(new_state, generation=expected_generation + 1)
    check_document(written.to_dict())
    return written


def document_in(text: bytes, name: str) -> State:
    """The document. Raises StoreTooNew or StoreUnreadable, each with the way out."""
    try:
        return parse(text)
    except DocumentTooNew as error:
        raise StoreTooNew(
            f"{name} is of a later release and is left as it is: {error}"
            " (upgrade lowlatency.ec2 on this controller, or give this search a document of its own)"
        ) from error
    except ValueError as error:
        raise StoreUnreadable(f"{name} is no champion's document: {error}") from error


def stamp_of(now_s: float) -> str:
    """The end of the name that an unreadable document is kept under: UTC, to the second."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))


def backoff_s(attempt: int) -> float:
    """The longest pause after that many failures."""
    return min(LAST_PAUSE_S, FIRST_PAUSE_S * 2.0**attempt)


class SwappedStore:
    """C(update) for a store that has C(read) and C(swap)."""

    def __init__(self, pause: Callable[[float], None] = time.sleep) -> None:
        """C(pause) is called with the seconds to wait after each lost race."""
        self._pause = pause

    @property
    def name(self) -> str:
        """Where the document is, for a person."""
        raise NotImplementedError

    def read(self) -> State:
        """See L(ChampionStore)."""
        raise NotImplementedError

    def swap(self, expected_generation: int, new_state: State, guard: Guard = None) -> State:
        """See L(ChampionStore)."""
        raise NotImplementedError

    def update(self, change: Callable[[State], State], guard: Guard = None) -> State:
        """See L(ChampionStore)."""
        for attempt in range(MAX_ATTEMPTS):
            current = self.read()
            wanted = change(current)
            if wanted == current:
                return current
            try:
                return self.swap(current.generation, wanted, guard)
            except GenerationConflict:
                self._back_off(attempt)
        raise GenerationConflict(f"{self.name} was changed by others {MAX_ATTEMPTS} times in a row")

    def _back_off(self, attempt: int) -> None:
        # At random, so that writers who met once do not meet again.
        self._pause(random.uniform(0.0, backoff_s(attempt)))  # noqa: S311 # no secret


class FileChampionStore(SwappedStore):
    """The champion's document in a file, for searches of one controller."""

    def __init__(self, path: str | os.PathLike[str], pause: Callable[[float], None] = time.sleep) -> None:
        super().__init__(pause)
        # A link is followed, since a rename would put a file in its place.
        self.path = os.path.realpath(os.fspath(path))
        self.lock_path = f"{self.path}.lock"

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    @property
    def identity(self) -> str:
        """The path on this machine."""
        return f"file://{os.uname().nodename}{self.path}"

    def read(self) -> State:
        """See L(ChampionStore)."""
        text = self._text()
        return State() if text is None else document_in(text, self.path)

    def swap(self, expected_generation: int, new_state: State, guard: Guard = None) -> State:
        """See L(ChampionStore)."""
        with self._locked():
            written = successor(self.read(), expected_generation, new_state, self.path)
            self._write(written, guard)
            return written

    def replace_unreadable(self, rebuilt: State, guard: Guard = None) -> tuple[str, State]:
        """See L(ChampionStore)."""
        with self._locked():
            text = self._text()
            try:
                current = State() if text is None else document_in(text, self.path)
            except StoreUnreadable:
                return self._replace(text or b"", rebuilt, guard)
            raise GenerationConflict(f"{self.path} is a document again, at generation {current.generation}")

    def _replace(self, text: bytes, rebuilt: State, guard: Guard) -> tuple[str, State]:
        now_s = time.time()
        written = replace(rebuilt, generation=next_generation(text, now_s))
        check_document(written.to_dict())
        if guard is not None:
            guard()
        # A copy: after a rename, a crash would leave no document at all, which counts as one of generation 0.
        aside = self._keep(text, stamp_of(now_s))
        self._write(written, guard)
        return aside, written

    def _keep(self, text: bytes, stamp: str) -> str:
        for number in range(MAX_ATTEMPTS):
            aside = f"{self.path}.unreadable-{stamp}{f'-{number}' if number else ''}"
            try:
                with open(aside, "xb") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            except FileExistsError:
                continue
            except OSError as error:
                raise StoreError(f"{aside} cannot be written: {error.strerror}") from error
            return aside
        raise StoreError(f"{self.path} was put aside {MAX_ATTEMPTS} times in a second")

    def _text(self) -> bytes | None:
        try:
            with open(self.path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as held:
            try:
                os.makedirs(os.path.dirname(self.path), exist_ok=True)
                held.enter_context(locked(self.path))
            except OSError as error:
                raise StoreError(f"{self.lock_path} cannot be written: {error.strerror}") from error
            yield

    def _write(self, state: State, guard: Guard) -> None:
        try:
            write_whole(self.path, render(state), guard)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}") from error
