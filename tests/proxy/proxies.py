"""Owns the proxies: their configurations as docs/proxy.md shows them, with other ports and paths, and their processes.
Knows nothing of what is asserted about them."""

import os
import random
import re
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = "ai.example.com"
DOCUMENT = (ROOT / "docs/proxy.md").read_text()


def snippet(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.M | re.S)
    assert found, f"docs/proxy.md has no snippet of {language}"
    return found[0]


def free_port() -> int:
    """Below the ports that the system gives to connections of its own choice: nobody takes it before it is used."""
    while True:
        port = random.randrange(20_000, 32_000)
        try:
            for family, address in [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]:
                with socket.socket(family) as listener:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == socket.AF_INET6:
                        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    listener.bind((address, port))
            return port
        except OSError:
            continue


def replaced(text: str, pairs: dict[str, str]) -> str:
    """Every text must be there: a test of something else than the document would prove nothing."""
    for old, new in pairs.items():
        assert old in text, f"{old!r} is not in the snippet"
        text = text.replace(old, new)
    return text


def certificates(home: Path) -> Path:
    """An authority and a certificate for NAME, made now; a directory with what the snippets name."""
    there = home / "certificates"
    there.mkdir()

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=there, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca of these tests")
    openssl("req", *curve, "-keyout", "privkey.pem", "-out", "request.pem", "-subj", f"/CN={NAME}")
    (there / "names").write_text(f"subjectAltName=DNS:{NAME},IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n")
    openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
            "fullchain.pem", "-days", "2", "-extfile", "names")
    (there / "haproxy.pem").write_text((there / "fullchain.pem").read_text() + (there / "privkey.pem").read_text())
    return there


class Proxy:
    """One of them on a port of its own, in front of Ember on `ember_port`."""

    def __init__(self, kind: str, home: Path, certificates: Path, ember_port: int):
        self.port, self.kind = free_port(), kind
        self.home = home
        home.mkdir()
        text = {"nginx": self.nginx, "caddy": self.caddy, "haproxy": self.haproxy}[kind](certificates, ember_port)
        self.log = open(home / "log", "wb")
        (home / "configuration").write_text(text)
        command = {
            "nginx": ["nginx", "-p", str(home), "-e", "stderr", "-c", str(home / "configuration")],
            "caddy": ["caddy", "run", "--config", str(home / "configuration"), "--adapter", "caddyfile"],
            "haproxy": ["haproxy", "-db", "-f", str(home / "configuration")],
        }[kind]
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
        self.process = subprocess.Popen(command, cwd=home, env=env, stdout=self.log, stderr=self.log)

    def nginx(self, certificates: Path, ember_port: int) -> str:
        inner = replaced(snippet("nginx"), {
            "127.0.0.1:7411": f"127.0.0.1:{ember_port}",
            "listen 443 ": f"listen {self.port} ",
            "listen [::]:443 ": f"listen [::]:{self.port} ",
            "/etc/ssl/ai.example.com": str(certificates),
        })
        places = "".join(f"{kind}_temp_path {self.home}/{kind};\n" for kind in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;\n" if os.geteuid() == 0 else ""
        return (f"{user}daemon off;\npid {self.home}/pid;\nerror_log stderr;\nevents {{}}\n"
                f"http {{\nlog_format plain '$connection $ssl_protocol $request_uri';\naccess_log {self.home}/access plain;\n"
                f"{places}{inner}}}\n")

    def caddy(self, certificates: Path, ember_port: int) -> str:
        inner = replaced(snippet("caddy"), {
            "127.0.0.1:7411": f"127.0.0.1:{ember_port}",
            "ai.example.com {": f"ai.example.com:{self.port} {{",
            "/etc/ssl/ai.example.com": str(certificates),
        })
        return f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{inner}"

    def haproxy(self, certificates: Path, ember_port: int) -> str:
        return replaced(snippet("haproxy"), {
            "127.0.0.1:7411": f"127.0.0.1:{ember_port}",
            "bind :443 ": f"bind :{self.port} ",
            "bind :::443 ": f"bind :::{self.port} ",
            "/etc/ssl/ai.example.com": str(certificates),
        })

    def said(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
