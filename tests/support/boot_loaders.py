# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot loaders of recorded machines, and stand-ins for the programs that write their configuration.

Debian: entries in the form that update-grub of Debian 12 gives them (seen on a machine that boots), shortened, with a
made-up PARTUUID. Amazon Linux 2023: the command line of public boot logs (kernels 6.1.34 and 6.1.97, ami of 2023/2024),
in entries as kernel-install of grub2 writes them. RHEL 8: C(grubby --info) as a public course on RHEL 8 shows it.
"""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Callable, Sequence

from ansible_collections.lowlatency.ec2.plugins.module_utils._tuning.host import Done

from .recorded import RecordedHost

Answer = Callable[[Sequence[str]], Done]

DEBIAN_CMDLINE = (
    "BOOT_IMAGE=/boot/vmlinuz-6.1.0-38-cloud-amd64 root=PARTUUID=a1b2 ro console=tty0 console=ttyS0,115200 "
    "transparent_hugepage=always"
)
DEBIAN_FILES = {
    "/proc/cmdline": DEBIAN_CMDLINE + "\n",
    "/etc/default/grub": 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n',
    "/etc/default/grub.d/50-cloudimg-settings.cfg": (
        'GRUB_CMDLINE_LINUX_DEFAULT="console=tty0 console=ttyS0,115200 transparent_hugepage=always"\n'
    ),
}

_GRUB_CONFIG = """\
menuentry 'Debian GNU/Linux' --class debian --class gnu-linux $menuentry_id_option 'gnulinux-simple-a1b2' {{
\tload_video
\tinsmod gzio
\techo\t'Loading Linux 6.1.0-38-cloud-amd64 ...'
\tlinux\t/boot/vmlinuz-6.1.0-38-cloud-amd64 root=PARTUUID=a1b2 ro {line}
\tinitrd\t/boot/initrd.img-6.1.0-38-cloud-amd64
}}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-a1b2' {{
\tmenuentry 'Debian GNU/Linux, with Linux 6.1.0-38' $menuentry_id_option 'gnulinux-6.1.0-38-advanced-a1b2' {{
\t\tlinux\t/boot/vmlinuz-6.1.0-38-cloud-amd64 root=PARTUUID=a1b2 ro {line}
\t\tinitrd\t/boot/initrd.img-6.1.0-38-cloud-amd64
\t}}
\tmenuentry 'Debian, with Linux 6.1.0-38 (recovery mode)' $menuentry_id_option 'gnulinux-6.1.0-38-recovery-a1b2' {{
\t\tlinux\t/boot/vmlinuz-6.1.0-38-cloud-amd64 root=PARTUUID=a1b2 ro single
\t\tinitrd\t/boot/initrd.img-6.1.0-38-cloud-amd64
\t}}
}}
"""

_AL2023_OPTIONS = (
    "root=UUID=483d7075-a0f8-4ba8-a951-a668fa079cac ro console=tty0 console=ttyS0,115200n8 "
    "nvme_core.io_timeout=4294967295 rd.emergency=poweroff rd.shell=0 selinux=1 security=selinux quiet"
)


def _entry(kernel: str, options: str) -> str:
    return (
        f"title Amazon Linux ({kernel}) 2023\nversion {kernel}\nlinux /boot/vmlinuz-{kernel}\n"
        f"initrd /boot/initramfs-{kernel}.img\noptions {options}\ngrub_users $grub_users\ngrub_arg --unrestricted\n"
        "grub_class amzn\n"
    )


_ENTRIES = "/boot/loader/entries/ec2c5b5b0e0b4a5e8e2c1a0b9d3f1c7a"
AL2023_FILES = {
    "/proc/cmdline": f"BOOT_IMAGE=(hd0,gpt1)/boot/vmlinuz-6.1.97-104.177.amzn2023.x86_64 {_AL2023_OPTIONS}\n",
    f"{_ENTRIES}-6.1.34-59.116.amzn2023.x86_64.conf": _entry("6.1.34-59.116.amzn2023.x86_64", _AL2023_OPTIONS),
    f"{_ENTRIES}-6.1.97-104.177.amzn2023.x86_64.conf": _entry(
        "6.1.97-104.177.amzn2023.x86_64", f"{_AL2023_OPTIONS} transparent_hugepage=always"
    ),
    f"{_ENTRIES}-0-rescue.conf": _entry("0-rescue-ec2c5b5b0e0b4a5e8e2c1a0b9d3f1c7a", _AL2023_OPTIONS),
}

RHEL8_INFO = """\
index=0
kernel="/boot/vmlinuz-4.18.0-240.15.1.el8_3.x86_64"
args="ro crashkernel=auto resume=/dev/mapper/rhel-swap rd.lvm.lv=rhel/root rd.lvm.lv=rhel/swap rhgb quiet $tuned_params"
root="/dev/mapper/rhel-root"
initrd="/boot/initramfs-4.18.0-240.15.1.el8_3.x86_64.img $tuned_initrd"
title="Red Hat Enterprise Linux (4.18.0-240.15.1.el8_3.x86_64) 8.3 (Ootpa)"
id="21e418ac989a4b0c8afb156418393409-4.18.0-240.15.1.el8_3.x86_64"
index=1
kernel="/boot/vmlinuz-0-rescue-21e418ac989a4b0c8afb156418393409"
args="ro rhgb quiet"
root="/dev/mapper/rhel-root"
"""


def update_grub(host: RecordedHost) -> Answer:
    """An update-grub: /etc/default/grub and its drop-ins by a shell, then one line in each entry but the recovery's."""

    def answer(command: Sequence[str]) -> Done:
        settings: dict[str, str] = {}
        for path in ["/etc/default/grub", *host.glob("/etc/default/grub.d/*.cfg")]:
            for text in (host.read(path) or "").splitlines():
                name, equals, value = text.partition("=")
                if equals and not name.startswith("#"):
                    given = "".join(shlex.split(value))
                    settings[name] = given.replace("$GRUB_CMDLINE_LINUX_DEFAULT", settings.get(name, ""))
        line = f"{settings.get('GRUB_CMDLINE_LINUX', '')} {settings.get('GRUB_CMDLINE_LINUX_DEFAULT', '')}".strip()
        file = pathlib.Path(host.path("/boot/grub/grub.cfg"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_GRUB_CONFIG.format(line=line), encoding="utf-8")
        return Done(0, "Generating grub configuration file ...\ndone\n", "")

    return answer


def grubby(host: RecordedHost) -> Answer:
    """A grubby over the entries, as grubby-bls of RHEL 9 is: --args replaces a parameter's value or appends it."""

    def edited(options: str, remove: Sequence[str], add: Sequence[str]) -> str:
        words = [word for word in options.split() if word.partition("=")[0] not in remove]
        for word in add:
            words = [each for each in words if each.partition("=")[0] != word.partition("=")[0]] + [word]
        return " ".join(words)

    def answer(command: Sequence[str]) -> Done:
        given = dict(word[2:].split("=", 1) for word in command[1:])
        for path in host.glob("/boot/loader/entries/*.conf"):
            lines = (host.read(path) or "").splitlines()
            kernel = next(line.split()[1] for line in lines if line.startswith("linux "))
            if given["update-kernel"] not in ("ALL", kernel):
                continue
            lines = [
                "options " + edited(line[8:], given.get("remove-args", "").split(), given.get("args", "").split())
                if line.startswith("options ")
                else line
                for line in lines
            ]
            pathlib.Path(host.path(path)).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Done(0, "", "")

    return answer
