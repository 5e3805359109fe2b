"""packaging/Dockerfile, read: what its last stage holds and how it is run."""

import json
import pathlib
import shlex

TOP = pathlib.Path(__file__).resolve().parents[2]


def instructions():
    text = (TOP / "packaging/Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines()]


class Image:
    def __init__(self):
        stages = []
        for word, rest in instructions():
            if word == "FROM":
                stages.append((rest, []))
            else:
                stages[-1][1].append((word, rest))
        (self.builder, build), (self.base, final) = stages
        self.bases = [self.builder.split()[0], self.base]
        self.build = build
        self.env = dict(pair.split("=", 1) for word, rest in final if word == "ENV" for pair in shlex.split(rest))
        self.build_env = dict(
            pair.split("=", 1) for word, rest in build if word == "ENV" for pair in shlex.split(rest)
        )
        one = dict(final)
        self.uid, self.gid = (int(number) for number in one["USER"].split(":"))
        self.volume, self.port, self.stop_signal = one["VOLUME"], int(one["EXPOSE"]), one["STOPSIGNAL"]
        self.entrypoint, self.command = json.loads(one["ENTRYPOINT"]), json.loads(one["CMD"])
        self.health = json.loads(one["HEALTHCHECK"].split("CMD", 1)[1])
        self.copies = [shlex.split(rest) for word, rest in final if word == "COPY"]
        self.sources = [name for word, rest in build if word == "COPY" for name in shlex.split(rest)[:-1]]
