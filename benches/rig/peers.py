"""Owns the peers: how each is configured and started. What is written here is what docs/performance.md says of them."""

import os
import shutil
import subprocess
from pathlib import Path

from processes import OTHER_CORE, PROXY_CORE, Child, free_port

CONNECTIONS_MAX = 9_500


class Stage:
    """What all peers of a run share: the programs, the keys, the model server."""

    def __init__(self, home: Path, tools: Path, fill: Path, embers: dict[str, Path]):
        self.home, self.tools, self.fill, self.embers = home, tools, fill, embers
        self.keys = home / "keys"
        self.store = home / "store"
        subprocess.run([fill, self.store, "1000", self.keys, "1000"], check=True, stderr=subprocess.DEVNULL)
        self.model_port = free_port()
        self.model = self.start_model([f"127.0.0.1:{self.model_port}"])

    def start_model(self, addresses: list[str], models: int = 1) -> Child:
        listen = [word for address in addresses for word in ("--listen", address)]
        child = Child([self.tools, "model", *listen, "--models", models], OTHER_CORE, self.home / "model.log")
        try:
            child.wait_for(int(addresses[0].split(":")[1]))
        except BaseException:
            child.end()
            raise
        return child

    def peer(self, name: str) -> "Peer":
        kinds = {"direct": Direct, "relay": Relay, "nginx": Nginx, "haproxy": Haproxy, "hyper": Hyper}
        return kinds[name](self) if name in kinds else Ember(self, name)


class Peer:
    """One way to the model server. `wrap` stands before its command, as valgrind does."""

    checks_keys = True
    setup = ""
    access_log = "none"

    def __init__(self, stage: Stage, name: str | None = None):
        self.stage, self.name = stage, name or type(self).__name__.lower()
        self.home = stage.home / f"peer-{self.name}"
        self.child: Child | None = None
        self.port = 0

    def start(self, wrap: list = [], patience: float = 20) -> "Peer":
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        self.port = free_port()
        self.child = Child([*wrap, *self.command(bool(wrap))], PROXY_CORE, self.home / "stderr", cwd=self.home,
                           env=self.environment())
        self.child.wait_for(self.port, patience)
        return self

    def command(self, alone: bool) -> list:
        """`alone`: in one process, where the peer has several."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home)}

    def processes(self) -> list[int]:
        return self.child.family() if self.child else []

    def end(self) -> None:
        if self.child:
            self.child.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Direct(Peer):
    """No proxy."""

    checks_keys = False
    setup = "no proxy"

    def start(self, wrap: list = [], patience: float = 20) -> "Peer":
        self.port = self.stage.model_port
        return self


class Relay(Peer):
    """Raw bytes: the floor."""

    checks_keys = False
    setup = "a relay of raw bytes, one thread: a connection to the model server for each of the caller's, no HTTP, no keys"

    def command(self, alone: bool) -> list:
        return [self.stage.tools, "relay", "--listen", f"127.0.0.1:{self.port}", "--to",
                f"127.0.0.1:{self.stage.model_port}"]


class Hyper(Peer):
    """hyper's server and client, a look-up of the bearer's SHA-256, nothing else."""

    setup = "hyper's server and client on one thread, connections kept, SHA-256 of the bearer in a set; no limits, no counting"

    def command(self, alone: bool) -> list:
        return [self.stage.tools, "proxy", "--listen", f"127.0.0.1:{self.port}", "--to",
                f"127.0.0.1:{self.stage.model_port}", "--keys", self.stage.keys]


class Nginx(Peer):
    setup = "1 worker, keys in a map, 401 for others; connections to the model server kept, proxy_buffering off, " \
        "request bodies up to 64 kB in memory"
    access_log = "combined, to a file, buffer=64k flush=1s"

    def command(self, alone: bool) -> list:
        keys = self.stage.keys.read_text().split()
        (self.home / "keys.map").write_text("".join(f'"Bearer {key}" 1;\n' for key in keys))
        user = "user root;\n" if os.geteuid() == 0 else ""
        places = "".join(f"{kind}_temp_path {self.home}/{kind};\n"
                         for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.home / "nginx.conf").write_text(f"""{user}daemon off;
worker_processes 1;
{"master_process off;" if alone else ""}
pid {self.home}/pid;
events {{ worker_connections 19000; }}
http {{
{places}access_log {self.home}/access combined buffer=64k flush=1s;
map_hash_bucket_size 128;
map_hash_max_size 8192;
map $http_authorization $known {{ default 0; include {self.home}/keys.map; }}
keepalive_requests 1000000000;
client_body_buffer_size 64k;
client_max_body_size 32m;
upstream model {{ server 127.0.0.1:{self.stage.model_port}; keepalive 512; keepalive_requests 1000000000; }}
server {{
  listen 127.0.0.1:{self.port} backlog=4096;
  location / {{
    if ($known = 0) {{ return 401; }}
    proxy_pass http://model;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_buffering off;
  }}
}}
}}
""")
        return [shutil.which("nginx"), "-p", self.home, "-e", "stderr", "-c", self.home / "nginx.conf"]


class Haproxy(Peer):
    setup = "nbthread 1, keys in a list (-f), 401 for others; http-reuse always, option http-no-delay (else it holds chunks " \
        "back for up to 200 ms)"
    access_log = "option httplog, to a ring in memory"

    def command(self, alone: bool) -> list:
        (self.home / "keys.lst").write_text("".join(f"Bearer {key}\n" for key in self.stage.keys.read_text().split()))
        (self.home / "haproxy.cfg").write_text(f"""global
  nbthread 1
  maxconn {CONNECTIONS_MAX}
  log ring@requests format rfc3164 local0
ring requests
  format rfc3164
  maxlen 1200
  size 1048576
defaults
  mode http
  log global
  option httplog
  option http-no-delay
  timeout connect 5s
  timeout client 75s
  timeout server 600s
  timeout http-keep-alive 75s
frontend public
  bind 127.0.0.1:{self.port} backlog 4096
  http-request deny deny_status 401 unless {{ req.hdr(authorization) -m str -f {self.home}/keys.lst }}
  default_backend model
backend model
  http-reuse always
  server model 127.0.0.1:{self.stage.model_port}
""")
        return [shutil.which("haproxy"), "-db", "-f", self.home / "haproxy.cfg"]


class Ember(Peer):
    """As a user starts it, with limits on every key, usage, metrics and the access log."""

    setup = "as installed, 1,000 keys; on every key limits of requests and tokens in a minute, requests at once and tokens in " \
        "a month, none of them near; usage and metrics on"
    access_log = "on, as installed: JSON lines on stderr, to a file"
    # A store to begin with a copy of; or a data directory to work in.
    store: Path | None = None
    data: Path | None = None
    keys: Path | None = None
    # Addresses of model servers, and which models each has.
    servers: list[tuple[str, list[str]]] = []

    def command(self, alone: bool) -> list:
        self.binary = self.stage.embers[self.name]
        if not self.data:
            shutil.copytree(self.store or self.stage.store, self.home / "data", ignore=shutil.ignore_patterns("*.sock"))
        (self.home / "ember.toml").write_text(self.configuration())
        return self.words("serve")

    def words(self, *words: str) -> list:
        return [self.binary, "-c", self.home / "ember.toml", "--data", self.data or self.home / "data", *words]

    def configuration(self) -> str:
        servers = self.servers or [(f"127.0.0.1:{self.stage.model_port}", ["bench"])]
        return f"""[server]
listen = "127.0.0.1:{self.port}"
[limits.key]
requests_per_minute = 1000000000
tokens_per_minute = 1000000000000
concurrent_requests = 100000
tokens_per_month = 1000000000000
[metrics]
listen = "127.0.0.1:{free_port()}"
""" + "".join(f"""[[upstream]]
name = "model-{number}"
url = "http://{address}"
models = {models}
in_flight_max = {CONNECTIONS_MAX}
""" for number, (address, models) in enumerate(servers))

    def tell(self, *words: str) -> str:
        """What a command answers, which asks the running server."""
        return subprocess.run(self.words(*words), check=True, capture_output=True, text=True, env=self.environment()).stdout
