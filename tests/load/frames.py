"""Owns frames of HTTP/2 as bytes (RFC 9113, RFC 7541), the odd ones too. Knows nothing of who sends them."""

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, GO_AWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
# The first one in a table that is otherwise empty.
OWN_ENTRY = 0x80 | 62
WINDOW_SIZE = 4


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def setting(name, value):
    return name.to_bytes(2, "big") + value.to_bytes(4, "big")


def text(value):
    """A text with its length, as it is (RFC 7541, 5.2)."""
    value = value.encode()
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, length = len(value) - 127, bytearray([127])
    while rest >= 128:
        length.append(rest % 128 | 128)
        rest //= 128
    return bytes([*length, rest]) + value


def header(name, value, kept=False):
    """`kept` has the other side put it into its table."""
    return bytes([0x40 if kept else 0]) + text(name) + text(value)


def head(method, path, key=""):
    fields = {":method": method, ":scheme": "http", ":authority": "a", ":path": path}
    if key:
        fields["authorization"] = f"Bearer {key}"
    return b"".join(header(name, value) for name, value in fields.items())


def greeting(settings=b""):
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, payload=settings)
