# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulated region's API: one HTTP server on the loopback address."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from local_region.api import enforcement, moto_hooks
from local_region.api.call_log import Call, CallLog, credential_scope, is_write
from local_region.api.enforcement import PolicyBook
from local_region.api.faults import Faults
from local_region.api.region_state import Quotas, RegionState, Timings
from local_region.hosts.backend import HostBackend

DEFAULT_REGION = "ap-northeast-1"


class _QuietHandler(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing: the call log holds more."""


class RegionApi:
    """EC2, and what moto has of the other services, for one region. One per process: moto's state is global.

    `clock` is in seconds and never goes back; states that take time follow it. `on_change` is called after
    instances, groups or addresses may have changed, from one thread, never under the API's lock.
    `policies` are policy documents by access key; calls of those keys are held to them. Raises PolicyError.
    `on_reset` puts the whole region back, this API with it, and returns what could not be removed; it serves
    POST /lab/reset.
    """

    def __init__(
        self,
        *,
        port: int,
        hosts: HostBackend,
        faults: Faults,
        rack_for: Callable[[int], str],
        public_pool: str,
        elastic_pool: str,
        machines: bool = False,
        region: str = DEFAULT_REGION,
        pending_s: float = 1.0,
        shutting_down_s: float = 1.0,
        stopping_s: float = 1.0,
        image_s: float = 1.0,
        quotas: Quotas | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] | None = None,
        policies: Mapping[str, Any] | None = None,
        on_reset: Callable[[], list[str]] | None = None,
    ) -> None:
        self._on_reset = on_reset or self._reset_alone
        self.log = CallLog()
        self.policies = PolicyBook(policies)
        self._policies_at_first = dict(policies or {})
        self._port = port
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._settings: dict[str, Any] = {
            "region": region,
            "hosts": hosts,
            "faults": faults,
            "rack_for": rack_for,
            "public_pool": public_pool,
            "elastic_pool": elastic_pool,
            "machines": machines,
            "timings": Timings(pending_s, shutting_down_s, stopping_s, image_s),
            "quotas": quotas or Quotas(),
            "clock": clock,
            "on_change": on_change,
        }
        moto_hooks.install()
        self.state = RegionState(**self._settings)
        moto_hooks.bind(self.state, self.log, self.policies)
        self._moto = DomainDispatcherApplication(create_backend_app)
        # moto looks at a condition of S3 first and writes then; in S3 that is one step.
        self._s3_lock = threading.Lock()

    @property
    def calls(self) -> list[Call]:
        """The calls so far, oldest first."""
        return self.log.snapshot()

    def start(self) -> str:
        """Serve on 127.0.0.1 and return the endpoint's URL. Raises OSError when the port is taken."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
            listener.listen(128)
            port = listener.getsockname()[1]
            self._server = make_server(
                "127.0.0.1", port, self._serve, threaded=True, request_handler=_QuietHandler, fd=listener.fileno()
            )
        finally:
            listener.close()
        self._thread = threading.Thread(target=self._server.serve_forever, name="region-api", daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """Serve no more and finish what the hosts were asked for."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None
        self.state.close()

    def reset(self, **settings: Any) -> None:
        """Forget everything and begin anew, with changed settings if given: those of RegionState by name."""
        self.state.close()
        with self.state.lock:
            moto_hooks.forget(self._settings["region"])
            self._settings.update(settings)
            self.state = RegionState(**self._settings)
            moto_hooks.bind(self.state, self.log, self.policies)
            self.log.clear()
            self.policies.replace(self._policies_at_first)

    def _reset_alone(self) -> list[str]:
        self.reset()
        return []

    def instances(self) -> list[dict[str, Any]]:
        """Return what a person wants to know of each instance, terminated ones too."""
        with self.state.lock:
            self.state.advance()
            return [
                {
                    "instance_id": one.id,
                    "instance_type": one.instance_type,
                    "state": one.state,
                    "rack": one.rack,
                    "placement_group": one.placement.group_name or None,
                    "private_ip_address": one.private_ip,
                    "public_ip_addresses": one.public_addresses(),
                    "launch_time": one.launch_time.isoformat(),
                    "tags": dict(self.state.backend.tags.get(one.id, {})),
                }
                for one in self.state.instances()
            ]

    # HTTP

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if path.startswith("/lab/"):
            return self._serve_lab(path, environ, start_response)
        if path.startswith("/moto-api"):
            return _json(start_response, "404 Not Found", {"error": "not part of the lab"})
        service, region, access_key = credential_scope(str(environ.get("HTTP_AUTHORIZATION", "")))
        if service == "ec2":
            return self._moto(environ, start_response)
        return self._serve_other(service, region, access_key, environ, start_response)

    def _serve_lab(self, path: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = parse_qs(str(environ.get("QUERY_STRING", "")))
        if path == "/lab/calls":
            try:
                since_s = float(query.get("since", ["0"])[0])
            except ValueError:
                return _json(start_response, "400 Bad Request", {"error": "since is not a number of seconds"})
            return _json(start_response, "200 OK", self.log.as_json(since_s))
        if path == "/lab/instances":
            return _json(start_response, "200 OK", self.instances())
        if path == "/lab/policies" or path.startswith("/lab/policies/"):
            method, access_key = str(environ["REQUEST_METHOD"]), path.removeprefix("/lab/policies").lstrip("/")
            return _json(start_response, *enforcement.serve(self.policies, method, access_key, _body(environ)))
        if path == "/lab/reset":
            return _json(start_response, *self._serve_reset(str(environ["REQUEST_METHOD"])))
        known = "there are /lab/calls, /lab/instances, /lab/policies and /lab/reset"
        return _json(start_response, "404 Not Found", {"error": known})

    def _serve_reset(self, method: str) -> tuple[str, dict[str, Any]]:
        """Answer a request for /lab/reset: HTTP status and a JSON document."""
        if method != "POST":
            return "405 Method Not Allowed", {"error": "POST /lab/reset"}
        leftovers = self._on_reset()
        return ("500 Internal Server Error" if leftovers else "200 OK"), {"leftovers": leftovers}

    def _serve_other(
        self,
        service: str,
        region: str,
        access_key: str,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
    ) -> Iterable[bytes]:
        """Serve a service that is moto's alone, and note the call; `code` is the HTTP status of a failure."""
        at_s, monotonic_s = time.time(), time.monotonic()
        action = _action(environ)
        statuses: list[str] = []

        def noting(status: str, *rest: Any) -> Any:
            statuses.append(status.split(maxsplit=1)[0])
            return start_response(status, *rest)

        denied = self._denied(service, access_key, action, environ)
        if denied is None:
            with self._s3_lock if service == "s3" else contextlib.nullcontext():
                answer = self._moto(environ, noting)
        else:
            status_line, content_type, body = denied
            noting(status_line, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
            answer = [body]
        status = statuses[0] if statuses else "200"
        self.log.add(
            Call(
                at_s=at_s,
                monotonic_s=monotonic_s,
                service=service,
                action=action,
                write=is_write(action),
                code=status if status >= "400" else None,
                region=region,
                access_key=access_key,
                user_agent=str(environ.get("HTTP_USER_AGENT", "")),
            )
        )
        return answer

    def _denied(
        self, service: str, access_key: str, action: str, environ: dict[str, Any]
    ) -> tuple[str, str, bytes] | None:
        """The answer to a call that the key's policy does not allow."""
        if not self.policies.holds(access_key):
            return None
        path, body = str(environ.get("PATH_INFO", "")), _body(environ)
        with self.state.lock:
            needs = list(enforcement.needs_elsewhere(self.state, service, action, path, body))
        found = self.policies.refused(access_key, needs)
        return None if found is None else enforcement.denial_elsewhere(service, access_key, found)


def _json(start_response: Callable[..., Any], status: str, document: Any) -> list[bytes]:
    body = json.dumps(document).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _action(environ: dict[str, Any]) -> str:
    """Return the action of a request: by header, by form, else the HTTP method."""
    target = str(environ.get("HTTP_X_AMZ_TARGET", ""))
    if target:
        return target.rsplit(".", 1)[-1]
    if str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded"):
        return parse_qs(_body(environ).decode()).get("Action", [str(environ["REQUEST_METHOD"])])[0]
    return str(environ["REQUEST_METHOD"])


def _body(environ: dict[str, Any]) -> bytes:
    """Read a request's body, and leave it there to be read again."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body
