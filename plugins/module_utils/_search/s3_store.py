# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: the champion's document as an S3 object, for searches of several controllers. There is no lock server.

S3 is strongly consistent and decides races by itself: a new object is written with C(If-None-Match: *), an existing one
with C(If-Match) and the ETag that was read (S3 user guide, "How to prevent object overwrites with conditional writes").
Each write carries an id of its own and those of the writes before it, as metadata of the object: a write whose answer
was lost is looked for there, and is not mistaken for somebody else's, even when another writer was on top of it since.
"""

from __future__ import annotations

import re
import secrets
import time
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

from .champion_document import State, check_document, next_generation, render
from .champion_store import (
    GenerationConflict,
    Guard,
    StoreError,
    StoreUnreadable,
    SwappedStore,
    document_in,
    stamp_of,
    successor,
)

try:
    from botocore import exceptions as boto_errors

    _LOST: tuple[type[Exception], ...] = (
        boto_errors.ConnectionError,
        boto_errors.HTTPClientError,
        boto_errors.IncompleteReadError,
    )
    _FAILED: tuple[type[Exception], ...] = (boto_errors.BotoCoreError, boto_errors.ClientError)
except ImportError:  # whoever makes the client reports a missing SDK
    _LOST = _FAILED = ()

#: Writes that an object remembers, its own included: 32 ids and separators take 415 of S3's 2,048 bytes of metadata.
WRITES_KEPT = 32
WRITES_KEY = "lowlatency-writes"

#: Requests for one reading, or for one write whose fate is unknown.
TRIES = 6

#: What S3 answers when the object is no longer the one that was read. C(NoSuchKey): it was deleted meanwhile.
_CONDITION_CODES = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"})
_MISSING_CODES = frozenset({"NoSuchKey", "404"})
_PASSING_CODES = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"})

_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+)")

#: What a client of this store is made with: each request is sent once, since a repeated write would meet itself.
CLIENT_CONFIG: Mapping[str, t.Any] = {
    "retries": {"total_max_attempts": 1},
    "connect_timeout": 10,
    "read_timeout": 30,
}

Client = t.Any


@dataclass(frozen=True)
class _Seen:
    """The object as it was read: its ETag is None when there is none."""

    state: State
    etag: str | None
    writes: tuple[str, ...]


def is_s3_url(text: str) -> bool:
    """Whether a text means S3, well written or not."""
    return text.startswith("s3:")


def parse_url(text: str) -> tuple[str, str]:
    """Bucket and key of C(s3://bucket/key). Raises ValueError."""
    found = _URL.fullmatch(text)
    if found is None or found.group(2).endswith("/") or len(found.group(2).encode()) > 900:
        raise ValueError("is not s3://BUCKET/KEY, with a key of at most 900 bytes that does not end in a slash")
    return found.group(1), found.group(2)


def code_of(error: BaseException) -> str:
    """AWS's code, or the name of the exception where there was no answer."""
    response = getattr(error, "response", None)
    return str(response["Error"]["Code"]) if response else type(error).__name__


def _passes(error: BaseException) -> bool:
    """Whether the same request may be answered otherwise a moment later."""
    response = getattr(error, "response", None)
    if response is None:
        return isinstance(error, _LOST)
    status = int((response.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
    return status >= 500 or code_of(error) in _PASSING_CODES


class S3ChampionStore(SwappedStore):
    """The champion's document in an S3 object, see L(champion_store.ChampionStore)."""

    def __init__(
        self,
        client: Client,
        bucket: str,
        key: str,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(pause)
        self._client = client
        self._where = {"Bucket": bucket, "Key": key}
        self._seen: _Seen | None = None

    @property
    def name(self) -> str:
        """C(s3://bucket/key)."""
        return f"s3://{self._where['Bucket']}/{self._where['Key']}"

    @property
    def identity(self) -> str:
        """The same: it means the same object everywhere."""
        return self.name

    def read(self) -> State:
        """See L(ChampionStore)."""
        return self._look().state

    def swap(self, expected_generation: int, new_state: State, guard: Guard = None) -> State:
        """See L(ChampionStore). What was read last is not read again: S3 refuses the write if it is not that."""
        seen = self._seen
        if seen is None or seen.state.generation != expected_generation:
            seen = self._look()
        written = successor(seen.state, expected_generation, new_state, self.name)
        self._write(written, seen.etag, seen.writes, guard)
        return written

    def replace_unreadable(self, rebuilt: State, guard: Guard = None) -> tuple[str, State]:
        """See L(ChampionStore). The copy comes first, and is one of exactly the object that is then replaced."""
        found = self._get()
        if found is None:
            raise GenerationConflict(f"{self.name} is not there any more")
        body, etag, _writes = found
        try:
            current = document_in(body, self.name)
        except StoreUnreadable:
            now_s = time.time()
            written = replace(rebuilt, generation=next_generation(body, now_s))
            check_document(written.to_dict())
            aside = self._copy(etag, stamp_of(now_s), guard)
            self._write(written, etag, (), guard)
            return aside, written
        raise GenerationConflict(f"{self.name} is a document again, at generation {current.generation}")

    # -- one object ----------------------------------------------------------------------------------

    def _look(self) -> _Seen:
        self._seen = None
        found = self._get()
        if found is None:
            self._seen = _Seen(State(), None, ())
        else:
            body, etag, writes = found
            self._seen = _Seen(document_in(body, self.name), etag, writes)
        return self._seen

    def _get(self) -> tuple[bytes, str, tuple[str, ...]] | None:
        """Body, ETag and ids of the writes, or None for no object. Raises StoreError."""
        for attempt in range(TRIES):
            try:
                answer = self._client.get_object(**self._where)
                body = answer["Body"].read()
            except _FAILED as error:
                if code_of(error) in _MISSING_CODES:
                    return None
                self._give_up_or_wait(error, attempt, "read", "s3:GetObject and s3:ListBucket")
                continue
            return body, answer["ETag"], tuple((answer.get("Metadata") or {}).get(WRITES_KEY, "").split())
        raise AssertionError("the last try either returned or raised")

    def _write(self, state: State, etag: str | None, before: tuple[str, ...], guard: Guard) -> None:
        """Replace the object of that ETag, or make it for None; raises GenerationConflict when another was there.

        Whatever else than success is answered, the object itself tells whether the write was made.
        """
        mine = secrets.token_hex(6)
        writes = (*before, mine)[-WRITES_KEPT:]
        for attempt in range(TRIES):
            if guard is not None:
                guard()
            try:
                made = self._put(render(state).encode(), etag, writes)
            except _FAILED as error:
                if code_of(error) not in _CONDITION_CODES and not _passes(error):
                    raise self._refused(error, "written", "s3:PutObject") from error
                failure = error
            else:
                self._seen = _Seen(state, made, writes)
                return
            if self._was_made(mine, etag, failure):
                return
            self._give_up_or_wait(failure, attempt, "written", "s3:PutObject")

    def _put(self, body: bytes, etag: str | None, writes: tuple[str, ...]) -> str:
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        answer = self._client.put_object(
            **self._where,
            Body=body,
            ContentType="application/json",
            Metadata={WRITES_KEY: " ".join(writes)},
            **condition,
        )
        return str(answer["ETag"])

    def _was_made(self, mine: str, etag: str | None, failure: BaseException) -> bool:
        """Whether a write whose answer was a failure is in the object; raises GenerationConflict if it never can be."""
        found = self._get()
        self._seen = None
        if found is not None and mine in found[2]:
            return True
        stands = None if found is None else found[1]
        if stands != etag or code_of(failure) in _CONDITION_CODES:
            raise GenerationConflict(f"{self.name} was changed by another writer ({code_of(failure)})") from failure
        return False

    def _copy(self, etag: str, stamp: str, guard: Guard) -> str:
        # Another object may have been put aside in the same second; S3 would write over its copy.
        key = f"{self._where['Key']}.unreadable-{stamp}-{secrets.token_hex(6)}"
        source = quote(f"{self._where['Bucket']}/{self._where['Key']}")
        for attempt in range(TRIES):
            if guard is not None:
                guard()
            try:
                self._client.copy_object(
                    Bucket=self._where["Bucket"], Key=key, CopySource=source, CopySourceIfMatch=etag
                )
            except _FAILED as error:
                if code_of(error) in _CONDITION_CODES:
                    raise GenerationConflict(f"{self.name} was changed by another writer") from error
                self._give_up_or_wait(error, attempt, f"put aside as {key}", "s3:GetObject and s3:PutObject")
                continue
            break
        return f"s3://{self._where['Bucket']}/{key}"

    # -- failures ------------------------------------------------------------------------------------

    def _give_up_or_wait(self, error: Exception, attempt: int, what: str, permissions: str) -> None:
        """Wait before the next try, or raise StoreError when there is none, or none would help."""
        if attempt + 1 >= TRIES or not _passes(error):
            raise self._refused(error, what, permissions) from error
        self._back_off(attempt)

    def _refused(self, error: Exception, what: str, permissions: str) -> StoreError:
        code = code_of(error)
        ways = {
            "AccessDenied": f"; it takes {permissions}, and without s3:ListBucket S3 denies what is only missing",
            "NoSuchBucket": "; make the bucket first, or name another one in search_champion_store",
        }
        unknown = "; whether a request was carried out after all, the next reading tells" if _passes(error) else ""
        return StoreError(f"{self.name} cannot be {what}: {code}{ways.get(code, unknown)}")
