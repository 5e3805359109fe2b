"""What packaging/Dockerfile makes, without a container engine: the same files in a root directory of their own, the same
user, variables and commands, in namespaces for processes and network. Needs root and the program built as the Dockerfile
does; run by tests/service/run inside `unshare --net`.

    container.py STATIC_EMBER
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from image import TOP, Image
from model import dns_server, loopback_up, model_server

IMAGE = Image()
FSGROUP = 3000
PATIENCE_S = 30
# A key, and the first line of what `up` shows once.
SECRET = re.compile(r"ember_(dev|staging|prod)_\w{38}|Password", re.MULTILINE)


def until(what, is_so):
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


class Container:
    """A root directory with a volume, and commands in it."""

    def __init__(self, program, owner=None, mode=None):
        self.groups = ""
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="ember-image-"))
        self.root.chmod(0o755)
        shutil.copy(program, self.root / "ember")
        for arguments in IMAGE.copies:
            flags, (source, target) = [one for one in arguments if one.startswith("--")], arguments[-2:]
            if source == "/image/data":
                self.volume = self.root / target.lstrip("/")
                self.volume.mkdir()
                for flag in flags:
                    if flag.startswith("--chown="):
                        os.chown(self.volume, *(int(number) for number in flag[8:].split(":")))
                    if flag.startswith("--chmod="):
                        self.volume.chmod(int(flag[8:], 8))
        (self.root / "etc/ssl/certs").mkdir(parents=True)
        # What an engine puts there.
        (self.root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.0.1 beside\n")
        if owner is not None:
            os.chown(self.volume, *owner)
            self.volume.chmod(mode)

    def command(self, arguments, env, groups=""):
        enter = ["chroot", f"--userspec={IMAGE.uid}:{IMAGE.gid}", f"--groups={groups}", str(self.root)]
        variables = [f"{name}={value}" for name, value in {**IMAGE.env, "container": "docker", **env}.items()]
        return ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *variables, *enter, *arguments]

    def run(self, *arguments, groups="", **env):
        command = self.command([*IMAGE.entrypoint, *arguments], env, groups)
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def health(self):
        command = self.command(IMAGE.health, {}, self.groups)
        return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)

    def start(self, *arguments, groups="", **env):
        """As the first process of a process namespace."""
        inner = self.command([*IMAGE.entrypoint, *(arguments or IMAGE.command)], env, groups)
        self.groups = groups
        self.said = tempfile.TemporaryFile("w+")
        self.unshare = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", *inner],
            stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said,
        )
        until("the health check", lambda: self.health().returncode == 0 or self.unshare.poll() is not None)
        assert self.unshare.poll() is None, self.log()

    def log(self):
        self.said.seek(0)
        return self.said.read()

    def signal(self, number):
        children = pathlib.Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), number)

    def stop(self):
        """As an engine does: the signal goes to the first process."""
        self.signal(getattr(signal, IMAGE.stop_signal))
        assert self.unshare.wait(PATIENCE_S) == 0, self.log()

    def remove(self):
        if getattr(self, "unshare", None) and self.unshare.poll() is None:
            # --kill-child does nothing for a child that has become another user.
            self.signal(signal.SIGKILL)
            self.unshare.kill()
            self.unshare.wait()
        shutil.rmtree(self.root)


def ask(path, key=None, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{IMAGE.port}{path}", data=body)
    request.add_header("content-type", "application/json")
    if key:
        request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_the_file_names_no_registry_and_takes_only_sources(_):
    assert all("/" not in base and "." not in base.split(":")[0] for base in IMAGE.bases), IMAGE.bases
    admitted = {line[1:] for line in (TOP / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(IMAGE.sources) == admitted, (IMAGE.sources, admitted)
    assert all((TOP / source).exists() for source in IMAGE.sources)
    assert IMAGE.uid > 0 and IMAGE.gid > 0
    assert IMAGE.env["EMBER_DATA"].startswith(IMAGE.volume + "/")
    assert IMAGE.env["EMBER_SERVER__LISTEN"] == f"0.0.0.0:{IMAGE.port}"


def test_it_serves_finds_model_servers_by_name_and_drains(program):
    container = Container(program)
    try:
        assert container.health().returncode != 0, "nothing runs yet"
        names = {
            "EMBER_UPSTREAM__0__NAME": "dns", "EMBER_UPSTREAM__0__URL": "http://vllm.example:9000",
            "EMBER_UPSTREAM__1__NAME": "hosts", "EMBER_UPSTREAM__1__URL": "http://beside:9000",
            "EMBER_UPSTREAM__2__NAME": "nobody", "EMBER_UPSTREAM__2__URL": "http://nobody.example:9000",
        }
        container.start(**names)
        data = container.root / IMAGE.env["EMBER_DATA"].lstrip("/")
        facts = data.stat()
        assert (facts.st_uid, facts.st_mode & 0o777) == (IMAGE.uid, 0o700)
        assert ask("/healthz") == 200 and ask("/v1/models") == 401

        def up():
            servers = json.loads(container.run("status", "-o", "json").stdout)["server"]["upstreams"]
            return {server["name"]: server["healthy"] for server in servers}

        until("both names to be found", lambda: up() == {"dns": True, "hosts": True, "nobody": False})
        made = container.run("account", "create", "ana@example.com", "--admin")
        assert made.returncode == 0, made.stderr
        key = container.run("key", "create", "--account", "ana@example.com", "--name", "a").stdout.strip()
        assert ask("/v1/chat/completions", key, b'{"model":"m","messages":[]}') == 200
        assert "nobody outside of it" not in container.log()
        container.stop()
        assert not SECRET.search(container.log()), "a secret is in the log"
        container.start(**names)
        assert ask("/v1/models", key) == 200, "the volume keeps what was made"
        container.stop()
    finally:
        container.remove()


def test_up_prints_no_secret_and_says_why_nothing_was_found(program):
    container = Container(program)
    try:
        container.start("up", "--listen", f"0.0.0.0:{IMAGE.port}", "--upstream", "http://vllm.example:9000")
        until("the announcement", lambda: "no secret is made" in container.log())
        container.stop()
        assert not SECRET.search(container.log()), "a secret is in the log"
    finally:
        container.remove()
    container = Container(program)
    try:
        container.start("up", EMBER_SERVER__LISTEN=f"127.0.0.1:{IMAGE.port}")
        until("the hint", lambda: "the container itself" in container.log())
        until("the warning", lambda: "nobody outside of it" in container.log())
        container.stop()
    finally:
        container.remove()


def test_a_volume_that_a_group_shares_gets_a_directory_of_embers_own(program):
    container = Container(program, owner=(0, FSGROUP), mode=0o2770)
    try:
        refused = container.run("serve", groups=FSGROUP, EMBER_DATA=IMAGE.volume)
        assert refused.returncode == 4, refused.stderr
        assert f"--data {IMAGE.volume}/ember" in refused.stderr, refused.stderr
        assert os.listdir(container.volume) == [], "a refused volume is left as it is"
        container.start(groups=FSGROUP, EMBER_MODELS__ECHO="true")
        facts = (container.root / IMAGE.env["EMBER_DATA"].lstrip("/")).stat()
        assert (facts.st_uid, facts.st_mode & 0o777) == (IMAGE.uid, 0o700)
        assert container.volume.stat().st_mode & 0o7777 == 0o2770
        container.stop()
    finally:
        container.remove()


def test_it_is_backed_up_restored_and_compacted_as_the_documentation_says(program):
    container = Container(program)
    try:
        # The second volume of docs/container.md.
        backups = container.root / "backups"
        backups.mkdir(0o700)
        os.chown(backups, IMAGE.uid, IMAGE.gid)

        def done(*arguments):
            made = container.run(*arguments)
            assert made.returncode == 0, (arguments, made.stderr)
            return made.stdout.strip()

        container.start(EMBER_MODELS__ECHO="true")
        done("account", "create", "ana@example.com", "--admin")
        key = done("key", "create", "--account", "ana@example.com", "--name", "a")
        done("backup", "/backups/first.redb")
        done("doctor")
        late = done("key", "create", "--account", "ana@example.com", "--name", "late")
        refused = container.run("compact")
        assert refused.returncode != 0 and "server" in refused.stderr, refused
        container.stop()
        done("compact")
        done("doctor", "--deep")
        done("restore", "/backups/first.redb")
        container.start(EMBER_MODELS__ECHO="true")
        assert (ask("/v1/models", key), ask("/v1/models", late)) == (200, 401)
        container.stop()
    finally:
        container.remove()


def test_a_volume_of_roots_is_refused_with_its_owner(program):
    container = Container(program, owner=(0, 0), mode=0o755)
    try:
        refused = container.run("serve")
        assert refused.returncode == 4, refused.stderr
        for part in ["can't be made", IMAGE.volume, "user 0", "mode 755", f"user {IMAGE.uid}"]:
            assert part in refused.stderr, (part, refused.stderr)
    finally:
        container.remove()


def main():
    loopback_up()
    dns_server({"vllm.example": "127.0.0.1"})
    # Not one of the ports on which `up` looks.
    model_server(("127.0.0.1", 9000))
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    failed = 0
    for name, test in tests:
        try:
            test(sys.argv[1])
            print(f"ok {name}", flush=True)
        except Exception as fault:  # noqa: BLE001: whatever it is, this test failed and the next one is tried
            failed += 1
            print(f"not ok {name}: {type(fault).__name__}: {fault}", flush=True)
    sys.exit(1 if failed else 0)


main()
