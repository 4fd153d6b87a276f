# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the next boot brings to a network interface before there is any traffic.

udev sets interfaces up by .link files (systemd.link(5)), and takes the first one that matches. A drop-in beside the
file that it took for the interface adds to it and overrides nothing else: it holds no MAC address, so an image that
carries it fits the next machine too. Where NetworkManager manages the interface, and so sets it up after udev, the
settings stand in its connection as well. What neither has a key for is set by the early boot unit.

The way through nmcli was tried on recorded output only, never on a real RHEL.
"""

from __future__ import annotations

import json
import os
import typing as t

from ..host import Host
from ..model import KnobFailed, Setting
from ..paths import STATE

_NAME = "99-zz-lowlatency.conf"
_DIRECTORY = "/etc/systemd/network"
#: The file that udev takes for an interface that no other one matches (systemd's own).
_DEFAULT_LINK = "99-default.link"
#: What the connection had before, so that it can be put back: {connection: {property: value}}.
_NM_RECORD = f"{STATE}/networkmanager.json"

_BUFFERS = {"ring.rx": "RxBufferSize", "ring.tx": "TxBufferSize", "channels.combined": "CombinedChannels"}
_DELAYS = {"coalesce.rx-usecs": "RxCoalesceSec", "coalesce.tx-usecs": "TxCoalesceSec"}
_SWITCHES = {
    "coalesce.adaptive-rx": ("UseAdaptiveRxCoalesce",),
    "coalesce.adaptive-tx": ("UseAdaptiveTxCoalesce",),
    "feature.rx": ("ReceiveChecksumOffload",),
    "feature.tx": ("TransmitChecksumOffload",),
    # The key for TCP leaves IPv6 alone (systemd issue #6854).
    "feature.tso": ("TCPSegmentationOffload", "TCP6SegmentationOffload"),
    "feature.gso": ("GenericSegmentationOffload",),
    "feature.gro": ("GenericReceiveOffload",),
    "feature.lro": ("LargeReceiveOffload",),
    "feature.ntuple": ("NTupleFilter",),
}
_FRAMES = {"coalesce.rx-frames": "RxMaxCoalescedFrames", "coalesce.tx-frames": "TxMaxCoalescedFrames"}


def lines(setting: Setting) -> list[str]:
    """The lines of section [Link] that mean a setting, as systemd 252 has them; none where it has no key."""
    target, value = setting.knob.target, setting.value
    if target in _BUFFERS:
        return [f"{_BUFFERS[target]}={value}"]
    if target in _DELAYS:
        # A fixed delay only counts while the device does not adapt it.
        adaptive = "UseAdaptiveRxCoalesce" if target == "coalesce.rx-usecs" else "UseAdaptiveTxCoalesce"
        return [f"{adaptive}=no", f"{_DELAYS[target]}={value}us"]
    if target in _FRAMES:
        return [f"{_FRAMES[target]}={value}"]
    return [f"{key}={'yes' if value == 'on' else 'no'}" for key in _SWITCHES.get(target, ())]


def dropins(host: Host, interface: str) -> list[str]:
    """Where the drop-in belongs: beside the .link file that udev took, and beside systemd's own.

    The second is for an image whose next machine gets another file, such as one that netplan generates by name or MAC
    address: there the interface falls back to systemd's.
    """
    names = dict.fromkeys([os.path.basename(_used_link(host, interface)), _DEFAULT_LINK])
    return [f"{_DIRECTORY}/{name}.d/{_NAME}" for name in names if name]


def kept(host: Host, interface: str, setting: Setting) -> bool:
    """Whether the files bring a setting at the next boot. What they have no key for is the boot unit's."""
    expected = lines(setting)
    for path in dropins(host, interface):
        if not set(expected) <= set((host.read(path) or "").splitlines()):
            return False
    return _nm_kept(host, interface, setting)


def keep(host: Host, interface: str, settings: t.Sequence[Setting]) -> None:
    """Make the files hold exactly these settings; none: remove them. Raises KnobFailed."""
    text = "".join(
        dict.fromkeys(f"{line}\n" for setting in sorted(settings, key=lambda each: each.id) for line in lines(setting))
    )
    ours = set(host.glob(f"{_DIRECTORY}/*.link.d/{_NAME}"))
    here = dropins(host, interface) if text else []
    for path in here:
        host.write(path, f"# Kept by lowlatency.ec2 (os_tuning).\n[Link]\n{text}")
    for path in sorted(ours - set(here)):
        host.remove(path)
    _nm_keep(host, interface, settings)


def _used_link(host: Host, interface: str) -> str:
    """The .link file that udev took for the interface (its property ID_NET_LINK_FILE); empty where it took none."""
    done = host.run(["udevadm", "info", "--query=property", f"/sys/class/net/{interface}"])
    properties = dict(line.partition("=")[::2] for line in done.output.splitlines())
    return properties.get("ID_NET_LINK_FILE", "") if done.code == 0 else ""


# NetworkManager ------------------------------------------------------------------------------------------------------

_NM_NAMES = {"coalesce": "ethtool.coalesce-{}", "ring": "ethtool.ring-{}", "feature": "ethtool.feature-{}"}
_NM_WORDS = {"coalesce": {"on": "1", "off": "0"}}
_NM_GONE = 10  # nmcli: the connection does not exist


def _nm_property(setting: Setting) -> tuple[str, str] | None:
    """The property of a connection and its value (see nm-settings-nmcli(5)), or none where there is no such property.

    Rings are numbers there, so "max" is left to the boot unit.
    """
    kind, _dot, name = setting.knob.target.partition(".")
    if kind not in _NM_NAMES or setting.value == "max":
        return None
    return _NM_NAMES[kind].format(name), _NM_WORDS.get(kind, {}).get(setting.value, setting.value)


def _nm_connection(host: Host, interface: str) -> str:
    """The UUID of the connection by which NetworkManager manages the interface; empty where it does not."""
    if not host.exists("/run/NetworkManager"):
        return ""
    done = host.run(["nmcli", "--get-values", "GENERAL.CON-UUID", "device", "show", interface])
    return done.output.strip() if done.code == 0 else ""


def _nm_get(host: Host, connection: str, name: str) -> str:
    done = host.run(["nmcli", "--get-values", name, "connection", "show", connection])
    return done.output.strip() if done.code == 0 else ""


def _nm_kept(host: Host, interface: str, setting: Setting) -> bool:
    connection, wanted = _nm_connection(host, interface), _nm_property(setting)
    return not connection or wanted is None or _nm_get(host, connection, wanted[0]) == wanted[1]


def _nm_keep(host: Host, interface: str, settings: t.Sequence[Setting]) -> None:
    connection = _nm_connection(host, interface)
    before: dict[str, dict[str, str]] = json.loads(host.read(_NM_RECORD) or "{}")
    wanted = dict(pair for pair in map(_nm_property, settings) if pair) if connection else {}
    had = before.setdefault(connection, {}) if connection else {}
    for name in wanted:
        had.setdefault(name, _nm_get(host, connection, name))
    _nm_record(host, before)
    for name, value in wanted.items():
        if _nm_get(host, connection, name) != value:
            host.check("nmcli", "connection", "modify", connection, name, value)
    for uuid, properties in before.items():
        for name in [name for name in properties if uuid != connection or name not in wanted]:
            _nm_put_back(host, uuid, name, properties.pop(name))
    _nm_record(host, before)


def _nm_put_back(host: Host, connection: str, name: str, value: str) -> None:
    command = ("nmcli", "connection", "modify", connection, name, value)
    done = host.run(command)
    if done.code not in (0, _NM_GONE):
        raise KnobFailed(f"{' '.join(command)}: {(done.errors or done.output).strip() or done.code}")


def _nm_record(host: Host, before: t.Mapping[str, t.Mapping[str, str]]) -> None:
    filled = {uuid: properties for uuid, properties in before.items() if properties}
    if filled:
        host.write(_NM_RECORD, json.dumps(filled, indent=1, sort_keys=True) + "\n", 0o600)
    elif host.exists(_NM_RECORD):
        host.remove(_NM_RECORD)
