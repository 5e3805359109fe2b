"""A network of its own for the container's tests: loopback up, a DNS server, a model server under the name `vllm`."""

import fcntl
import http.server
import json
import socket
import struct
import threading


def loopback_up():
    with socket.socket() as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 0x49))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING


class Model(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        body = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    def log_message(self, *_):
        pass


def model_server(address):
    server = http.server.ThreadingHTTPServer(address, Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def dns_server(names):
    """Answers A for the names; the others do not exist."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 53))

    def serve():
        while True:
            query, peer = sock.recvfrom(512)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode())
                at += query[at] + 1
            kind, end = int.from_bytes(query[at + 1 : at + 3], "big"), at + 5
            address = names.get(".".join(labels))
            found = address is not None and kind == 1
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address) if found else b""
            code = b"\x81\x80" if address else b"\x81\x83"
            counts = b"\0\1" + (b"\0\1" if found else b"\0\0") + b"\0\0\0\0"
            sock.sendto(query[:2] + code + counts + query[12:end] + answer, peer)

    threading.Thread(target=serve, daemon=True).start()
