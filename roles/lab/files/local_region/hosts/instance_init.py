# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first process of a simulated instance, and its parent outside.

`python -m local_region.hosts.instance_init`, with a BootPlan as JSON on its stdin, enters the instance's network
namespace, makes mount, PID, UTS and IPC namespaces, and forks. The child builds the root, starts sshd and user data,
reaps, and keeps the shutdown timer; the parent only waits for it. The instance ends when this child does: the kernel
then ends every process in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time

from local_region.hosts import instance_root, linux
from local_region.hosts.boot_plan import BootPlan

CONTROL_SOCKET = "/run/lab-init.sock"
SCHEDULED = "/run/systemd/shutdown/scheduled"
USER_DATA = "/var/lib/cloud/instance/user-data.txt"
USER_DATA_RAN = "/var/lib/cloud/instance/user-data.ran"
USER_DATA_LOG = "/var/log/cloud-init-output.log"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
RESULT = "/run/cloud-init/result.json"
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_SSHD = ("/usr/sbin/sshd", "-D", "-e")
_SSHD_POLL_S = 0.01
# logind waits for services to end; here everything left gets this long between SIGTERM and the end.
_GRACE_S = 0.5
_NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC


class Init:
    """PID 1: one loop over the lifeline, the control socket, ended children and the times that are due."""

    def __init__(self, plan: BootPlan) -> None:
        self.plan = plan
        self.sshd_due_s: float | None = time.monotonic() + plan.boot_s
        self.ready = False
        self.user_data_pid = 0
        self.shutdown: tuple[str, int] | None = None  # mode, due in µs since the epoch
        self.ending: str | None = None
        self.wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.control.bind(CONTROL_SOCKET)
        os.chmod(CONTROL_SOCKET, 0o600)
        self.control.listen(8)

    def run(self) -> str:
        """Serve until the instance ends; return the mode: poweroff, halt, reboot, or lost when the daemon is gone."""
        while self.ending is None:
            sources = [self.plan.lifeline_fd, self.control.fileno(), self.wake_read]
            readable = select.select(sources, [], [], self._pause_s())[0]
            if self.plan.lifeline_fd in readable:
                return "lost"
            if self.wake_read in readable:
                os.read(self.wake_read, 4096)
            self._reap()
            if self.control.fileno() in readable:
                self._answer()
            self._do_what_is_due()
        return self.ending

    def _pause_s(self) -> float | None:
        pauses = []
        if self.sshd_due_s is not None:
            pauses.append(self.sshd_due_s - time.monotonic())
        elif not self.ready:
            pauses.append(_SSHD_POLL_S)
        if self.shutdown is not None:
            # Bounded, since the wall clock that it is due by may be set meanwhile.
            pauses.append(min(30.0, self.shutdown[1] / 1e6 - time.time()))
        return max(0.0, min(pauses)) if pauses else None

    def _do_what_is_due(self) -> None:
        if self.sshd_due_s is not None and time.monotonic() >= self.sshd_due_s:
            self.sshd_due_s = None
            _spawn(_SSHD)
        elif self.sshd_due_s is None and not self.ready and _listens(22):
            self.ready = True
            _report(self.plan, "ready")
            self._start_user_data()
        if self.shutdown is not None and time.time() * 1e6 >= self.shutdown[1]:
            self.ending = self.shutdown[0]

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.user_data_pid:
                    _finish_cloud_init(os.waitstatus_to_exitcode(ended[1]))

    def _start_user_data(self) -> None:
        if os.path.exists(USER_DATA) and not os.path.exists(USER_DATA_RAN):
            with open(USER_DATA_RAN, "w", encoding="utf-8"):
                pass  # before it runs: a script that ends the instance must not run again at the next boot
            self.user_data_pid = _spawn((USER_DATA,), USER_DATA_LOG)
        else:
            _finish_cloud_init(0)

    def _answer(self) -> None:
        connection = self.control.accept()[0]
        with connection, contextlib.suppress(OSError):
            connection.settimeout(2.0)
            words = connection.recv(200).decode("ascii", "replace").split()
            connection.sendall(self._obey(words).encode())

    def _obey(self, words: list[str]) -> str:
        if words[:1] == ["now"] and len(words) == 2:
            self.ending = words[1]
            return ""
        if words[:1] == ["schedule"] and len(words) == 3:
            self.shutdown = (words[1], int(words[2]))
            # The file that systemd-logind writes (src/login/logind-dbus.c, update_schedule_file).
            _write(SCHEDULED, f"USEC={words[2]}\nWARN_WALL=1\nMODE={words[1]}\n")
            return f"Shutdown scheduled for {_utc(self.shutdown[1])}, use 'shutdown -c' to cancel.\n"
        if words == ["cancel"]:
            self.shutdown = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(SCHEDULED)
            return ""
        if words == ["show"]:
            return f"Scheduled for {_utc(self.shutdown[1])}.\n" if self.shutdown else "No scheduled shutdown.\n"
        return "unknown request\n"


def _utc(usec: int) -> str:
    return time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(usec / 1e6))


def _write(path: str, text: str) -> None:
    """Replace a file at once, so that no reader sees half of it."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(f"{path}.new", path)


def _finish_cloud_init(code: int) -> None:
    errors = [] if code == 0 else [f"user data ended with {code}"]
    _write(RESULT, json.dumps({"v1": {"datasource": "DataSourceEc2Local", "errors": errors}}) + "\n")
    _print_host_keys()


def _print_host_keys() -> None:
    """Show the host keys on the console, as cloud-init does at the end of a boot."""
    with open(HOST_KEY, encoding="utf-8") as file:
        key = file.read()
    print(f"-----BEGIN SSH HOST KEY KEYS-----\n{key}-----END SSH HOST KEY KEYS-----", flush=True)


def _listens(port: int) -> bool:
    """Whether something listens on a TCP port of this network namespace. To connect would cost sshd a process.

    As everywhere in PID 1, no codec but UTF-8: the modules of others lie outside of the instance's root.
    """
    with open("/proc/net/tcp", encoding="utf-8") as table:
        rows = [line.split() for line in table]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows[1:])  # 0A: TCP_LISTEN


def _spawn(command: tuple[str, ...], log: str | None = None) -> int:
    """Start a program of the instance in a session of its own; return its pid. It can't reach what PID 1 holds."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if log:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
        os.execve(command[0], command, _ENVIRONMENT)  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _no_stdin() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.dup2(descriptor, 0)
    os.close(descriptor)


def _report(plan: BootPlan, line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(plan.report_fd, f"{line}\n".encode())


def _end_everything() -> None:
    """SIGTERM to all, and a short while for them to go; the end of PID 1 is SIGKILL to the rest."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)
    deadline_s = time.monotonic() + _GRACE_S
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline_s:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)


def first_process(plan: BootPlan) -> int:
    """Be PID 1 of the instance; return the exit status."""
    linux.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setsid()
    os.umask(0o022)
    linux.set_hostname(plan.hostname)
    instance_root.build(plan)
    linux.keep_only_capabilities(instance_root.KEPT_CAPABILITIES)
    linux.set_process_name("lab-init")
    mode = Init(plan).run()
    if mode != "lost":
        _report(plan, f"ended {mode}")
        _end_everything()
    return 0


def main() -> int:
    plan = BootPlan.from_json(sys.stdin.read())
    os.set_inheritable(plan.lifeline_fd, False)
    os.set_inheritable(plan.report_fd, False)
    _no_stdin()
    linux.enter_namespace(plan.network_namespace, linux.CLONE_NEWNET)
    linux.unshare(_NAMESPACES)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = first_process(plan)
        except Exception as error:
            # Nothing can be imported any more once the root is the instance's, so no traceback.
            print(f"{plan.instance_id}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    linux.set_process_name("lab-instance")
    _report(plan, f"pid {pid}")
    os.close(plan.report_fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
