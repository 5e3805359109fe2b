"""Owns a session of Ember under strace, and the list of what it may touch (law 14)."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

from report import ROOT, figure, not_tried

sys.path.insert(0, str(ROOT / "tests" / "proxy"))
from fake_model import FakeModel  # noqa: E402

def rules(work, ember, listen, models):
    """What a session may touch: (name, kinds, pattern). All that is written is Ember's own."""
    data, resolver = re.escape(f"{work}/data"), r"/etc/(nsswitch\.conf|host\.conf|gai\.conf|resolv\.conf|hosts)|/"
    named = "|".join(rf"(127\.0\.0\.1|::1) {port}" for port in models)
    return [
        ("the data directory", "read write", rf"{data}(/[\w.-]+)?"),
        ("the backup", "read write", re.escape(str(work)) + r"/(backup\.redb|\.backup\.redb\.\d+\.partial)"),
        ("the folders they are in", "read", re.escape(str(work))),
        ("the configuration", "read", re.escape(str(work)) + r"/(session\.toml|ember\.toml|config/ember/ember\.toml)"
                                      r"|/etc/ember/ember\.toml"),
        ("the program", "read run", re.escape(str(ember))),
        ("the C library", "read", r"/etc/ld\.so\.(cache|preload)|(/usr)?/lib(64)?(/\w+-linux-gnu)?(/glibc-hwcaps)?(/[\w-]+)?"
                                  r"(/lib(c|m|gcc_s|resolv|nss_\w+)\.so(\.\d+)*)?"),
        ("itself", "read", r"/proc/self/(maps|cgroup|mountinfo|mounts|status|stat|exe|fd|limits)"),
        ("its processors", "read", r"/sys/fs/cgroup(/[^/]+)*|/sys/devices/system/cpu(/\w+)?|/proc/cpuinfo"),
        ("whether this is a container", "read", r"/\.dockerenv|/run/\.containerenv"),
        ("root certificates", "read", r"(/opt)?/etc/(ssl|pki)(/.*)?|/etc/security/certificates"),
        ("the resolver's files", "read", resolver),
        ("the resolver's cache", "connect", r"unix /var/run/nscd/socket"),
        ("the kernel's addresses", "bind send", r"netlink"),
        ("the resolver's choice between addresses", "connect", r"unspecified"),
        ("the admin socket", "bind connect", rf"unix {data}/ember\.sock"),
        ("the listener", "bind", rf"127\.0\.0\.1 {listen}"),
        ("the model servers", "connect", named),
    ]


ADDRESS, PASSWORD = "ana@example.com", "correct horse battery staple"
# Without these a session was not seen.
SEEN = {"the data directory", "the backup", "the configuration", "the program", "the admin socket", "the listener",
        "the model servers", "the resolver's files"}

CALL = re.compile(r"^\d+ +(\w+)\((.*)")
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
CHANGES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE")
CHANGING = re.compile(r"(creat|mkdir|mknod|rmdir|unlink|rename|link|symlink|chmod|fchmod|chown|lchown|fchown|truncate|utime|setxattr"
                      r"|mount|umount).*")
NETWORK = {"bind": "bind", "connect": "connect", "sendto": "send", "sendmsg": "send", "sendmmsg": "send"}


def addresses(text):
    for family, rest in re.findall(r"\{sa_family=AF_(\w+)(.*?)\}", text):
        quoted = (re.findall(r'"([^"]*)"', rest) or ["?"])[0]
        port = (re.findall(r"htons\((\d+)\)", rest) or ["?"])[0]
        match family:
            case "UNIX":
                yield "unix " + ("@" if "sun_path=@" in rest else "") + quoted
            case "INET" | "INET6":
                yield f"{quoted} {port}"
            case "NETLINK":
                yield "netlink"
            case "UNSPEC":
                yield "unspecified"
            case _:
                yield family


def touched(trace, folder):
    """From strace's output: what was done to which path or address."""
    for line in trace.read_text(errors="replace").splitlines():
        call = CALL.match(line)
        if not call or call[1] == "getcwd":
            continue
        name, arguments = call[1], call[2]
        if name in NETWORK:
            yield from ((NETWORK[name], address) for address in addresses(arguments))
            continue
        paths = PATH.findall(arguments)
        if not paths:
            # io_uring too: what is asked of the kernel through it strace does not see.
            yield "unreadable", line
        kind = "run" if name.startswith("exec") else "read"
        if CHANGING.fullmatch(name) or CHANGES.search(arguments):
            kind = "write"
        # An empty path is a file that is open already.
        yield from ((kind, os.path.normpath(os.path.join(base or folder, path))) for base, path in paths if path)


class Session:
    """Ember under strace, in a folder and with an environment of its own."""

    def __init__(self, work, ember):
        self.work, self.ember, self.traces, self.running = work, ember, [], []
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(work), "XDG_DATA_HOME": str(work),
                            "XDG_CONFIG_HOME": str(work / "config")}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self, *args, told=""):
        """The process is Ember's, not strace's. What it says may hold a secret and goes with the folder."""
        trace = self.work / f"trace-{len(self.traces)}"
        calls = "trace=%file,bind,connect,sendto,sendmsg,sendmmsg,io_uring_setup"
        with open(self.said(trace), "w", encoding="utf-8") as said:
            child = subprocess.Popen(["strace", "-D", "-f", "-y", "-s", "0", "-o", trace, "-e", calls, "-e", "signal=none",
                                      self.ember, *args], cwd=self.work, env=self.environment, stdout=said, stderr=said,
                                     stdin=subprocess.PIPE, text=True)
        with child.stdin as stdin:
            stdin.write(told)
        self.traces.append((child.pid, trace))
        self.running.append(child)
        return child, trace

    def said(self, trace):
        return trace.with_suffix(".said")

    def serve(self, *args):
        child, trace = self.start(*args)
        until(lambda: "listening on" in self.said(trace).read_text() or child.poll() is not None, f"ember {args[0]} listens")
        assert child.poll() is None, f"ember {args[0]} ended: {self.said(trace).read_text()}"
        return child, trace

    def stop(self, child, how):
        child.send_signal(how)
        assert child.wait(60) == 0, f"after {how.name} Ember ended with {child.returncode}"

    def command(self, *args, told=""):
        child, trace = self.start("-c", "session.toml", "--data", f"{self.work}/data", *args, told=told)
        said = "" if child.wait(60) is None else self.said(trace).read_text()
        assert child.returncode == 0, f"ember {args[0]}: {said}"
        return said

    def ask(self, key, **more):
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}], **more})
        status, _, text = self.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}",
                                                                             "Content-Type": "application/json"})
        assert not more.get("stream") or text.endswith("data: [DONE]\n\n"), "a stream that is not whole"
        return status

    def request(self, method, path, body="", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()

    def sign_in(self, email, password):
        """The cookie of a session, as a browser gets it: by the form, with the form's token."""
        _, headers, page = self.request("GET", "/sign-in")
        form = {"csrf": re.search(r'name="csrf" value="([^"]+)"', page)[1], "email": email, "password": password}
        status, headers, _ = self.request("POST", "/sign-in", urlencode(form), {
            "Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://127.0.0.1:{self.port}",
            "Cookie": cookies(headers)})
        assert status == 303, f"signing in answered {status}"
        return cookies(headers)

    def complete(self):
        """strace writes on for a moment when its process has gone."""
        for pid, trace in self.traces:
            end = re.compile(rf"^{pid} +\+\+\+ exited with", re.M)
            until(lambda: end.search(trace.read_text(errors="replace")), "strace ends")

    def end(self):
        for child in self.running:
            if child.poll() is None:
                child.kill()
                child.wait()


def cookies(headers):
    return "; ".join(cookie.split(";", 1)[0] for cookie in headers.get_all("set-cookie", []))


def until(holds, what):
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within 60 s: {what}")
        time.sleep(0.02)


def key_in(text, kind="dev|prod"):
    return re.search(rf"ember_(?:{kind})_[0-9A-Za-z]{{38}}", text)[0]


def play(session, clear, secure):
    """Serving twice (`up`, `serve`), and what an administrator and an application do in between."""
    data = f"{session.work}/data"
    server, trace = session.serve("up", "--data", data, "--listen", f"127.0.0.1:{session.port}", "--upstream", clear.url)
    until(lambda: "Try it:" in session.said(trace).read_text(), "ember up shows a key")
    assert session.ask(key_in(session.said(trace).read_text())) == 200
    session.stop(server, signal.SIGINT)
    # The second one speaks no TLS: what is looked at is how far Ember goes to ask it.
    (session.work / "session.toml").write_text(
        f'[server]\nlisten = "127.0.0.1:{session.port}"\n'
        f'[[upstream]]\nname = "clear"\nurl = "{clear.url}"\n'
        f'[[upstream]]\nname = "secure"\nurl = "https://localhost:{secure.server.server_port}"\n')
    server, trace = session.serve("-c", "session.toml", "--data", data, "serve")
    session.command("account", "create", ADDRESS, "--name", "Ana", "--admin", "--password-stdin", told=f"{PASSWORD}\n")
    key = key_in(session.command("key", "create", "--account", ADDRESS, "--name", "app"))
    assert session.ask(key) == 200 and session.ask(key, stream=True) == 200
    token = {"Authorization": f"Bearer {key_in(session.command('token', 'create', 'ci'), 'admin')}"}
    cookie = {"Cookie": session.sign_in(ADDRESS, PASSWORD)}
    for path, headers in [("/admin/v1/keys", token), ("/admin/v1/metrics", token), ("/dashboard", cookie)]:
        assert session.request("GET", path, headers=headers)[0] == 200, path
    with open(session.work / "session.toml", "a", encoding="utf-8") as settings:
        settings.write("weight = 2\n")
    server.send_signal(signal.SIGHUP)
    until(lambda: "loaded anew" in session.said(trace).read_text(), "the configuration is loaded anew")
    session.command("backup", f"{session.work}/backup.redb")
    session.command("key", "revoke", "app", "--reason", "proof")
    assert session.ask(key) == 401
    session.stop(server, signal.SIGTERM)
    session.command("compact")
    session.complete()


def judge(session, allowed):
    found = {one for _, trace in session.traces for one in touched(trace, str(session.work))}
    seen, faults = set(), []
    for kind, thing in sorted(found):
        names = [name for name, kinds, pattern in allowed if kind in kinds.split() and re.fullmatch(pattern, thing)]
        seen.update(names)
        if not names:
            faults.append(f"{kind} {thing}")
    figure("files that are not in the list", sum(fault.startswith(("read", "write", "unread")) for fault in faults), "be 0")
    figure("programs that it runs", sum(fault.startswith("run") for fault in faults), "be 0")
    figure("addresses that are not configured", sum(fault.startswith(("bind", "connect", "send")) for fault in faults), "be 0")
    figure("files and addresses seen", len(found))
    return faults + [f"not seen: {name}" for name in sorted(SEEN - seen)]


def traced(ember):
    if os.getuid() != 0:
        not_tried("a session under strace: Ember lets nobody but root look into it")
        return None
    clear, secure = FakeModel(), FakeModel()
    for model in (clear, secure):
        # Connections that Ember closes, and TLS, which they do not know.
        model.server.handle_error = lambda *_: None
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder).resolve(), ember)
        try:
            play(session, clear, secure)
            ports = [clear.server.server_port, secure.server.server_port]
            return judge(session, rules(session.work, ember, session.port, ports))
        except (AssertionError, OSError) as fault:
            return [str(fault) or "the session went otherwise"]
        finally:
            session.end()
            clear.end()
            secure.end()


def install_strace():
    if shutil.which("strace") or os.getuid() != 0:
        return
    subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=sys.stderr)
    subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "strace"], check=True, stdout=sys.stderr)
