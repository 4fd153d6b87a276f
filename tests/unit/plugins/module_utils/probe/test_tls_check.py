# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One TLS handshake with servers that do it well, badly or not at all, on this host, by certificates of our own."""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.tls_check import (
    check_tls,
    error_name,
    has_trust_store,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "fstream-mm.example.com"
NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)

Handler = Callable[[socket.socket], None]
Serve = Callable[[Handler], "tuple[str, int]"]


class Authority:
    """Signs certificates for servers, and writes them where a context can load them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
        own = (
            self._builder(self._name, self._name, self._key, NOW + DAY)
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(_usage(signs=True), True)
        )
        self.path = folder / "authority.pem"
        signed = own.sign(self._key, hashes.SHA256())
        self.path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _builder(
        name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(until - 10 * DAY)
            .not_valid_after(until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )

    def server(self, *, name: str = NAME, until: datetime = NOW + DAY, self_signed: bool = False) -> ssl.SSLContext:
        """Context of a server with a certificate for a name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, subject if self_signed else self._name, key, until)
        signer = key if self_signed else self._key
        # What OpenSSL asks of a certificate in its strict mode, Python's default from 3.13.
        whole = (
            builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
            .add_extension(_usage(signs=False), True)
        )
        signed = whole.sign(signer, hashes.SHA256())
        path = self._folder / f"{x509.random_serial_number()}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + signed.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Of an authority, that signs certificates, or of a server."""
    return x509.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.path))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Function that lets a handler have the next connection to an address that it returns."""
    listeners, threads = [], []

    def serve_one(handler: Handler) -> tuple[str, int]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(60)

        def one() -> None:
            accepted, _peer = listener.accept()
            accepted.settimeout(60)
            with accepted:
                handler(accepted)

        listeners.append(listener)
        threads.append(threading.Thread(target=one))
        threads[-1].start()
        address: tuple[str, int] = listener.getsockname()
        return address

    yield serve_one
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for listener in listeners:
        listener.close()


def speaking(context: ssl.SSLContext, seen: list[str | None] | None = None) -> Handler:
    """Handler that does its part of a TLS handshake, and notes the name that it was asked for."""
    if seen is not None:
        context.sni_callback = lambda _made, name, _context: seen.append(name)

    def handler(accepted: socket.socket) -> None:
        try:
            with context.wrap_socket(accepted, server_side=True) as secured:
                secured.recv(1)
        except OSError:
            # The client may end it, which is what some tests are about.
            pass

    return handler


def waiting(accepted: socket.socket) -> None:
    """Accept and say nothing until the client leaves."""
    try:
        while accepted.recv(4_096):
            pass
    except ConnectionResetError:
        pass


def test_service_with_a_good_certificate(authority: Authority, trusting: ssl.SSLContext, serve: Serve) -> None:
    seen: list[str | None] = []
    address, port = serve(speaking(authority.server(), seen))
    shown = check_tls(address, port, NAME, 10, trusting)
    assert shown.pop("duration_ms") > 0
    assert shown.pop("cipher").startswith("TLS_")
    assert shown == {"ok": True, "protocol": "TLSv1.3", "error": None, "verify_code": None, "verify_message": None}
    assert seen == [NAME]


def test_older_protocol_is_told(authority: Authority, trusting: ssl.SSLContext, serve: Serve) -> None:
    context = authority.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    shown = check_tls(*serve(speaking(context)), NAME, 10, trusting)
    assert (shown["ok"], shown["protocol"]) == (True, "TLSv1.2")


# X509_V_ERR_* of openssl/x509_vfy.h
@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        ({"name": "other.example.com"}, 62),
        ({"until": NOW - DAY}, 10),
        ({"until": NOW + 20 * DAY}, 9),
        ({"self_signed": True}, 18),
    ],
    ids=["wrong name", "expired", "not yet valid", "self-signed"],
)
def test_certificate_that_is_not_the_service_s(
    authority: Authority, trusting: ssl.SSLContext, serve: Serve, certificate: dict[str, object], code: int
) -> None:
    context = authority.server(**certificate)  # type: ignore[arg-type]
    shown = check_tls(*serve(speaking(context)), NAME, 10, trusting)
    assert (shown["ok"], shown["error"], shown["verify_code"]) == (False, "CERTIFICATE_VERIFY_FAILED", code)
    assert (shown["protocol"], shown["cipher"]) == (None, None)
    assert shown["verify_message"]


def test_authority_that_this_machine_does_not_know(authority: Authority, serve: Serve) -> None:
    stranger = ssl.create_default_context()
    shown = check_tls(*serve(speaking(authority.server())), NAME, 10, stranger)
    # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    assert (shown["error"], shown["verify_code"]) == ("CERTIFICATE_VERIFY_FAILED", 20)


def test_system_s_store_is_the_default(authority: Authority, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where OpenSSL looks for the system's store is its own documented variable.
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    assert check_tls(*serve(speaking(authority.server())), NAME, 10)["ok"] is True


def test_machine_without_a_store_says_so_and_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert not has_trust_store(ssl.create_default_context())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = check_tls("127.0.0.1", listener.getsockname()[1], NAME, 10)
        assert (found["error"], found["duration_ms"]) == ("NO_TRUST_STORE", None)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_peer_that_accepts_and_hangs_is_given_up(trusting: ssl.SSLContext, serve: Serve) -> None:
    shown = check_tls(*serve(waiting), NAME, 0.2, trusting)
    assert (shown["ok"], shown["error"]) == (False, "ETIMEDOUT")
    assert shown["duration_ms"] >= 190


def test_peer_that_trickles_is_given_up_as_well(trusting: ssl.SSLContext, serve: Serve) -> None:
    # The head of a record of 16 KiB, and then a byte each 20 ms: every single read is in time.
    ended = threading.Event()

    def trickle(accepted: socket.socket) -> None:
        accepted.sendall(b"\x16\x03\x03\x40\x00")
        try:
            while not ended.wait(0.02):
                accepted.sendall(b"\x02")
        except OSError:
            pass

    address = serve(trickle)
    shown = check_tls(*address, NAME, 0.3, trusting)
    ended.set()
    assert shown["error"] == "ETIMEDOUT"


def test_peer_that_resets(trusting: ssl.SSLContext, serve: Serve) -> None:
    def reset(accepted: socket.socket) -> None:
        accepted.recv(1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))

    assert check_tls(*serve(reset), NAME, 10, trusting)["error"] == "ECONNRESET"


def test_peer_that_hangs_up(trusting: ssl.SSLContext, serve: Serve) -> None:
    def hang_up(accepted: socket.socket) -> None:
        accepted.recv(4_096)

    assert check_tls(*serve(hang_up), NAME, 10, trusting)["error"] == "EOF"


def test_peer_that_speaks_something_else(trusting: ssl.SSLContext, serve: Serve) -> None:
    def speak(accepted: socket.socket) -> None:
        accepted.recv(4_096)
        accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        waiting(accepted)

    # OpenSSL's reason, which has had two names.
    assert check_tls(*serve(speak), NAME, 10, trusting)["error"] in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")


def test_nobody_listens(trusting: ssl.SSLContext) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        shown = check_tls("127.0.0.1", closed.getsockname()[1], NAME, 10, trusting)
    assert (shown["ok"], shown["error"]) == (False, "ECONNREFUSED")


def test_name_that_is_none_is_the_caller_s_fault(trusting: ssl.SSLContext, serve: Serve) -> None:
    address = serve(waiting)
    with pytest.raises(ValueError, match="server_hostname"):
        check_tls(*address, "", 10, trusting)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OSError(errno.EHOSTUNREACH, "x"), "EHOSTUNREACH"),
        (socket.timeout("timed out"), "ETIMEDOUT"),
        (ssl.SSLEOFError(8, "x"), "EOF"),
        (ssl.SSLError(1, "x"), "SSLError"),
        (OSError("no number"), "OSError"),
    ],
)
def test_every_error_has_a_name(error: OSError, name: str) -> None:
    assert error_name(error) == name
