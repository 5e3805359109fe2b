"""Restarts Ember again and again on a socket that this process holds, as systemd does with ember.socket, while callers
connect without a pause. No connection may be refused, and none cut but by a kill -9.

    restart.py EMBER
"""

import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time

RESTARTS, CALLERS, PATIENCE_S = 10, 4, 30


def start(ember, sock, home):
    pid = os.fork()
    if pid:
        return pid
    os.dup2(sock.fileno(), 3)
    # It may have been 3 already.
    os.set_inheritable(3, True)
    log = os.open(home / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 2)
    env = {
        "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "EMBER_DATA": str(home / "data"),
        "EMBER_MODELS__ECHO": "true", "EMBER_SERVER__LISTEN": "127.0.0.1:%d" % sock.getsockname()[1],
    }
    os.chdir(home)
    os.execve(ember, [ember, "serve"], env)


def call(address, told):
    try:
        with socket.create_connection(address, PATIENCE_S) as caller:
            caller.settimeout(PATIENCE_S)
            caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = b""
            while part := caller.recv(4096):
                answer += part
        ending = "answered" if answer.startswith(b"HTTP/1.1 200 ") else f"answered with {answer[:40]!r}"
    except ConnectionRefusedError:
        ending = "refused"
    except OSError as fault:
        ending = f"failed: {fault}"
    told[ending] = told.get(ending, 0) + 1


def ended(pid):
    """Waits for the process, and fails when it does not end."""
    end = time.monotonic() + PATIENCE_S
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError(f"Ember did not end within {PATIENCE_S} s")
        time.sleep(0.005)


class Server:
    """Ember on a socket that is held, in a directory of its own."""

    def __init__(self, ember, home):
        self.ember, self.home = ember, home
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(1024)
        self.address = self.socket.getsockname()
        self.pid = start(ember, self.socket, home)

    def end(self, how):
        pid, self.pid = self.pid, None
        os.kill(pid, how)
        ended(pid)

    def restarts(self, how, told):
        for _ in range(RESTARTS):
            time.sleep(0.2)
            self.end(how)
            self.pid = start(self.ember, self.socket, self.home)
        time.sleep(0.5)
        endings = {}
        for mine in told:
            for ending, times in mine.items():
                endings[ending] = endings.get(ending, 0) + times
        print(f"{RESTARTS} restarts by {how.name}: {endings}")
        return endings


def measure(server):
    told, done = [{} for _ in range(CALLERS)], threading.Event()

    def calls(mine):
        while not done.is_set():
            call(server.address, mine)

    callers = [threading.Thread(target=calls, args=(mine,), daemon=True) for mine in told]
    for caller in callers:
        caller.start()
    try:
        return server.restarts(signal.SIGTERM, told), server.restarts(signal.SIGKILL, told)
    finally:
        done.set()
        for caller in callers:
            caller.join(PATIENCE_S)


def main():
    home = pathlib.Path(tempfile.mkdtemp(prefix="ember-restart-"))
    server = Server(os.path.abspath(sys.argv[1]), home)
    # A time limit around this script ends in the same way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        asked, killed = measure(server)
        server.end(signal.SIGTERM)
    finally:
        if server.pid:
            server.end(signal.SIGKILL)
        shutil.rmtree(home)
    # What a kill cuts off was accepted before; nothing is refused all the same.
    good = set(asked) == {"answered"} and asked["answered"] >= 100 and "refused" not in killed
    sys.exit(0 if good else 1)


main()
