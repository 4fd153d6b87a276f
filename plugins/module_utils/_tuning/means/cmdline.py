# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of the kernel's command line. Read in /proc/cmdline; kept by the boot loader's configuration.

Debian and Ubuntu: a drop-in of /etc/default/grub.d that appends to what is there, and update-grub. Amazon Linux 2023
and RHEL 9: entries of the Boot Loader Specification, changed by grubby, which also keeps GRUB_CMDLINE_LINUX in step;
and /etc/kernel/cmdline, where it is there, from which kernel-install takes the line of kernels to come (without it, it
takes the running one's).
"""

from __future__ import annotations

import json
import re
import shlex
import typing as t

from ..facts import Facts
from ..host import Host
from ..model import KnobFailed, Reading, Setting
from ..paths import GRUB_DROPIN, STATE

GRUB_CONFIG = "/boot/grub/grub.cfg"
ENTRIES = "/boot/loader/entries"
NEW_KERNELS = "/etc/kernel/cmdline"

#: There while grub.cfg may be behind the drop-in: a run that is killed in between is completed by the next one.
GRUB_DUE = f"{STATE}/update-grub-is-due"
#: What grubby was told, and what the entries had before.
GRUBBY_STATE = f"{STATE}/grubby.json"

_HEADER = "# Written by lowlatency.ec2 (os_tuning). Changes are lost; set os_tuning_knobs instead.\n"

#: What passes through a shell, GRUB's own shell, sed in grubby, and the kernel as it is.
_PLAIN = re.compile(r"[A-Za-z0-9_.,:/@%+=~^-]*")

#: An assignment in GRUB's files that are read by a shell; the group is what is assigned.
_OVERWRITES = re.compile(r"^\s*(?:export\s+)?GRUB_CMDLINE_LINUX_DEFAULT=(.*)$", re.MULTILINE)


class Parameter(t.NamedTuple):
    """A parameter of a command line. value: none for a bare flag."""

    name: str
    value: str | None


def parse(line: str) -> list[Parameter]:
    """The parameters of a command line that are the kernel's own, those in front of C(--).

    Follows lib/cmdline.c next_arg() and kernel/params.c parse_args(): quotes keep blanks together, they are taken off
    around a whole parameter or a whole value, and the first = that is not the first character parts name from value.
    """
    found: list[Parameter] = []
    at = 0
    while True:
        while at < len(line) and line[at].isspace():
            at += 1
        if at == len(line):
            return found
        word, quoted, at = _word(line, at)
        parameter = _parameter(word, quoted)
        if parameter == ("--", None):
            return found
        found.append(parameter)


def _word(line: str, at: int) -> tuple[str, bool, int]:
    """The word that begins here, whether a quote began it (left out), and where it ends."""
    quoted = line[at] == '"'
    inside = quoted
    at += quoted
    start = at
    while at < len(line) and (inside or not line[at].isspace()):
        inside ^= line[at] == '"'
        at += 1
    return line[start:at], quoted, at


def _parameter(word: str, quoted: bool) -> Parameter:
    equals = word.find("=", 1)
    if equals < 0:
        return Parameter(word[:-1] if quoted and word.endswith('"') else word, None)
    name, value = word[:equals], word[equals + 1 :]
    closed = value.endswith('"')
    if value.startswith('"'):
        value = value[1:-1] if closed and len(value) > 1 else value[1:]
    elif quoted and closed:
        value = value[:-1]
    return Parameter(name, value)


def render(parameters: t.Iterable[Parameter]) -> str:
    """A command line that C(parse) reads as these parameters. Raises ValueError for what no command line can say."""
    wanted = list(parameters)
    line = " ".join(map(_rendered, wanted))
    if parse(line) != wanted:
        raise ValueError(f"no command line says {wanted!r}")
    return line


def _rendered(parameter: Parameter) -> str:
    name, value = parameter
    if value is None:
        return f'"{name}"' if _blank(name) else name
    if _blank(name):
        return f'"{name}={value}"'
    return f'{name}="{value}"' if _blank(value) else f"{name}={value}"


def _blank(text: str) -> bool:
    return any(character.isspace() for character in text)


def values_of(parameters: t.Iterable[Parameter], name: str) -> list[str]:
    """All values of a parameter, in order; the last one counts. The kernel takes - and _ in names for the same."""
    wanted = name.replace("-", "_")
    return [parameter.value or "" for parameter in parameters if parameter.name.replace("-", "_") == wanted]


class Line(t.NamedTuple):
    """The command line of an entry that boots, or will."""

    entry: str
    parameters: list[Parameter]


class BootLoader(t.Protocol):
    """A boot loader's configuration."""

    def lines(self, host: Host) -> list[Line]:
        """The lines of all entries that boot the system as it usually is. An entry for recovery is none."""

    def due(self, host: Host) -> bool:
        """Whether a run ended between two writes of it."""

    def hint(self, host: Host) -> str:
        """Why a parameter of ours may not be in the lines; empty when nothing is seen."""

    def keep(self, host: Host, wanted: t.Mapping[str, str]) -> None:
        """Make the configuration hold exactly these parameters of ours. Raises KnobFailed."""


class Cmdline:
    """The means C(cmdline). target: a parameter's name; value: empty for a bare flag. It takes effect with a boot."""

    def read(self, host: Host, facts: Facts, setting: Setting) -> Reading:
        loader = LOADERS.get(facts.bootloader)
        name, value = setting.knob.target, setting.value
        if loader is None:
            return Reading(unsupported="no boot loader was found whose command line can be set (GRUB or grubby)")
        if not _PLAIN.fullmatch(name + value):
            return Reading(unsupported=f"{name}={value} holds characters that boot loaders do not pass on safely")
        running = values_of(parse(host.read("/proc/cmdline") or ""), name)
        notes = []
        if running[:-1] and running[-1] == value and set(running) != {value}:
            notes.append(f"the running command line has {name} {len(running)} times: {', '.join(running)}")
        lines = loader.lines(host)
        lacking = [line.entry for line in lines if values_of(line.parameters, name)[-1:] != [value]]
        if lacking and loader.hint(host):
            notes.append(loader.hint(host))
        return Reading(
            running={name: running[-1]} if running else {},
            wanted={name: value},
            persisted=bool(lines) and not lacking and not loader.due(host),
            note="; ".join(notes),
        )

    def apply(self, host: Host, facts: Facts, setting: Setting) -> None:
        """Only a boot brings it."""

    def persist(self, host: Host, facts: Facts, settings: t.Sequence[Setting]) -> None:
        loader = LOADERS.get(facts.bootloader)
        if loader is None:
            if settings:
                raise KnobFailed("no boot loader was found whose command line can be set (GRUB or grubby)")
            return
        for setting in settings:
            if not _PLAIN.fullmatch(setting.knob.target + setting.value):
                raise KnobFailed(f"{setting.knob.target}={setting.value} cannot be put on a command line safely")
        loader.keep(host, {setting.knob.target: setting.value for setting in settings})

    def restore(self, host: Host, facts: Facts, setting: Setting, original: t.Mapping[str, str]) -> None:
        """Only a boot takes it away again; C(persist) without it sees to that."""


def _words(wanted: t.Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" if value else name for name, value in wanted.items()]


class GrubDropIn:
    """GRUB of Debian and Ubuntu: /etc/default/grub, then /etc/default/grub.d/*.cfg by name, read by grub-mkconfig.

    Cloud images set GRUB_CMDLINE_LINUX_DEFAULT in 50-cloudimg-settings.cfg, so ours comes later and appends. Entries
    for recovery do not carry GRUB_CMDLINE_LINUX_DEFAULT (/etc/grub.d/10_linux), and so boot without tuning.
    """

    def lines(self, host: Host) -> list[Line]:
        found: list[Line] = []
        title = ""
        for text in (host.read(GRUB_CONFIG) or "").splitlines():
            keyword, rest = _pair(text)
            if keyword == "menuentry":
                title = rest
            elif keyword in ("linux", "linux16", "linuxefi"):
                words = _split(rest)
                parameters = [Parameter(*_halves(word)) for word in _own(words[1:])]
                if not _special(title, parameters):
                    found.append(Line(words[0] if words else title, parameters))
        return found

    def due(self, host: Host) -> bool:
        return host.exists(GRUB_DUE)

    def hint(self, host: Host) -> str:
        for path in host.glob("/etc/default/grub.d/*.cfg"):
            later = _OVERWRITES.search(host.read(path) or "") if path > GRUB_DROPIN else None
            if later and "GRUB_CMDLINE_LINUX_DEFAULT" not in later[1]:
                return f"{path} comes later and overwrites GRUB_CMDLINE_LINUX_DEFAULT"
        return ""

    def keep(self, host: Host, wanted: t.Mapping[str, str]) -> None:
        text = _HEADER + f'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {" ".join(_words(wanted))}"\n'
        if wanted:
            lines = self.lines(host)
            complete = all(
                values_of(line.parameters, name)[-1:] == [value] for line in lines for name, value in wanted.items()
            )
            if host.read(GRUB_DROPIN) == text.rstrip("\n") and complete and not self.due(host):
                return
            host.write(GRUB_DUE, "")
            host.write(GRUB_DROPIN, text)
        else:
            if not host.exists(GRUB_DROPIN) and not self.due(host):
                return
            host.write(GRUB_DUE, "")
            host.remove(GRUB_DROPIN)
        host.check("update-grub")
        host.remove(GRUB_DUE)


def _halves(word: str) -> tuple[str, str | None]:
    name, equals, value = word.partition("=")
    return name, value if equals else None


def _own(words: list[str]) -> list[str]:
    """The words in front of C(--), which are the kernel's."""
    return words[: words.index("--")] if "--" in words else words


def _split(text: str) -> list[str]:
    """The words of a line of grub.cfg, whose quoting is a shell's. A line that is broken says nothing."""
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _special(title: str, parameters: t.Sequence[Parameter]) -> bool:
    """Whether an entry is for recovery, or another system's."""
    return "osprober" in title or "-recovery-" in title or bool(values_of(parameters, "single"))


class Grubby:
    """grubby over entries of the Boot Loader Specification (Amazon Linux 2023, RHEL 9 and its kin)."""

    def lines(self, host: Host) -> list[Line]:
        found = [Line(entry, parse(options)) for entry, options in self._entries(host)]
        coming = host.read(NEW_KERNELS)
        return [*found, Line(NEW_KERNELS, parse(coming))] if found and coming is not None else found

    def due(self, host: Host) -> bool:
        return bool(self._state(host).get("due"))

    def hint(self, host: Host) -> str:
        return ""

    def keep(self, host: Host, wanted: t.Mapping[str, str]) -> None:
        state = self._state(host)
        ours: dict[str, str] = state.get("ours", {})
        originals: dict[str, dict[str, str | None]] = state.get("originals", {})
        lines = self.lines(host)
        lacking = {
            name: value
            for name, value in wanted.items()
            if any(values_of(line.parameters, name)[-1:] != [value] for line in lines)
        }
        gone = [name for name in ours if name not in wanted]
        if not lacking and not gone and ours == dict(wanted) and not state.get("due"):
            return
        for name in wanted:
            if name not in ours:
                originals.setdefault(name, {line.entry: _last(line.parameters, name) for line in lines})
        self._write(host, {"due": True, "ours": {**ours, **wanted}, "originals": originals})
        if gone:
            self._take_away(host, gone, originals)
        if lacking:
            host.check("grubby", "--update-kernel=ALL", f"--args={' '.join(_words(lacking))}")
        self._keep_new_kernels(host, wanted, gone, originals)
        left = {name: values for name, values in originals.items() if name in wanted}
        self._write(host, {"due": False, "ours": dict(wanted), "originals": left} if wanted else {})

    def _take_away(
        self, host: Host, gone: t.Sequence[str], originals: t.Mapping[str, t.Mapping[str, str | None]]
    ) -> None:
        """Remove parameters from all entries, and put back what the entries had of them before."""
        host.check("grubby", "--update-kernel=ALL", f"--remove-args={' '.join(gone)}")
        entries = [entry for entry, _options in self._entries(host)]
        before: dict[str, list[str]] = {}
        for entry in entries:
            words = [
                f"{name}={value}" if value else name
                for name in gone
                for value in [originals.get(name, {}).get(entry)]
                if value is not None
            ]
            if words:
                before.setdefault(" ".join(words), []).append(entry)
        for words_text, holders in before.items():
            for kernel in ["ALL"] if holders == entries else holders:
                host.check("grubby", f"--update-kernel={kernel}", f"--args={words_text}")

    def _keep_new_kernels(
        self,
        host: Host,
        wanted: t.Mapping[str, str],
        gone: t.Sequence[str],
        originals: t.Mapping[str, t.Mapping[str, str | None]],
    ) -> None:
        """The line of kernels to come. Newer releases of grubby write it too; then there is nothing left to do."""
        text = host.read(NEW_KERNELS)
        if text is None:
            return
        ours = {name.replace("-", "_") for name in (*wanted, *gone)}
        kept = [each for each in parse(text) if each.name.replace("-", "_") not in ours]
        for name in gone:
            value = originals.get(name, {}).get(NEW_KERNELS)
            if value is not None:
                kept.append(Parameter(name, value or None))
        kept += [Parameter(name, value or None) for name, value in wanted.items()]
        if sorted(map(str, kept)) != sorted(map(str, parse(text))):
            host.write(NEW_KERNELS, render(kept) + "\n")

    def _entries(self, host: Host) -> list[tuple[str, str]]:
        """Kernel and options of each entry but the rescue ones. Files, since grubby takes a second for its answer."""
        found: list[tuple[str, str]] = []
        for path in host.glob(f"{ENTRIES}/*.conf"):
            keys = dict(map(_pair, (host.read(path) or "").splitlines()))
            kernel, options = keys.get("linux", ""), keys.get("options", "")
            if "$kernelopts" in options:
                return _info(host)
            if kernel and "rescue" not in kernel:
                found.append((kernel if kernel.startswith("/boot") else f"/boot{kernel}", options))
        return found or _info(host)

    def _state(self, host: Host) -> dict[str, t.Any]:
        text = host.read(GRUBBY_STATE)
        return json.loads(text) if text else {}

    def _write(self, host: Host, state: t.Mapping[str, t.Any]) -> None:
        if state:
            host.write(GRUBBY_STATE, json.dumps(state, indent=2, sort_keys=True) + "\n")
        else:
            host.remove(GRUBBY_STATE)


def _last(parameters: t.Sequence[Parameter], name: str) -> str | None:
    return next(iter(values_of(parameters, name)[-1:]), None)


def _pair(line: str) -> tuple[str, str]:
    """The first word of a line, and the rest."""
    words = line.split(None, 1)
    return words[0] if words else "", words[1].strip() if len(words) > 1 else ""


def _info(host: Host) -> list[tuple[str, str]]:
    """What C(grubby --info=ALL) says: kernel and arguments of each entry but the rescue ones."""
    done = host.run(("grubby", "--info=ALL"))
    found: list[tuple[str, str]] = []
    kernel = ""
    for line in done.output.splitlines() if done.code == 0 else ():
        key, _equals, value = line.strip().partition("=")
        if key == "kernel":
            kernel = value.strip('"')
        elif key == "args" and kernel and "rescue" not in kernel:
            found.append((kernel, value[1:-1] if value.startswith('"') and value.endswith('"') else value))
    return found


#: Boot loaders, as machine.py names them.
LOADERS: dict[str, BootLoader] = {"grub_dropin": GrubDropIn(), "grubby": Grubby()}
