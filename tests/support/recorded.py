# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recorded machine for tests of tuning: files below a folder, commands that answer what was recorded.

It counts what is written to it, and behaves like a kernel where that matters: a file that lists choices moves its
brackets or answers EINVAL, and a test can give any file a behaviour of its own.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.facts import Cpu, Facts, Topology
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done, Host
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import Knob, KnobFailed, Setting

#: A command as words, or as text: the whole command, or its first words.
Command = Union[tuple[str, ...], str]
#: What a command answers: always the same, or what a function of its words says.
Answer = Union[Done, Callable[[Sequence[str]], Done]]
#: What a kernel file reads as after a text was written to it. Raises OSError where the kernel refuses.
Behaviour = Callable[[str], str]


class Link(str):
    """In files: a symbolic link that says this."""

    __slots__ = ()


class RecordedHost(Host):
    """The machine. writes: (path, text) of every write that changed or poked something, in order; removed: paths that
    were removed; ran: the commands. kernel: path to behaviour.
    """

    def __init__(self, root: str, commands: Mapping[Command, Answer]) -> None:
        super().__init__(root=root, run=self._answer)
        self.commands = dict(commands)
        self.writes: list[tuple[str, str]] = []
        self.removed: list[str] = []
        self.ran: list[tuple[str, ...]] = []
        self.kernel: dict[str, Behaviour] = {}

    def add(self, files: Mapping[str, str]) -> None:
        """Put files (path on the machine to text) there. Not counted as writes."""
        for path, text in files.items():
            real = pathlib.Path(self.path(path))
            real.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(text, Link):
                real.symlink_to(text)
            else:
                real.write_text(text, encoding="utf-8")

    def refuse(self, path: str, code: int) -> None:
        """Let every write to a kernel file end with this errno."""

        def behaviour(text: str) -> str:
            raise OSError(code, os.strerror(code))

        self.kernel[path] = behaviour

    def forget(self) -> None:
        """Begin to count anew."""
        self.writes.clear()
        self.removed.clear()
        self.ran.clear()

    def poke(self, path: str, text: str) -> None:
        behaviour = self.kernel.get(path, self._choose(path))
        try:
            if not self.exists(path):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            after = behaviour(text)
        except OSError as error:
            raise KnobFailed(f"{path}: {error.strerror} for {text!r}") from error
        self.writes.append((path, text))
        pathlib.Path(self.path(path)).write_text(after, encoding="utf-8")
        self._changed()

    def write(self, path: str, text: str, mode: int = 0o644) -> bool:
        changed = super().write(path, text, mode)
        if changed:
            self.writes.append((path, text))
        return changed

    def remove(self, path: str) -> bool:
        changed = super().remove(path)
        if changed:
            self.removed.append(path)
        return changed

    def _choose(self, path: str) -> Behaviour:
        """How a file that lists choices, such as C(always [madvise] never), takes a word; any other keeps the text."""
        before = self.read(path) or ""

        def behaviour(text: str) -> str:
            if not re.search(r"\[\S+\]", before):
                return text
            words = before.replace("[", "").replace("]", "").split()
            if text.strip() not in words:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return " ".join(f"[{word}]" if word == text.strip() else word for word in words) + "\n"

        return behaviour

    def _answer(self, command: Sequence[str]) -> Done:
        words = tuple(command)
        self.ran.append(words)
        answer = self._find(words)
        if answer is None:
            return Done(127, "", f"{words[0]} is not installed")
        return answer if isinstance(answer, Done) else answer(words)

    def _find(self, words: tuple[str, ...]) -> Answer | None:
        """The whole command, else the longest beginning of it that was recorded as text."""
        if words in self.commands:
            return self.commands[words]
        for count in range(len(words), 0, -1):
            text = " ".join(words[:count])
            if text in self.commands:
                return self.commands[text]
        return None


def recorded_host(
    folder: pathlib.Path, files: Mapping[str, str], commands: Mapping[Command, Answer] | None = None
) -> RecordedHost:
    """A machine with these files (path on the machine to text, or to a Link) and these commands."""
    host = RecordedHost(str(folder), commands or {})
    host.add(files)
    return host


def recorded_facts(**changes: Any) -> Facts:
    """A Debian 12 machine of six vCPUs, three cores with siblings, with other facts where given."""
    plain = Facts(
        family="intel",
        arch="x86_64",
        distribution="debian",
        version="12",
        kernel="6.1.0-38-cloud-amd64",
        kernel_config={"CONFIG_NO_HZ_FULL": "y"},
        topology=Topology(tuple(Cpu(number, number - number % 2, 0) for number in range(6))),
        memory_kib=4 * 1024 * 1024,
        interface="ens5",
        driver="ena",
        bootloader="grub_dropin",
    )
    return dataclasses.replace(plain, **changes)


def recorded_setting(means: str, target: str, value: str, **more: Any) -> Setting:
    """A setting of a knob that is named after its target."""
    identifier = re.sub(r"\W+", "_", target).strip("_").lower()
    knob = Knob(id=identifier, group="cpu", means=means, target=target, value=value, summary="", source="", **more)
    return Setting(knob, value)
