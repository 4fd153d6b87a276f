# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that is tuned, as files and commands: the only place of this package with input and output.

C(root) is / on a real machine. Tests give the folder of a recorded machine, and commands that answer what was recorded.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import os
import subprocess
import typing as t
import zlib

from .model import KnobFailed

_COMMAND_TIMEOUT_S = 300


class Done(t.NamedTuple):
    """A command that ended: its return code and what it printed."""

    code: int
    output: str
    errors: str


Runner = t.Callable[[t.Sequence[str]], Done]


def run_here(command: t.Sequence[str]) -> Done:
    """Run a command on this machine. A missing program is code 127, as a shell has it."""
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    except FileNotFoundError:
        return Done(127, "", f"{command[0]} is not installed")
    return Done(done.returncode, done.stdout, done.stderr)


def _temporary(real: str) -> str:
    """The file beside a file that is to replace it. No daemon that reads drop-ins takes one that ends so."""
    folder, name = os.path.split(real)
    return os.path.join(folder, f".{name}.lowlatency-new")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _sync_folder(folder: str) -> None:
    """Make a change of names in a folder last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Host:
    """Files below a root, and commands. Paths are given as on the machine, such as /proc/cmdline.

    changes counts the changes of files that were made through this object.
    """

    def __init__(self, root: str = "/", run: Runner = run_here) -> None:
        self.root = root
        self.changes = 0
        self._run = run
        self._texts: dict[str, str | None] | None = None
        self._answers: dict[tuple[str, ...], Done] = {}

    @contextlib.contextmanager
    def remembering(self) -> t.Iterator[None]:
        """Within this block each file is read, and each command run, once, and a second time answered from memory.

        For phases that only look: many knobs then share one look at grub.cfg or one ethtool. A change made here forgets
        all. A command that changes something must not be run in such a block. A block within a block shares its memory.
        """
        if self._texts is not None:
            yield
            return
        self._texts = {}
        try:
            yield
        finally:
            self._texts = None
            self._answers = {}

    def _changed(self) -> None:
        self.changes += 1
        if self._texts is not None:
            self._texts = {}
            self._answers = {}

    def run(self, command: t.Sequence[str]) -> Done:
        """Run a command, whatever its return code."""
        if self._texts is None:
            return self._run(command)
        known = tuple(command)
        if known not in self._answers:
            self._answers[known] = self._run(command)
        return self._answers[known]

    def path(self, path: str) -> str:
        """Where a path of the machine is for us."""
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))

    def read(self, path: str) -> str | None:
        """The text of a file without its last line end; none when it is not there or cannot be read (EINVAL, EIO)."""
        if self._texts is None:
            return self._read(path)
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def _read(self, path: str) -> str | None:
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as file:
                return file.read().rstrip("\n")
        except OSError:
            return None

    def read_gzip(self, path: str) -> str | None:
        """The text of a compressed file, such as /proc/config.gz; none when it is not there or cannot be read."""
        try:
            with gzip.open(self.path(path), "rt", encoding="utf-8", errors="replace") as file:
                return file.read().rstrip("\n")
        except (OSError, EOFError, zlib.error):
            return None

    def read_only(self, path: str) -> bool:
        """Whether the filesystem that a path lies on is mounted read-only. Found out without writing to it."""
        try:
            return bool(os.statvfs(self.path(path)).f_flag & os.ST_RDONLY)
        except FileNotFoundError:
            return False

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.path(path))

    def glob(self, pattern: str) -> list[str]:
        """The paths, as on the machine, that a pattern matches, in order."""
        found = glob.glob(self.path(pattern))
        return sorted(found if self.root == "/" else ["/" + os.path.relpath(each, self.root) for each in found])

    def link(self, path: str) -> str | None:
        """What a symbolic link says, as it is; none when there is no such link."""
        try:
            return os.readlink(self.path(path))
        except OSError:
            return None

    def poke(self, path: str, text: str) -> None:
        """Write to a file of /proc or /sys. Raises KnobFailed with the kernel's reason."""
        try:
            with open(self.path(path), "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise KnobFailed(f"{path}: {error.strerror} for {text!r}") from error
        self._changed()

    def write(self, path: str, text: str, mode: int = 0o644) -> bool:
        """Make an ordinary file hold exactly this text, at once or not at all. Tells whether it changed."""
        if self.read(path) == text.rstrip("\n") and self.exists(path):
            return False
        real = self.path(path)
        os.makedirs(os.path.dirname(real), mode=0o755, exist_ok=True)
        # Always the same name: what a killed run left of it is taken up by the next write, or removed with the file.
        temporary = _temporary(real)
        try:
            with open(temporary, "w", encoding="utf-8", opener=_private) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, mode)
            os.replace(temporary, real)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync_folder(os.path.dirname(real))
        self._changed()
        return True

    def remove(self, path: str) -> bool:
        """Remove a file. Tells whether it was there.

        A folder for systemd's drop-ins goes with its last one: empty, it means what none means.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_temporary(self.path(path)))
        there = self.exists(path)
        if there:
            os.unlink(self.path(path))
            self._changed()
        folder = os.path.dirname(path)
        if folder.startswith("/etc/systemd/") and folder.endswith(".d"):
            self.remove_folder(folder)
        return there

    def remove_folder(self, path: str) -> bool:
        """Remove a folder if it is there and empty. Tells whether it did."""
        try:
            os.rmdir(self.path(path))
        except OSError:
            return False
        self._changed()
        return True

    def check(self, *command: str) -> str:
        """What a command prints. Raises KnobFailed when it ends with another code than 0."""
        done = self.run(command)
        if done.code != 0:
            raise KnobFailed(f"{' '.join(command)}: {(done.errors or done.output).strip() or done.code}")
        return done.output
