# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One TLS handshake with an address: a TCP connect alone does not show that a service is behind it.

Private to this collection: it may change in any release. Standard library only: it runs on the measured instance.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

# A trust store in a directory is only read when a certificate is looked for, so it shows as none loaded.
_NO_STORE = "NO_TRUST_STORE"


def check_tls(
    address: str,
    port: int,
    server_name: str,
    timeout_s: float,
    context: ssl.SSLContext | None = None,
) -> dict[str, Any]:
    """Make one TLS handshake with SNI and verify the certificate's chain and name. Sends no other data.

    Shape: ``{ok, protocol, cipher, error, verify_code, verify_message, duration_ms}``. protocol is as C(TLSv1.3),
    cipher by OpenSSL's name. Without a handshake they are None and error is a name: of an errno (C(ECONNREFUSED),
    C(ETIMEDOUT)), C(EOF) for a peer that ended it, C(CERTIFICATE_VERIFY_FAILED) with OpenSSL's verify_code and
    verify_message, or OpenSSL's reason (C(WRONG_VERSION_NUMBER)). C(NO_TRUST_STORE): this machine has no certificates
    to verify any other by, and the peer was not asked. duration_ms is what connect and handshake took together, at
    most timeout_s and a little; None when the peer was not asked.

    context is for tests; by default certificates are verified against the system's store. A remote's fault is never
    raised. Raises ValueError for a server_name that can't be one.
    """
    if context is None:
        context = ssl.create_default_context()
        if not has_trust_store(context):
            return {**_result(_NO_STORE, 0.0), "duration_ms": None}
    start_s = time.monotonic()
    try:
        with socket.create_connection((address, port), timeout=timeout_s) as made:
            # At least a little: a timeout of 0 would make the socket non-blocking.
            made.settimeout(max(timeout_s - (time.monotonic() - start_s), 0.001))
            with context.wrap_socket(made, server_hostname=server_name) as secured:
                cipher = secured.cipher()
                return {
                    **_result(None, time.monotonic() - start_s),
                    "protocol": secured.version(),
                    "cipher": cipher[0] if cipher else None,
                }
    except ssl.SSLCertVerificationError as error:
        return {
            **_result(_reason(error), time.monotonic() - start_s),
            "verify_code": error.verify_code,
            "verify_message": error.verify_message,
        }
    except OSError as error:
        return _result(error_name(error), time.monotonic() - start_s)


def _result(error: str | None, duration_s: float) -> dict[str, Any]:
    return {
        "ok": error is None,
        "protocol": None,
        "cipher": None,
        "error": error,
        "verify_code": None,
        "verify_message": None,
        "duration_ms": round(duration_s * 1_000, 1),
    }


def error_name(error: OSError) -> str:
    """Name of what ended a TLS handshake: see check_tls()."""
    if isinstance(error, socket.timeout):
        return "ETIMEDOUT"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "EOF"
    if isinstance(error, ssl.SSLError):
        return _reason(error)
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def _reason(error: ssl.SSLError) -> str:
    # Errors that Python makes itself have none.
    return getattr(error, "reason", None) or type(error).__name__


def has_trust_store(context: ssl.SSLContext) -> bool:
    """Whether a context has a certificate to trust, loaded or in a directory that OpenSSL looks into."""
    loaded: Mapping[str, int] = context.cert_store_stats()
    directory = ssl.get_default_verify_paths().capath
    return loaded["x509_ca"] > 0 or bool(directory and os.path.isdir(directory) and os.listdir(directory))
