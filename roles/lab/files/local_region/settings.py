# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings of one lab, checked once at its edge."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from local_region.api.policies import PolicyError, parse_policy
from local_region.faults import ScenarioError, parse_scenarios

LAB_COUNT = 16
DEFAULT_API_PORT = 4566
DEFAULT_REGION = "ap-northeast-1"
DEFAULT_IMAGE_DIR = "/var/cache/lowlatency-machine"

# A lab that runs goes on unchanged when only these differ.
HARMLESS = frozenset({"owner_uid", "owner_gid"})


class SettingsError(ValueError):
    """An option has a value that it can't have; the message is one line and names both."""


@dataclass(frozen=True)
class Settings:
    """One lab. Option `lab_<name>` of the role is field `<name>` here.

    `boot_s` is in seconds; None leaves boot times to the scenario. `owner_uid` and `owner_gid` are who the truth
    file belongs to: the person who asked for the lab, which under sudo is not root. `machines` offers the image whose
    instances are QEMU machines, of at most `machine_max_cores` cores and `machine_memory_mib` MiB. `policies` are
    policy documents of IAM by access key: the API holds the calls of those keys to them.
    """

    index: int
    seed: int
    scenario: tuple[str, ...]
    api_port: int
    boot_s: float | None
    truth_path: str
    region: str = DEFAULT_REGION
    machines: bool = False
    machine_max_cores: int = 3
    machine_memory_mib: int = 1024
    machine_image_dir: str = DEFAULT_IMAGE_DIR
    policies: Mapping[str, Any] = field(default_factory=dict)
    owner_uid: int = 0
    owner_gid: int = 0

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Settings:
        """Check plain values and fill in defaults. Raises SettingsError."""
        unknown = sorted(set(given) - {one.name for one in fields(cls)})
        if unknown:
            raise SettingsError(f"lab_{unknown[0]}: no such option of the lab")
        index = _integer("index", given.get("index", 0), 0, LAB_COUNT - 1)
        port = given.get("api_port")
        return cls(
            index=index,
            seed=_integer("seed", given.get("seed", 1), None, None),
            scenario=_scenario(given.get("scenario", "none")),
            api_port=_integer("api_port", DEFAULT_API_PORT + index if port is None else port, 1, 65535),
            boot_s=_seconds("boot_s", given.get("boot_s")),
            truth_path=_path("truth_path", given.get("truth_path") or f"{state_dir_of(index)}/lab_truth.json"),
            region=str(given.get("region") or DEFAULT_REGION),
            machines=_boolean("machines", given.get("machines", False)),
            machine_max_cores=_integer("machine_max_cores", given.get("machine_max_cores", 3), 1, 64),
            machine_memory_mib=_integer("machine_memory_mib", given.get("machine_memory_mib", 1024), 512, None),
            machine_image_dir=_path("machine_image_dir", given.get("machine_image_dir") or DEFAULT_IMAGE_DIR),
            policies=_policies(given.get("policies")),
            owner_uid=_integer("owner_uid", given.get("owner_uid", 0), 0, None),
            owner_gid=_integer("owner_gid", given.get("owner_gid", 0), 0, None),
        )

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read what `to_json` wrote, or what a person or the role did. Raises SettingsError."""
        try:
            given = json.loads(text)
        except ValueError as error:
            raise SettingsError(f"the lab's settings are not JSON: {error}") from error
        if not isinstance(given, dict):
            raise SettingsError("the lab's settings are not a JSON object")
        return cls.from_mapping(given)

    @property
    def state_dir(self) -> str:
        """Where this lab keeps what it needs to run. Follows from the index, since all of it is removed at the end."""
        return state_dir_of(self.index)

    def to_json(self) -> str:
        """Return the settings as a JSON object that `from_json` reads back to an equal value."""
        return json.dumps(asdict(self), indent=2)

    def differences(self, other: Settings) -> list[str]:
        """Return, one text for each option that matters, how a running lab (self) differs from what is wanted."""
        found = []
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if one.name not in HARMLESS and mine != theirs:
                found.append(f"lab_{one.name} is {_shown(mine)}, not {_shown(theirs)}")
        return found


def state_dir_of(index: int) -> str:
    """Return where a lab keeps what it needs to run; removed when the lab is taken down."""
    return f"/run/lowlatency-lab/{index}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value) or "none"
    if isinstance(value, Mapping):
        return f"for {','.join(sorted(value))}" if value else "none"
    return str(value)


def _policies(value: Any) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(f"lab_policies: must map access keys to policies, not {value!r}")
    for access_key, document in value.items():
        try:
            parse_policy(document)
        except PolicyError as error:
            raise SettingsError(f"lab_policies: {access_key}: {error}") from error
    return dict(value)


def _scenario(value: Any) -> tuple[str, ...]:
    try:
        return parse_scenarios("none" if value is None else value)
    except ScenarioError as error:
        raise SettingsError(str(error)) from error
    except TypeError as error:
        raise SettingsError(f"lab_scenario: not a name or a list of names: {value!r}") from error


def _number(kind: str, name: str, value: Any, convert: Callable[[Any], Any]) -> Any:
    if isinstance(value, bool):
        raise SettingsError(f"lab_{name}: must be {kind}, not {value!r}")
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"lab_{name}: must be {kind}, not {value!r}") from error


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError(value)
    return number


def _integer(name: str, value: Any, low: int | None, high: int | None) -> int:
    number: int = _number("an integer", name, value, _whole)
    if (low is not None and number < low) or (high is not None and number > high):
        allowed = f"from {low} to {high}" if high is not None else f"at least {low}"
        raise SettingsError(f"lab_{name}: must be {allowed}, not {number}")
    return number


def _boolean(name: str, value: Any) -> bool:
    """Read a boolean as Ansible gives it: a template makes a text of it."""
    text = str(value).lower()
    if text not in ("true", "false"):
        raise SettingsError(f"lab_{name}: must be true or false, not {value!r}")
    return text == "true"


def _seconds(name: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    number: float = _number("a number of seconds", name, value, float)
    if not math.isfinite(number) or number < 0:
        raise SettingsError(f"lab_{name}: must be a number of seconds from 0, not {value!r}")
    return number


def _path(name: str, value: Any) -> str:
    text = str(value)
    if not text.startswith("/"):
        raise SettingsError(f"lab_{name}: must be an absolute path, not '{text}'")
    return text
