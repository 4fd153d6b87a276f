# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private: run modules from an action, on the controller and on a candidate, with errors as codes."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import connection_loader
from ansible_collections.lowlatency.ec2.plugins.module_utils._plain_text import one_line, plain
from ansible_collections.lowlatency.ec2.plugins.plugin_utils._guardian.controller_guard import ControllerGuard

Result = dict[str, t.Any]

#: Seconds between two looks at a running probe. A look costs the candidate some ms of one CPU.
LOOK_S = 0.4

#: Codes that no further round can mend: credentials, permissions and input.
HOPELESS_CODES: frozenset[str] = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "Blocked",
        "ExpiredToken",
        "InvalidAMIID.Malformed",
        "InvalidAMIID.NotFound",
        "InvalidClientTokenId",
        "InvalidGroup.NotFound",
        "InvalidKeyPair.NotFound",
        "InvalidParameterCombination",
        "InvalidParameterValue",
        "InvalidSecurityGroupID.NotFound",
        "InvalidSubnetID.NotFound",
        "MissingParameter",
        "NoCredentialsError",
        "OptInRequired",
        "PartialCredentialsError",
        "PendingVerification",
        "SignatureDoesNotMatch",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
        "ValidationError",
    }
)


class StepFailed(Exception):
    """A step of a round failed: C(step) names it, C(code) is AWS's or ours, C(result) all that is known.

    The message may be of others, so it is made plain here.
    """

    def __init__(self, step: str, code: str, message: str, result: Mapping[str, t.Any] | None = None) -> None:
        self.step = step
        self.code = code
        self.message = one_line(message)
        super().__init__(f"{step}: {self.message}")
        self.result: Mapping[str, t.Any] = result or {}

    @property
    def hopeless(self) -> bool:
        """Whether no further round can mend it: wrong input, or no right to do it."""
        return self.code in HOPELESS_CODES or self.code == "BadInput"

    def as_failure(self) -> Result:
        """The C(failure) of a round's result: code, step and message."""
        return {"code": self.code, "step": self.step, "message": self.message}


def _raise_if_failed(step: str, result: Result, without_code: str) -> None:
    if not result.get("failed"):
        return
    error = result.get("error")
    code = error.get("code") if isinstance(error, Mapping) else None
    raise StepFailed(step, str(code or without_code), str(result.get("msg", "failed without a message")), result)


class ControllerModules:
    """Runs modules on the controller, with the AWS connection options that the action was given."""

    def __init__(
        self, action: ActionBase, task_vars: dict[str, t.Any], aws: Mapping[str, t.Any], guard: ControllerGuard
    ) -> None:
        self._action = action
        self._task_vars = task_vars
        self._aws = dict(aws)
        self._guard = guard

    def run(self, module: str, step: str, /, **options: t.Any) -> Result:
        """Run one module; C(None) options are left out. Raises StepFailed, or ControllerGone before it."""
        self._guard.check()
        args = {**self._aws, **{key: value for key, value in options.items() if value is not None}}
        result: Result = plain(
            self._action._execute_module(module_name=module, module_args=args, task_vars=self._task_vars)
        )
        # Without a code it did not understand its options, or found no credentials, and would say so again.
        _raise_if_failed(step, result, "BadInput")
        return result


class CandidateHost:
    """A candidate, reached by Ansible's own ssh connection, with a known_hosts file of its own.

    The host key is taken on first use, under its alias, the instance's id, and checked from then on, whatever address
    the instance has then. One that is C(known) must have a key there already.
    """

    def __init__(
        self,
        action: ActionBase,
        task_vars: Mapping[str, t.Any],
        *,
        address: str,
        host_key_alias: str,
        known: bool,
        user: str,
        key_path: str,
        known_hosts: str,
        python: str,
        guard: ControllerGuard,
    ) -> None:
        self.address = address
        self._action = action
        self._guard = guard
        self._vars: dict[str, t.Any] = {
            **task_vars,
            "ansible_connection": "ssh",
            "ansible_host": address,
            "ansible_port": 22,
            "ansible_user": user,
            "ansible_ssh_private_key_file": os.path.expanduser(key_path),
            "ansible_ssh_common_args": " ".join(
                (
                    f"-o UserKnownHostsFile={shlex.quote(known_hosts)}",
                    f"-o HostKeyAlias={shlex.quote(host_key_alias)}",
                    f"-o StrictHostKeyChecking={'yes' if known else 'accept-new'}",
                    "-o HashKnownHosts=no -o IdentitiesOnly=yes -o LogLevel=ERROR",
                    "-o ConnectTimeout=10 -o ServerAliveInterval=15 -o ServerAliveCountMax=4",
                )
            ),
            "ansible_ssh_pipelining": True,
            "ansible_ssh_retries": 0,
            "ansible_python_interpreter": python,
            "ansible_become": False,
        }
        self._connection = self._connect()

    def _connect(self) -> t.Any:
        connection = connection_loader.get(
            "ansible.builtin.ssh",
            self._action._play_context,
            task_uuid=self._action._task._uuid,
            ansible_playbook_pid=str(self._guard.controller_pid),
        )
        connection.set_options(var_options=self._vars)
        connection._shell.set_options(var_options=self._vars)
        return connection

    @contextlib.contextmanager
    def _swapped(self) -> Iterator[None]:
        """Let the action speak to the candidate for a while."""
        before = self._action._connection
        self._action._connection = self._connection
        try:
            yield
        finally:
            self._action._connection = before

    def command(self, command: str) -> tuple[int, str, str]:
        """Run a shell command; returns code, stdout and stderr. Raises AnsibleConnectionFailure."""
        with self._swapped():
            result = self._action._low_level_execute_command(command, sudoable=False)
        return int(result["rc"]), str(result["stdout"]), str(result["stderr"])

    def wait_for_ssh(self, timeout_s: float) -> float:
        """Wait until a command runs there; returns how long that was, in s. Raises StepFailed with the last error."""
        began_s = time.monotonic()
        deadline = began_s + timeout_s
        waited_s = 0.0
        last = "no answer on port 22"
        while time.monotonic() < deadline:
            self._guard.check()
            if not _port_answers(self.address, 22):
                time.sleep(0.25)
                waited_s = time.monotonic() - began_s
                continue
            try:
                code, _out, err = self.command("true")
            except AnsibleConnectionFailure as error:
                # sshd may answer before the launch key is in place: asked again until the time is up.
                last = str(error)
                time.sleep(0.5)
                waited_s = time.monotonic() - began_s
                continue
            if code == 0:
                return waited_s
            last = err
        raise StepFailed("ssh", "SshTimeout", f"{self.address} gave no shell within {timeout_s:.0f} s: {last}")

    def clock_ahead_s(self) -> float:
        """How many seconds the host's time of day is ahead of this one's, as exactly as a command is quick.

        Raises StepFailed, or AnsibleConnectionFailure.
        """
        began_s = time.time()
        _code, out, err = self.command("date +%s.%N")
        ended_s = time.time()
        try:
            return float(out) - (began_s + ended_s) / 2
        except ValueError as error:
            raise StepFailed("confirm", "NoClock", f"date +%s.%N says {out or err!r}") from error

    def probe(
        self,
        module: str,
        options: Mapping[str, t.Any],
        timeout_s: int,
        on_progress: Callable[[Result], None],
        meanwhile: Callable[[], None],
    ) -> Result:
        """Run the probe asynchronously, do something else meanwhile, and read its progress over the same connection."""
        path = str(options["progress_path"])
        running = self.start(module, options, timeout_s, progress_path=path, step="probe")
        meanwhile()
        deadline = time.monotonic() + timeout_s + 30
        while time.monotonic() < deadline:
            time.sleep(LOOK_S)
            shown, found = running.look()
            if found is not None:
                running.clear()
                return found
            if shown is not None:
                on_progress(shown)
        raise StepFailed("probe", "ProbeTimeout", f"no result within {timeout_s} s")

    def start(
        self, module: str, options: Mapping[str, t.Any], timeout_s: int, *, progress_path: str, step: str
    ) -> RunningModule:
        """Start a module there and leave it running; it writes its progress to this path. Raises StepFailed."""
        task = self._action._task
        with self._swapped():
            before = task.async_val
            task.async_val = timeout_s
            try:
                job: Result = self._action._execute_module(
                    module_name=module, module_args=dict(options), task_vars=self._vars, wrap_async=True
                )
            finally:
                task.async_val = before
        _raise_if_failed(step, job, "ProbeFailed")
        return RunningModule(self.command, str(job["results_file"]), progress_path, step)

    def close(self) -> None:
        """End the connection that is kept open behind the commands."""
        self._connection.reset()


class RunningModule:
    """A module that runs on a host without anybody waiting for it, with a progress file of its own."""

    def __init__(
        self, command: Callable[[str], tuple[int, str, str]], results_path: str, progress_path: str, step: str
    ) -> None:
        self._command = command
        self._results = shlex.quote(results_path)
        self._progress = shlex.quote(progress_path)
        self._step = step

    def look(self) -> tuple[Result | None, Result | None]:
        """Its progress (or None) and its result (None while it runs). Raises StepFailed when it failed."""
        _code, out, _err = self._command(f"cat {self._progress} 2>/dev/null; echo; cat {self._results}")
        shown, found = parse_look(out)
        if found is not None and found.get("failed"):
            self.clear()
            _raise_if_failed(self._step, found, "ProbeFailed")
        return shown, found

    def clear(self, *more: str) -> None:
        """Remove its files, once it has ended, and more that were made for it."""
        self._command(" ".join(["rm -f", self._progress, self._results, *map(shlex.quote, more)]))


def _port_answers(address: str, port: int, timeout_s: float = 1.0) -> bool:
    with socket.socket() as probe:
        probe.settimeout(timeout_s)
        return probe.connect_ex((address, port)) == 0


def progress_sayer(say: Callable[[str], None], endpoint: str = "", every_s: float = 3.0) -> Callable[[Result], None]:
    """A receiver of a probe's progress that tells a person of it, at most every few seconds.

    The best so far of C(endpoint) is told with the number of handshakes behind it.
    """
    said_at_s = time.monotonic()

    def receive(progress: Result) -> None:
        nonlocal said_at_s
        if time.monotonic() - said_at_s < every_s:
            return
        said_at_s = time.monotonic()
        say(progress_text(progress, endpoint))

    return receive


def progress_text(progress: Result, endpoint: str = "") -> str:
    """How far a probe is, in one line."""
    total, done = progress.get("handshakes_total") or 0, progress.get("handshakes_done") or 0
    share = f"{100 * done // total} % ({done:,} of {total:,} handshakes)" if total else progress["stage"]
    best = next((each for each in progress.get("best") or [] if each.get("name") == endpoint), None)
    if best is None or not best.get("samples") or best.get("wall_us") is None:
        return f"probing, {share}"
    return f"probing, {share}; best of {endpoint} {best['wall_us']:.2f}µs of {best['samples']:,}"


def parse_look(text: str) -> tuple[Result | None, Result | None]:
    """Read a look at a running probe: its progress (or None) and its result (None while it runs).

    The job file says C(started) without C(finished) until the module has ended; a file that is being
    written may be cut short, and is read again at the next look.
    """
    progress: Result | None = None
    found: Result | None = None
    for line in text.splitlines():
        document = _json_object(line)
        if document is None:
            continue
        if "stage" in document:
            progress = document
        elif not (document.get("started") and not document.get("finished")):
            found = document
    return progress, found


def _json_object(line: str) -> Result | None:
    try:
        document = json.loads(line)
    except ValueError:
        return None
    # A candidate wrote it: its image, its resolver and whoever answered there.
    return plain(document) if isinstance(document, dict) else None
