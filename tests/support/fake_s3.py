# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""S3 as a champion's store knows it, in memory: conditional requests, and answers that get lost as planned."""

from __future__ import annotations

import hashlib
import io
import typing as t
from collections.abc import Callable
from urllib.parse import unquote

from botocore.exceptions import ClientError, ReadTimeoutError

BUCKET, KEY = "champions", "tokyo/state.json"


class Crash(Exception):
    """The controller that asked has ended."""


def refusal(code: str, status: int, action: str = "PutObject") -> ClientError:
    """An answer of S3 that is an error."""
    told = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(t.cast(t.Any, told), action)


class Objects:
    """What the bucket holds, and every body that the document's key ever had."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, str, dict[str, str]]] = {}
        self.history: list[bytes] = []
        self._count = 0

    def put(self, key: str, body: bytes, metadata: dict[str, str]) -> str:
        # As with KMS encryption, an ETag that says nothing of the body.
        self._count += 1
        etag = f'"{hashlib.md5(f"{self._count}".encode(), usedforsecurity=False).hexdigest()}"'
        self.held[key] = (body, etag, dict(metadata))
        if key == KEY:
            self.history.append(body)
        return etag


class FakeS3:
    """A client of the bucket. C(plan) is called before each request with its action and says what goes wrong.

    C(lost_before), C(lost_after): no answer, the request not carried out or carried out; C(503_before), C(503_after):
    the same with an answer; C(409): refused since another request is under way; C(crash_before), C(crash_after): the
    controller ends; null: nothing.
    """

    def __init__(self, objects: Objects, plan: Callable[[str], str | None] = lambda _action: None) -> None:
        self.objects = objects
        self.plan = plan
        self.requests: list[str] = []

    def _carry_out(self, action: str, request: Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
        event = self.plan(action)
        if event == "409" and action == "GetObject":
            event = None  # S3 refuses so only what writes
        self.requests.append(action)
        if event in ("lost_before", "503_before", "409", "crash_before"):
            raise self._failure(event, action)
        answer = request()
        if event is not None:
            raise self._failure(event, action)
        return answer

    @staticmethod
    def _failure(event: str, action: str) -> Exception:
        kind = event.partition("_")[0]
        if kind == "crash":
            return Crash()
        if kind == "409":
            return refusal("ConditionalRequestConflict", 409, action)
        if kind == "503":
            return refusal("SlowDown", 503, action)
        return ReadTimeoutError(endpoint_url="http://127.0.0.1")

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, t.Any]:
        return self._carry_out("GetObject", lambda: self._get(Key))

    def _get(self, key: str) -> dict[str, t.Any]:
        if key not in self.objects.held:
            raise refusal("NoSuchKey", 404, "GetObject")
        body, etag, metadata = self.objects.held[key]
        return {"Body": io.BytesIO(body), "ETag": etag, "Metadata": dict(metadata)}

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: bytes,
        ContentType: str,
        Metadata: dict[str, str],
        IfMatch: str | None = None,
        IfNoneMatch: str | None = None,
    ) -> dict[str, t.Any]:
        def put() -> dict[str, t.Any]:
            held = self.objects.held.get(Key)
            if IfMatch is not None and held is None:
                raise refusal("NoSuchKey", 404)
            if (IfNoneMatch == "*" and held is not None) or (IfMatch is not None and held and held[1] != IfMatch):
                raise refusal("PreconditionFailed", 412)
            return {"ETag": self.objects.put(Key, Body, Metadata)}

        assert (IfMatch is None) != (IfNoneMatch is None), "an unconditional write"
        return self._carry_out("PutObject", put)

    def copy_object(self, *, Bucket: str, Key: str, CopySource: str, CopySourceIfMatch: str) -> dict[str, t.Any]:
        def copy() -> dict[str, t.Any]:
            source = unquote(CopySource).partition("/")[2]
            if source not in self.objects.held:
                raise refusal("NoSuchKey", 404, "CopyObject")
            body, etag, metadata = self.objects.held[source]
            if etag != CopySourceIfMatch:
                raise refusal("PreconditionFailed", 412, "CopyObject")
            return {"CopyObjectResult": {"ETag": self.objects.put(Key, body, metadata)}}

        return self._carry_out("CopyObject", copy)
