# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Access keys that are held to a policy. A key without one may do everything, as every key may by default."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import escape

from moto.ec2.exceptions import EC2ClientError

from local_region.api.errors import ec2_error
from local_region.api.permissions import needs_of, parameter_arn
from local_region.api.policies import Need, Policy, PolicyError, Refusal, parse_policy, refusal
from local_region.api.region_state import ACCOUNT_ID, RegionState

# Everybody may ask who they are.
_FREE: Final = frozenset({"sts:GetCallerIdentity"})
_S3_ON_OBJECTS: Final = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
_S3_ON_BUCKETS: Final = {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}


@dataclass
class Held:
    """A policy that a key is held to, and what it was used for: statements by action, and what was refused."""

    document: Mapping[str, Any]
    policy: Policy
    used: dict[str, set[str]] = field(default_factory=dict)
    refused: list[dict[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        used = {action: sorted(sids) for action, sids in sorted(self.used.items())}
        return {"policy": self.document, "used": used, "refused": self.refused}


class PolicyBook:
    """The policies by access key. Safe for the server's threads."""

    def __init__(self, documents: Mapping[str, Any] | None = None) -> None:
        """Raises PolicyError, which names the access key, for a document that is no policy."""
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self.replace(documents or {})

    def replace(self, documents: Mapping[str, Any]) -> None:
        """Hold these keys to these policies, and no other key to any. Raises PolicyError."""
        held = {key: _held(key, document) for key, document in documents.items()}
        with self._lock:
            self._held = held

    def put(self, access_key: str, document: Any) -> None:
        """Hold a key to a policy from now on. Raises PolicyError."""
        held = _held(access_key, document)
        with self._lock:
            self._held[access_key] = held

    def drop(self, access_key: str) -> bool:
        """Hold a key to nothing any more; returns whether it was."""
        with self._lock:
            return self._held.pop(access_key, None) is not None

    def holds(self, access_key: str) -> bool:
        with self._lock:
            return access_key in self._held

    def as_json(self) -> dict[str, Any]:
        with self._lock:
            return {key: held.as_json() for key, held in self._held.items()}

    def refused(self, access_key: str, needs: Iterable[Need]) -> Refusal | None:
        """Judge a call's needs, and note what was used or refused."""
        with self._lock:
            held = self._held.get(access_key)
            if held is None:
                return None
            asked = [need for need in needs if need.action not in _FREE]
            found = refusal(held.policy, asked)
            if found is not None:
                held.refused.append({"action": found.need.action, "resource": found.need.resource})
                return found
            for need in asked:
                sids = {statement.sid for statement in held.policy if statement.applies(need)}
                held.used.setdefault(need.action, set()).update(sids)
            return None


def _held(access_key: str, document: Any) -> Held:
    try:
        return Held(document, parse_policy(document))
    except PolicyError as error:
        raise PolicyError(f"{access_key}: {error}") from error


def unauthorized(access_key: str, found: Refusal) -> EC2ClientError:
    """EC2's answer to a call that no policy allows; it names the action, which may be one within the call."""
    message = f"You are not authorized to perform this operation. {_told(access_key, found)}"
    return ec2_error("UnauthorizedOperation", message)


def _told(access_key: str, found: Refusal) -> str:
    action, resource = found.need.action, found.need.resource
    allowed_by_none = f"because no identity-based policy allows the {action} action"
    why = "with an explicit deny in an identity-based policy" if found.explicit else allowed_by_none
    user = f"arn:aws:iam::{ACCOUNT_ID}:user/{access_key}"
    return f"User: {user} is not authorized to perform: {action} on resource: {resource} {why}"


def check_ec2(book: PolicyBook, access_key: str, state: RegionState, action: str, parameters: Any) -> None:
    """Raise UnauthorizedOperation for a call of EC2 that the key's policy does not allow. Under the state's lock."""
    if book.holds(access_key):
        found = book.refused(access_key, needs_of(state, action, parameters))
        if found is not None:
            raise unauthorized(access_key, found)


# Other services


def needs_elsewhere(state: RegionState, service: str, action: str, path: str, body: bytes) -> Iterator[Need]:
    """Yield what a call of SSM, S3 or another service but EC2 must be allowed."""
    context = {"aws:RequestedRegion": [state.region]}
    if service == "ssm" and action in ("GetParameter", "GetParameters"):
        asked = json.loads(body or b"{}")
        for name in asked.get("Names", [asked["Name"]] if "Name" in asked else []):
            yield Need(f"ssm:{action}", parameter_arn(state, str(name)), context)
    elif service == "s3":
        bucket, _slash, key = path.lstrip("/").partition("/")
        verbs, resource = (_S3_ON_OBJECTS, f"{bucket}/{key}") if key else (_S3_ON_BUCKETS, bucket)
        yield Need(f"s3:{verbs.get(action, action)}", f"arn:aws:s3:::{resource}" if bucket else "*", context)
    else:
        yield Need(f"{service}:{action}", "*", context)


def denial_elsewhere(service: str, access_key: str, found: Refusal) -> tuple[str, str, bytes]:
    """HTTP status, content type and body by which a service but EC2 refuses a call, in the form of its protocol."""
    message = _told(access_key, found)
    if service in ("ssm", "pricing"):
        body = json.dumps({"__type": "AccessDeniedException", "Message": message}).encode()
        return "400 Bad Request", "application/x-amz-json-1.1", body
    error = f"<Error><Code>AccessDenied</Code><Message>{escape(message)}</Message></Error>"
    text = error if service == "s3" else f"<ErrorResponse>{error}<RequestId>lab</RequestId></ErrorResponse>"
    return "403 Forbidden", "text/xml", text.encode()


# The lab's own interface


def serve(book: PolicyBook, method: str, access_key: str, body: bytes) -> tuple[str, Any]:
    """Answer a request for /lab/policies or /lab/policies/ACCESS-KEY: HTTP status and a JSON document.

    GET shows what was set, used and refused; PUT sets a policy, whose uses are counted from then on; DELETE drops it.
    """
    if method == "GET" and not access_key:
        return "200 OK", book.as_json()
    if method == "DELETE" and access_key:
        return "200 OK", {"dropped": book.drop(access_key)}
    if method != "PUT" or not access_key:
        return "405 Method Not Allowed", {"error": "GET /lab/policies, PUT or DELETE /lab/policies/ACCESS-KEY"}
    try:
        book.put(access_key, json.loads(body))
    except ValueError as error:  # PolicyError is one
        return "400 Bad Request", {"error": str(error)}
    return "200 OK", {"held": access_key}
