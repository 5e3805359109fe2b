"""Owns a model server that says when it sent what, and when its client had gone. Knows nothing of Ember."""

import http.server
import json
import select
import socket
import threading
import time

PIECES, GAP = 12, 0.1


class FakeModel:
    """Answers `m`. What the prompt begins with says how: `stream` sends pieces with the time of their sending in them,
    `slow` never begins, `count` says how long the body was; all of them stop when nobody listens any more."""

    def __init__(self):
        model = self
        self.gone: list[float] = []
        self.begun = threading.Semaphore(0)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self.whole({"object": "list", "data": [{"id": "m", "object": "model"}]})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                asked = json.loads(body)
                prompt = asked["messages"][-1]["content"]
                if prompt.startswith("slow"):
                    model.begun.release()
                    self.wait_for_end(30)
                elif asked.get("stream"):
                    self.stream(float(prompt.split()[1]) if prompt.startswith("pieces ") else GAP)
                else:
                    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                    message = {"role": "assistant", "content": str(len(body))}
                    self.whole({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
                                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

            def stream(self, gap: float) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for _ in range(PIECES):
                    self.event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
                        {"index": 0, "delta": {"content": f"{time.monotonic()} "}, "finish_reason": None}]})
                    model.begun.release()
                    if self.wait_for_end(gap):
                        return
                self.part("data: [DONE]\n\n")
                self.wfile.write(b"0\r\n\r\n")

            def event(self, value: dict) -> None:
                self.part(f"data: {json.dumps(value)}\n\n")

            def part(self, text: str) -> None:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text.encode()))

            def whole(self, value: dict) -> None:
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def wait_for_end(self, seconds: float) -> bool:
                """Whether the other side closes the connection within this time."""
                readable, _, _ = select.select([self.connection], [], [], seconds)
                if not readable:
                    return False
                try:
                    ended = self.connection.recv(1, socket.MSG_PEEK) == b""
                except OSError:
                    ended = True
                if ended:
                    model.gone.append(time.monotonic())
                    self.close_connection = True
                return ended

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()
