# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings a lab up, takes it down and shows it, from outside of the lab's own process."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from local_region import preflight
from local_region.daemon import Record
from local_region.hosts import linux
from local_region.hosts.processes import ProcessId, in_network_namespaces, with_argument
from local_region.machine.image import ImageError, base_image
from local_region.network.layout import LabNetwork
from local_region.preflight import LabError
from local_region.settings import Settings

_UP_TIMEOUT_S = 90.0
_DOWN_TIMEOUT_S = 40.0
_LOCK_TIMEOUT_S = 120.0
_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

Say = Callable[[str], None]


def up(settings: Settings, say: Say, check: bool = False) -> dict[str, Any]:
    """Bring the lab up unless it is, and wait until it serves. With `check` only say whether it would.

    Returns changed, endpoint_url, endpoints, truth_path and log. Raises LabError, before anything is changed where
    the reason could be known before.
    """
    settings = _with_owner(settings)
    preflight.need_root()
    with _alone(settings.index):
        record = _running(settings)
        if record is not None:
            _refuse_differences(record, settings)
            return _described(record, changed=False)
        for process in _daemons(settings):
            raise LabError(f"process {process.pid} of lab {settings.index} runs without its state: take it down first")
        preflight.check_machine()
        preflight.check_addresses(LabNetwork(settings.index).conflicts(), settings.index)
        preflight.check_port(settings.api_port)
        if settings.machines:
            preflight.check_programs(preflight.MACHINE_PROGRAMS)
        if check:
            return {"changed": True, "endpoint_url": f"http://127.0.0.1:{settings.api_port}", "endpoints": []}
        if settings.machines:
            _make_image(settings, say)
        if _traces(settings):
            say("removing what an earlier lab left")
            _sweep(settings)
        _start(settings, say)
        record = _running(settings)
        if record is None:
            raise LabError(f"the lab ended right after it came up, see {_log_path(settings)}")
        return _described(record, changed=True)


def _make_image(settings: Settings, say: Say) -> None:
    """Have the machines' image there before the lab is, so that no launch waits minutes for it."""
    try:
        base_image(Path(settings.machine_image_dir), say)
    except ImageError as error:
        raise LabError(f"lab_machines: {error}") from error


def down(settings: Settings, say: Say, check: bool = False) -> dict[str, Any]:
    """Take the lab down and remove all of it, also when its process was killed. Returns changed and leftovers."""
    preflight.need_root()
    with _alone(settings.index):
        there = _traces(settings)
        if check or not there:
            return {"changed": bool(there), "leftovers": []}
        for process in _daemons(settings):
            say("ending the lab's process")
            process.end(_DOWN_TIMEOUT_S)
        _sweep(settings)
        leftovers = _traces(settings)
        if leftovers:
            raise LabError(f"the lab could not be removed: {'; '.join(leftovers)}")
        return {"changed": True, "leftovers": leftovers}


def status(settings: Settings, racks: bool = False) -> dict[str, Any]:
    """Return whether the lab is up, and its instances; their racks only when asked. Raises LabError."""
    record = _running(settings)
    if record is None:
        return {"changed": False, "up": False, "instances": [], "table": [f"lab {settings.index} is down"]}
    with urllib.request.urlopen(f"{record.endpoint_url}/lab/instances", timeout=10) as answer:  # noqa: S310
        instances = json.load(answer)
    if not racks:
        for instance in instances:
            instance.pop("rack", None)
    shown = _described(record, changed=False)
    table = [f"lab {settings.index} is up at {record.endpoint_url}", *(f"ended: {part}" for part in record.ended_parts)]
    return {
        **shown,
        "up": True,
        "ended_parts": record.ended_parts,
        "instances": instances,
        "table": table + instance_table(instances),
    }


def instance_table(instances: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of instances as the API lists them; with a column for racks where they have one."""
    if not instances:
        return ["no instances"]
    columns = ["instance_id", "state", "instance_type", "placement_group", "private_ip_address", "public_ip_addresses"]
    columns += ["rack"] if "rack" in instances[0] else []
    rows = [[column.replace("_", " ").removesuffix(" address").removesuffix(" addresses") for column in columns]]
    for instance in instances:
        cells = [instance[column] for column in columns]
        rows.append([" ".join(cell) if isinstance(cell, list) else str(cell or "") or "-" for cell in cells])
    widths = [max(len(row[number]) for row in rows) for number in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _with_owner(settings: Settings) -> Settings:
    """Give the truth file to the person who called sudo."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if settings.owner_uid == 0 and uid.isdigit() and gid.isdigit():
        return replace(settings, owner_uid=int(uid), owner_gid=int(gid))
    return settings


def _running(settings: Settings) -> Record | None:
    record = Record.load(settings.state_dir)
    return record if record is not None and record.process.runs() else None


def _daemons(settings: Settings) -> list[ProcessId]:
    """Return the lab's own process: by its record, or by what it was started with should the record be gone."""
    record = _running(settings)
    return [record.process] if record else with_argument(_settings_path(settings))


def _refuse_differences(record: Record, settings: Settings) -> None:
    differences = record.settings.differences(settings)
    if differences:
        raise LabError(
            f"lab {settings.index} is up with other settings ({'; '.join(differences)}):"
            " take it down first (lab_state=absent)"
        )
    if record.ended_parts:
        raise LabError(
            f"lab {settings.index} is up, but its {', '.join(record.ended_parts)} ended, see {_log_path(settings)}:"
            " take it down first (lab_state=absent)"
        )


def _described(record: Record, changed: bool) -> dict[str, Any]:
    return {
        "changed": changed,
        "endpoint_url": record.endpoint_url,
        "endpoints": record.endpoints,
        "truth_path": record.settings.truth_path,
        "log": _log_path(record.settings),
    }


def _log_path(settings: Settings) -> str:
    return os.path.join(settings.state_dir, "daemon.log")


def _settings_path(settings: Settings) -> str:
    return os.path.join(settings.state_dir, "settings.json")


def _start(settings: Settings, say: Say) -> None:
    say(f"starting lab {settings.index}")
    os.makedirs(settings.state_dir, mode=0o755, exist_ok=True)
    with open(_settings_path(settings), "w", encoding="utf-8") as file:
        file.write(settings.to_json())
    ready_read, ready_write = os.pipe()
    try:
        process = _spawn(settings, ready_write)
    finally:
        os.close(ready_write)
    try:
        answer = _await_answer(ready_read)
    finally:
        os.close(ready_read)
    if "endpoint_url" in answer:
        return
    process.kill()
    process.wait()
    reason = answer.get("error", f"no answer within {_UP_TIMEOUT_S:.0f} s or its process ended")
    tail = _tail(_log_path(settings))
    _sweep(settings)
    say(tail)
    raise LabError(f"the lab did not come up: {reason}")


def _spawn(settings: Settings, ready_fd: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "local_region", "serve", "--settings", _settings_path(settings)]
    with open(_log_path(settings), "ab") as log:
        return subprocess.Popen(
            [*command, "--ready-fd", str(ready_fd)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(ready_fd,),
            env={
                "PATH": preflight.SEARCH_PATH,
                "PYTHONPATH": _PACKAGE_ROOT,
                # Root's byte code goes with the lab; the package's folder may be a person's.
                "PYTHONPYCACHEPREFIX": os.path.join(settings.state_dir, "pycache"),
                "LANG": "C.UTF-8",
                "HOME": "/nonexistent",
            },
            cwd="/",
            start_new_session=True,
        )


def _await_answer(descriptor: int) -> dict[str, str]:
    deadline_s = time.monotonic() + _UP_TIMEOUT_S
    text = b""
    while not text.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
            return {}
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return {}
        text += chunk
    answer: dict[str, str] = json.loads(text)
    return answer


def _tail(path: str, lines: int = 30) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:]).rstrip()
    except FileNotFoundError:
        return ""


def _mounts(state_dir: str) -> list[str]:
    """Return the mount points in the state folder, the deepest first."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file]
    return sorted((point for point in points if point.startswith(f"{state_dir}/")), key=len, reverse=True)


def _traces(settings: Settings) -> list[str]:
    """Return, one text each, everything that is there of this lab."""
    found = [f"process {process.pid}" for process in _daemons(settings)]
    found += LabNetwork(settings.index).leftovers()
    found += [f"mount {point}" for point in _mounts(settings.state_dir)]
    if os.path.isdir(settings.state_dir):
        found.append(f"folder {settings.state_dir}")
    return found


def _sweep(settings: Settings) -> None:
    """Remove what is there of a lab whose own process does not run any more."""
    network = LabNetwork(settings.index)
    prefix = network.addressing.namespace_prefix
    with contextlib.suppress(FileNotFoundError):
        names = [name for name in os.listdir("/run/netns") if name.startswith(prefix)]
        _end(in_network_namespaces(f"/run/netns/{name}" for name in names))
    network.down()
    for point in _mounts(settings.state_dir):
        linux.unmount(point)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(settings.state_dir)
    with contextlib.suppress(OSError):  # other labs may have theirs in it
        os.rmdir(os.path.dirname(settings.state_dir))


def _end(processes: list[ProcessId]) -> None:
    for process in processes:
        if not process.end(0.0, signal.SIGKILL):
            raise LabError(f"process {process.pid} of the lab can't be ended")


@contextlib.contextmanager
def _alone(index: int) -> Iterator[None]:
    """Let one command at a time change a lab. The lock is a name in the abstract socket namespace: it leaves no file
    and goes with its holder.
    """
    deadline_s = time.monotonic() + _LOCK_TIMEOUT_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as lock:
        while True:
            try:
                lock.bind(f"\0lowlatency-lab-{index}-control")
                break
            except OSError as error:
                if time.monotonic() > deadline_s:
                    raise LabError(f"another command has been busy with lab {index} for too long") from error
                time.sleep(0.05)
        yield
