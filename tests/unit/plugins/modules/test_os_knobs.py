# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""os_knobs and os_knobs_info as Ansible runs them, over the files of a machine that boots."""

from __future__ import annotations

import base64
import errno
import io
import os
import pathlib
import re
import subprocess
import sys
import zipfile
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lowlatency.ec2.plugins.doc_fragments.tuning_wish import ModuleDocFragment
from ansible_collections.lowlatency.ec2.plugins.module_utils import _tuning_options as options
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning import boot_unit
from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.model import STATUSES
from ansible_collections.lowlatency.ec2.plugins.modules import os_knobs, os_knobs_info
from support.modules import ModuleFailed, run_module
from support.tunable import Tunable

GROUPS = {"groups": ["boot", "memory", "network"]}


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Tunable:
    """The machine that both modules run on."""
    made = Tunable(tmp_path)
    monkeypatch.setattr(boot_unit, "sources", lambda: {f"{boot_unit.PACKAGE}/boot.py": "# boot\n"})
    for module in (os_knobs, os_knobs_info):
        monkeypatch.setattr(module, "host_of", lambda module: made)
    return made


def described(contains: dict[str, Any], returned: Any, where: str) -> None:
    """All that is returned is documented, and the other way round."""
    if isinstance(returned, list):
        for each in returned:
            described(contains, each, where)
        return
    assert set(returned) == set(contains), where
    for name, documentation in contains.items():
        if "contains" in documentation and returned[name]:
            described(documentation["contains"], returned[name], f"{where}.{name}")


def test_a_machine_is_tuned_verified_and_turned_back(host: Tunable) -> None:
    first = run_module(os_knobs.main, GROUPS, diff=True)
    assert first["changed"] and first["reboot_required"] and first["failed_knobs"] == []
    assert first["diff"]["after"]["busy_poll"] == {"net.core.busy_poll": "50"}
    assert first["cpu_plan"] == {"housekeeping": [0, 1], "isolated": [2, 3, 4, 5], "reason": ""}
    assert sum(first["counts"].values()) == len(first["results"])
    assert first["msg"].endswith("a reboot is required")
    host.boot()
    again = run_module(os_knobs.main, GROUPS, diff=True)
    assert not again["changed"] and again["diff"] == {"before": {}, "after": {}}
    seen = run_module(os_knobs_info.main, {})
    assert (seen["changed"], seen["stored"], seen["drifted"]) == (False, True, [])
    host.poke("/proc/sys/vm/swappiness", "60\n")
    assert run_module(os_knobs_info.main, {})["drifted"] == ["swappiness"]
    assert run_module(os_knobs_info.main, GROUPS)["drifted"] == ["swappiness"]
    back = run_module(os_knobs.main, {"state": "absent"})
    assert back["changed"] and back["reboot_required"]
    seen = run_module(os_knobs_info.main, {})
    assert (seen["stored"], seen["results"]) == (False, [])


def test_results_are_as_documented(host: Tunable) -> None:
    result = run_module(os_knobs.main, GROUPS)
    documented = yaml.safe_load(os_knobs.RETURN)
    described(documented, {name: result[name] for name in result if name not in ("changed", "invocation")}, "os_knobs")
    assert result["results"]
    for each in result["results"]:
        assert each["status"] in STATUSES
        assert f"V({each['status']})" in str(documented["results"]["contains"]["status"])
    seen = run_module(os_knobs_info.main, {})
    documented = yaml.safe_load(os_knobs_info.RETURN)
    described(documented, {name: seen[name] for name in seen if name not in ("changed", "invocation")}, "info")


def test_check_mode_writes_nothing(host: Tunable) -> None:
    before = host.tree()
    expected = run_module(os_knobs.main, GROUPS, check=True, diff=True)
    assert host.tree() == before
    done = run_module(os_knobs.main, GROUPS, diff=True)
    for name in ("changed", "results", "diff", "counts", "reboot_required", "cpu_plan", "machine"):
        assert expected[name] == done[name], name


def test_a_knob_that_fails_fails_the_module_with_all_results(host: Tunable) -> None:
    host.refuse("/proc/sys/net/core/busy_poll", errno.EINVAL)
    with pytest.raises(ModuleFailed) as failed:
        run_module(os_knobs.main, GROUPS)
    result = failed.value.result
    assert result["failed_knobs"] == ["busy_poll"]
    assert result["changed"] and len(result["results"]) > 20
    assert "; failed: busy_poll" in result["msg"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"groups": ["nets"]}, "nets"),
        ({"knobs": {"busy_pol": 50}}, "busy_poll"),
        ({"housekeeping_cpus": 6}, "housekeeping_cpus is 6"),
        (
            {"extra_knobs": [{"id": "Own", "group": "a", "means": "sysctl", "target": "vm.x", "value": 1}]},
            "'Own' is no name",
        ),
        ({"state": "absent", "groups": ["nets"]}, "nets"),
    ],
)
def test_bad_input_is_one_clear_line(host: Tunable, args: dict[str, Any], message: str) -> None:
    if args.get("state") == "absent":
        run_module(os_knobs.main, GROUPS)
    before = host.tree()
    with pytest.raises(ModuleFailed, match=message):
        run_module(os_knobs.main, args)
    assert host.tree() == before


def test_values_of_yaml_become_texts(host: Tunable) -> None:
    own = {"id": "own", "group": "mine", "means": "sysctl", "target": "vm.stat_interval", "value": 7}
    args = {"groups": ["mine", "network"], "knobs": {"busy_poll": 70, "busy_read": False}, "extra_knobs": [own]}
    run_module(os_knobs.main, args)
    assert host.read("/proc/sys/net/core/busy_poll") == "70"
    assert host.read("/proc/sys/net/core/busy_read") == "0"
    assert host.read("/proc/sys/vm/stat_interval") == "7"
    assert not run_module(os_knobs.main, args)["changed"]


def test_all_groups_but_kernel_bypass_by_default(host: Tunable) -> None:
    own = {"id": "own", "group": "mine", "means": "sysctl", "target": "vm.page-cluster", "value": 7}
    # This machine answers nothing about its services; that fails their knobs, and is not what this is about.
    results = run_module(os_knobs.main, {"extra_knobs": [own]}, check=True, fail_ok=True)["results"]
    groups = {each["group"] for each in results}
    assert groups == {*options.DEFAULT_GROUPS, "mine"} and "kernel_bypass" not in groups


def test_without_root_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options.os, "geteuid", lambda: 1000)
    for main in (os_knobs.main, os_knobs_info.main):
        with pytest.raises(ModuleFailed, match="needs root"):
            run_module(main, {}, check=True)


def test_commands_run_as_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options.os, "geteuid", lambda: 0)
    with patch_module_args({}):
        host = options.host_of(AnsibleModule(argument_spec={}))
    done = host.run(["printf", "%s", "$HOME ~ {{.Name}}"])
    assert (done.code, done.output) == (0, "$HOME ~ {{.Name}}")
    assert host.run(["sh", "-c", "echo $LC_ALL; echo no >&2; exit 3"]) == (3, "C.UTF-8\n", "no\n")
    assert host.run(["no-such-program"]).code == 127


def test_options_and_their_documentation_agree() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    own = yaml.safe_load(os_knobs.DOCUMENTATION)["options"]
    agree({**documented, **own}, os_knobs.ARGUMENT_SPEC)
    agree(documented, options.WISH_SPEC)


def agree(documented: dict[str, Any], spec: dict[str, Any]) -> None:
    assert set(documented) == set(spec)
    for name, option in spec.items():
        for field in ("type", "default", "choices", "elements"):
            assert documented[name].get(field) == option.get(field), (name, field)
        assert documented[name].get("required", False) == option.get("required", False), name
        if "options" in option:
            agree(documented[name]["suboptions"], option["options"])


@pytest.mark.parametrize("name", ["os_knobs", "os_knobs_info"])
def test_the_whole_package_travels_with_the_module(name: str) -> None:
    path = pathlib.Path(os_knobs.__file__).with_name(f"{name}.py")
    shipped = archive(name, path)
    package = pathlib.Path(boot_unit.__file__).parent
    base = "ansible_collections/lowlatency/ec2/plugins/module_utils/_tuning"
    wanted = {f"{base}/{each.relative_to(package)}" for each in package.rglob("*.py")}
    assert wanted - shipped == set()


#: In a process of its own: Ansible's loader of plugins is to be set up once, and before anything else.
BUILD = """
import sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
from ansible.executor.module_common import modify_module
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
name, path = sys.argv[1:]
built = modify_module(module_name=name, module_path=path, module_args={}, templar=Templar(loader=DataLoader()),
                      task_vars={"ansible_python_interpreter": "/usr/bin/python3"})
sys.stdout.buffer.write(built.b_module_data)
"""


def archive(name: str, path: pathlib.Path) -> set[str]:
    """The names of the files in the archive that Ansible sends to a host."""
    command = [sys.executable, "-c", BUILD, f"ansible_collections.lowlatency.ec2.plugins.modules.{name}", str(path)]
    collections = next(each for each in path.parents if each.name == "ansible_collections").parent
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections)}
    built = subprocess.run(command, capture_output=True, check=True, env=environment).stdout
    longest = max(re.findall(rb"[A-Za-z0-9+/=]{1000,}", built), key=len)
    return set(zipfile.ZipFile(io.BytesIO(base64.b64decode(longest))).namelist())
