# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long nginx and HAProxy leave a connection alone on which nothing is said. Reads their files only."""

from __future__ import annotations

import re
import typing as t

from .host import Host

#: Venues ping every 20 s to 5 minutes; a quiet stream must outlive the longest of them by far.
LONG_S = 600.0

_NGINX = ("/etc/nginx/nginx.conf", "/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-enabled/*")
_HAPROXY = ("/etc/haproxy/haproxy.cfg", "/etc/haproxy/conf.d/*.cfg")
_NGINX_DEFAULT_S = 60.0
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def proxy_timeouts(host: Host) -> tuple[list[str], list[str]]:
    """(which proxies are configured here, what is too short in their files)."""
    nginx, haproxy = _texts(host, _NGINX), _texts(host, _HAPROXY)
    looked = [name for name, texts in (("nginx", nginx), ("HAProxy", haproxy)) if texts]
    short = [problem for path, text in nginx.items() for problem in _nginx(path, text)]
    short += [problem for path, text in haproxy.items() for problem in _haproxy(path, text)]
    return looked, short


def _texts(host: Host, patterns: t.Sequence[str]) -> dict[str, str]:
    """The files that are there, without comments."""
    found = {}
    for pattern in patterns:
        for path in host.glob(pattern):
            text = host.read(path)
            if text is not None:
                found[path] = re.sub(r"#.*", "", text)
    return found


def seconds(text: str, bare_s: float) -> float | None:
    """A time such as 90s, 1h30m or 500ms in seconds; a bare number counts in units of bare_s. None: it is no time."""
    parts = re.findall(r"(\d+)\s*(us|ms|[smhdw])?", text.strip())
    if not parts or re.sub(r"(\d+)\s*(us|ms|[smhdw])?", "", text).strip():
        return None
    return sum(int(number) * (_UNITS_S[unit] if unit else bare_s) for number, unit in parts)


def _nginx(path: str, text: str) -> t.Iterator[str]:
    """ngx_http_proxy_module: proxy_read_timeout counts from one read to the next and is 60 s by default."""
    given = re.findall(r"\b(proxy_(?:read|send)_timeout)\s+([^;]+);", text)
    for name, value in given:
        found = seconds(value, 1.0)
        if found is not None and found < LONG_S:
            yield f"{path} has {name} {value.strip()}"
    upgrades = re.search(r"proxy_set_header\s+upgrade\b", text, re.IGNORECASE)
    if upgrades and not any(name == "proxy_read_timeout" for name, _value in given):
        yield f"{path} passes WebSockets on with nginx's own proxy_read_timeout of {_NGINX_DEFAULT_S:.0f}s"


def _haproxy(path: str, text: str) -> t.Iterator[str]:
    """timeout tunnel rules once a connection was upgraded; without it, timeout client and server go on. Bare: ms."""
    given = re.findall(r"^\s*timeout\s+(client|server|tunnel)\s+(\S+)", text, re.MULTILINE)
    ruling = [each for each in given if each[0] == "tunnel"] or given
    for name, value in ruling:
        found = seconds(value, 1e-3)
        if found is not None and 0 < found < LONG_S:
            yield f"{path} has timeout {name} {value}"
