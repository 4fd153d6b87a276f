# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ethtool says of a network interface, and asking it to change that.

A target is C(ring.rx), C(ring.tx), C(coalesce.<parameter>), C(channels.<kind>) or C(feature.<name>), with ethtool's
own words for the part behind the dot. Every change is a call of its own: a call with one value that the device
refuses, such as 4,096 for the send ring of an ENA that allows 1,024, fails as a whole and takes the good values with
it.
"""

from __future__ import annotations

import re
import typing as t

from ..host import Host
from ..model import KnobFailed

#: The kind of a target, to the options of ethtool that show it and that change it.
_OPTIONS = {"ring": ("-g", "-G"), "coalesce": ("-c", "-C"), "channels": ("-l", "-L"), "feature": ("-k", "-K")}

#: ethtool's short names of features, to the names that it shows. See ethtool(8), -K.
_FEATURES = {
    "rx": "rx-checksumming",
    "tx": "tx-checksumming",
    "sg": "scatter-gather",
    "tso": "tcp-segmentation-offload",
    "gso": "generic-segmentation-offload",
    "gro": "generic-receive-offload",
    "lro": "large-receive-offload",
    "rxvlan": "rx-vlan-offload",
    "txvlan": "tx-vlan-offload",
    "ntuple": "ntuple-filters",
    "rxhash": "receive-hashing",
}

#: What a device that moderates interrupts by itself has instead of a number of µs.
ADAPTIVE = "adaptive"

_MISSING = 127  # the code of a program that is not installed
_ENA_SMALLEST_RING = 256


class Shown(t.NamedTuple):
    """What the device has of a target. largest: what it allows, empty where there is no limit. unsupported: why it has
    no such thing, else empty.
    """

    value: str = ""
    largest: str = ""
    unsupported: str = ""


def handles(target: str) -> bool:
    return target.partition(".")[0] in _OPTIONS


def show(host: Host, interface: str, target: str) -> Shown:
    """What the device has of a target. Changes nothing and raises nothing."""
    kind, _dot, name = target.partition(".")
    option = _OPTIONS[kind][0]
    done = host.run(["ethtool", option, interface])
    if done.code == _MISSING:
        return Shown(unsupported="ethtool is not installed")
    if done.code != 0:
        said = (done.errors or done.output).strip().splitlines() or [str(done.code)]
        return Shown(unsupported=f"{interface} has no {kind} settings (ethtool {option}: {said[-1]})")
    found = _PARSERS[kind](done.output, name)
    if found is None:
        return Shown(unsupported=f"{interface} has no {kind} setting {name}")
    if found.unsupported:
        return found._replace(unsupported=f"{interface}: {name} {found.unsupported}")
    return found


def change(host: Host, interface: str, target: str, value: str) -> None:
    """Ask the device for a value. Raises KnobFailed with what ethtool says."""
    kind, _dot, name = target.partition(".")
    if kind == "coalesce" and name in ("rx-usecs", "tx-usecs"):
        _change_delay(host, interface, name, value)
        return
    host.check("ethtool", _OPTIONS[kind][1], interface, name, value)


def wanted(target: str, value: str, shown: Shown, driver: str) -> tuple[str, str]:
    """The value that this device can take for a wanted one, and a note if that is another. Raises KnobFailed."""
    kind = target.partition(".")[0]
    if kind == "feature" or target.startswith("coalesce.adaptive-"):
        if value not in ("on", "off"):
            raise KnobFailed(f"{target} is on or off, not {value!r}")
        return value, ""
    if value == "max" and shown.largest:
        return shown.largest, ""
    if not value.isdigit():
        raise KnobFailed(f"{target} is a number{' or max' if shown.largest else ''}, not {value!r}")
    fitting = min(int(value), int(shown.largest)) if shown.largest else int(value)
    if kind == "channels":
        fitting = max(fitting, 1)
    if kind == "ring" and driver == "ena":
        # ena_set_ringparam() takes the power of two below, and no ring under 256 descriptors.
        fitting = max(_ENA_SMALLEST_RING, 1 << (fitting.bit_length() - 1) if fitting else 0)
    note = "" if fitting == int(value) else f"{value} is wanted, and the device takes {fitting}"
    return str(fitting), note


def _change_delay(host: Host, interface: str, name: str, value: str) -> None:
    """A fixed delay only counts while the device does not adapt it, so the two change together, one call each."""
    direction = name.partition("-")[0]
    if value == ADAPTIVE:
        host.check("ethtool", "-C", interface, f"adaptive-{direction}", "on")
        return
    if show(host, interface, f"coalesce.{name}").value == ADAPTIVE:
        host.check("ethtool", "-C", interface, f"adaptive-{direction}", "off")
    if show(host, interface, f"coalesce.{name}").value != value:
        host.check("ethtool", "-C", interface, name, value)


def _sections(output: str) -> tuple[dict[str, str], dict[str, str]]:
    """The two halves of what -g and -l print: what the device allows, and what it has now. Names in small letters.

    A limit that a driver does not know is left out of the first, as is a thing that the device does not have (n/a).
    """
    halves: tuple[dict[str, str], dict[str, str]] = ({}, {})
    current = -1
    for line in output.splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not value and "maximums" in name:
            current = 0
        elif not value and name.startswith("Current"):
            current = 1
        elif current >= 0 and colon and value.isdigit():
            halves[current][name.lower()] = value
    return halves


def _sized(output: str, name: str) -> Shown | None:
    largest, now = _sections(output)
    if name not in now:
        return None
    if largest.get(name) == "0":
        return Shown(unsupported="cannot be changed on this device")
    return Shown(value=now[name], largest=largest.get(name, ""))


def _coalesced(output: str, name: str) -> Shown | None:
    found = re.search(r"^Adaptive RX: (\S+)\s+TX: (\S+)", output, re.MULTILINE)
    adaptive = {"rx": found[1], "tx": found[2]} if found else {}
    values = dict(re.findall(r"^([a-z][a-z-]+):\s+(\S+)", output, re.MULTILINE))
    values.update({f"adaptive-{direction}": word for direction, word in adaptive.items()})
    value = values.get(name)
    if value is None:
        return None
    if value == "n/a":
        return Shown(unsupported="is not something that this device moderates interrupts by")
    if name.endswith("-usecs") and adaptive.get(name.partition("-")[0]) == "on":
        return Shown(value=ADAPTIVE)
    return Shown(value=value)


def _featured(output: str, name: str) -> Shown | None:
    shown = _FEATURES.get(name, name)
    found = re.search(rf"^\s*{re.escape(shown)}: (on|off)(.*)$", output, re.MULTILINE)
    if found is None:
        return None
    if "[fixed]" in found[2]:
        return Shown(value=found[1], unsupported=f"is {found[1]} on this device, and fixed")
    return Shown(value=found[1])


_PARSERS: dict[str, t.Callable[[str, str], Shown | None]] = {
    "ring": _sized,
    "channels": _sized,
    "coalesce": _coalesced,
    "feature": _featured,
}
