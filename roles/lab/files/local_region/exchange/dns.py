# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's DNS server: dnsmasq in the VPC's namespace, without an upstream.

Every name of the exchange answers with all its addresses, in an order that rotates. With a hidden pool each answer
shows eight of them, another eight each time, as weighted records at Route 53 do; dnsmasq can't do that, so for those
names it asks a small responder behind it. Any other name does not exist.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local_region.exchange.pool import PoolResponder
from local_region.network.child import ChildError, NamespaceChild, NamespacePart, enter_namespace, input_ended, say
from local_region.topology import Topology, seeded

ANSWER_ADDRESSES = 8
TTL_S = 1
POOL_ADDRESS = ("127.0.0.1", 5353)
_START_TIMEOUT_S = 5.0


class Dns(NamespacePart):
    """The resolver of one lab, on the VPC's base address plus two."""

    def __init__(self, topology: Topology, state_dir: str) -> None:
        """`state_dir` is an existing directory for its hosts file."""
        plan = topology.addressing
        self._child = NamespaceChild(
            "local_region.exchange.dns",
            {
                "namespace": plan.vpc_namespace,
                "address": plan.resolver,
                "hosts_path": str(Path(state_dir) / "dns_hosts"),
                "hosts": {endpoint.host: list(endpoint.addresses) for endpoint in topology.endpoints},
                "seed": topology.seed,
            },
        )


def dnsmasq_arguments(address: str, hosts_path: str, pool_hosts: Sequence[str]) -> list[str]:
    """Return the command line of a dnsmasq that serves these hosts, asks the pool for its own and denies the rest."""
    program = shutil.which("dnsmasq", path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin")
    if program is None:
        raise FileNotFoundError("dnsmasq is not installed (Debian package dnsmasq-base)")
    return [
        program,
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
        "--log-facility=-",
        "--no-resolv",
        "--no-hosts",
        "--no-poll",
        "--bind-interfaces",
        f"--listen-address={address}",
        "--except-interface=lo",
        f"--addn-hosts={hosts_path}",
        f"--local-ttl={TTL_S}",
        "--cache-size=0",
        "--local=/#/",
        *(f"--server=/{host}/{POOL_ADDRESS[0]}#{POOL_ADDRESS[1]}" for host in pool_hosts),
    ]


def split_hosts(hosts: dict[str, list[str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return (hosts that one answer can show, hosts with a hidden pool)."""
    pools = {host: pool for host, pool in hosts.items() if len(pool) > ANSWER_ADDRESSES}
    return {host: known for host, known in hosts.items() if host not in pools}, pools


def hosts_file(hosts: dict[str, list[str]], seed: int) -> str:
    """Return the lines of a hosts file, each host's addresses in an order drawn from the seed."""
    lines = []
    for host, known in hosts.items():
        order = seeded(seed, host).sample(known, len(known))
        lines += [f"{address} {host}" for address in order]
    return "".join(line + "\n" for line in lines)


def serve(responder: PoolResponder, server: subprocess.Popen[bytes]) -> None:
    """Answer for the pools until standard input ends. Raises ChildError when dnsmasq ends before."""
    with selectors.DefaultSelector() as waiting, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pool:
        pool.bind(POOL_ADDRESS)
        waiting.register(pool, selectors.EVENT_READ)
        waiting.register(sys.stdin, selectors.EVENT_READ)
        words = server.stderr.fileno() if server.stderr else -1
        waiting.register(words, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _dummy in waiting.select()]
            if pool in ready:
                query, client = pool.recvfrom(4096)
                answer = responder.answer(query)
                if answer is not None:
                    pool.sendto(answer, client)
            if words in ready and not os.read(words, 4096):
                raise ChildError(f"dnsmasq has ended with status {server.wait()}")
            if sys.stdin in ready and input_ended():
                return


def start_dnsmasq(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start dnsmasq and wait until it says that it serves. Raises ChildError with what it said instead."""
    # dnsmasq can't watch its standard input as the lab's own programs do, so the kernel ends it with its parent.
    server = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "--", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    said = []
    for line in server.stderr or ():
        said.append(line.decode(errors="replace").strip())
        if "started" in said[-1]:
            return server
    raise ChildError(f"dnsmasq does not start: {'; '.join(said)}")


def main() -> None:
    config: dict[str, Any] = json.loads(sys.stdin.readline())
    hosts, pools = split_hosts(config["hosts"])
    hosts_path = Path(config["hosts_path"])
    server = None
    try:
        enter_namespace(config["namespace"])
        hosts_path.write_text(hosts_file(hosts, config["seed"]), encoding="ascii")
        server = start_dnsmasq(dnsmasq_arguments(config["address"], str(hosts_path), list(pools)))
        responder = PoolResponder(pools, ANSWER_ADDRESSES, TTL_S, config["seed"])
        say(ready=True)
        serve(responder, server)
    except (OSError, ChildError) as error:
        say(error=str(error))
    finally:
        if server is not None:
            server.terminate()
            server.wait()
        hosts_path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
