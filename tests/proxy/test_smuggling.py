"""Proof 4, law 1: no request hides in another. Whatever its bytes, and whatever proxy stands in front, a model server sees
just the requests that Ember let through, and each answer goes to whoever asked for it."""

import json
import random
import threading
from collections import Counter
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from types import SimpleNamespace

import pytest

import proof
from caller import Front, Neighbour, Request, converse, pieces, request, talk_of, trusting, varied
from conftest import Ember
from forms import FORMS, Form, Outer
from frames import FORMS_OF_FRAMES, FormOfFrames, asked, pairs_of, speak
from proxies import Proxy, free_port
from recorder import Recorder
from stack import until

FRONTS = ["direct", "nginx", "haproxy", "caddy"]
WORKERS = 48
# How often each form is tried at each front, with other pieces, letter case, padding and keys.
ROUNDS = proof.size(1, 100)
# Of how many connections it may be that the answer came when the caller had left: a busy machine is late now and then.
LEFT_MAX = ROUNDS * len(FORMS) // 50
# With whose key the hidden request comes: nobody's, one that was revoked, another caller's; and as one of that caller's that
# is longer than what comes of it, so that it would take in the next request on the connection behind the proxy.
HIDDEN = {"none": "", "revoked": "revoked", "other": "other", "swallowing": "other"}


@pytest.fixture(scope="module")
def house(there, tmp_path_factory):
    """One Ember with a recorder behind it, every proxy in front of it, and keys."""
    home = tmp_path_factory.mktemp("smuggling")
    recorder, port = Recorder(), free_port()
    with ExitStack() as ending:
        ending.callback(recorder.end)
        proxies = {kind: Proxy(kind, home / kind, there, port) for kind in FRONTS[1:]}
        for proxy in proxies.values():
            ending.callback(proxy.end)
        waits = 'header_timeout = "5s"\nbody_timeout = "5s"'
        ember = Ember(home / "ember", recorder, port, proxies["nginx"].port, True, server=waits, in_flight_max=1000)
        ending.callback(ember.child.end)
        keys = {name: issue(ember, name) for name in ("outer", "other", "neighbour", "revoked")}
        ember.cli("key", "revoke", "revoked")
        trust = trusting(there / "ca.pem")
        fronts = {"direct": Front("direct", port, None)}
        fronts |= {kind: Front(kind, proxy.port, trust) for kind, proxy in proxies.items()}
        house = SimpleNamespace(ember=ember, recorder=recorder, keys=keys, fronts=fronts, known=Counter(), tally=Counter(),
                                sent={})
        for front in fronts.values():
            until(lambda: not complaint(house, Neighbour(front)), f"an answer by {front.kind}", 15)
        yield house
    tell(house)


def issue(ember: Ember, name: str) -> str:
    return ember.cli("key", "create", "--account", "a@example.com", "--name", name).strip()


def tell(house) -> None:
    tally = house.tally
    sizes = f"{ROUNDS} x {len(FORMS)} of HTTP/1.1 and {len(FORMS_OF_FRAMES)} of HTTP/2, at each of {len(FRONTS)}"
    proof.show("connections with a hidden request, directly and through nginx, HAProxy and Caddy", tally["talks"], sizes)
    proof.show("requests that the model server saw", sum(house.known.values()), f"{tally['admitted']}, as many as were admitted")
    proof.show("hidden requests without a good key that were answered or seen", tally["bad"], "0")
    proof.show("answers that came when the caller had left after half a second", tally["left"], f"be at most {LEFT_MAX}")
    proof.show("answers to another request than the one that was sent", tally["swapped"], "0")


def made(house, kind: str, name: str) -> Request:
    """A request with the key of that name, noted."""
    asked = request(kind, house.keys.get(name, ""))
    house.sent[asked.mark] = (name, asked.body)
    return asked


def complaint(house, neighbour: Neighbour) -> str:
    """What is wrong with an ordinary request's answer, if anything is."""
    asked = made(house, "n", "neighbour")
    answer = neighbour.ask(asked)
    talk = talk_of(answer)
    house.tally["swapped"] += not {*talk.judged, *talk.answered} <= {asked.mark}
    fine = answer.startswith(b"HTTP/1.1 200") and talk.judged == talk.answered == [asked.mark]
    return "" if fine else f"a neighbour's request {asked.mark} got {answer[:600]!r}"


def jobs_of(forms: list, front: str) -> list[tuple]:
    """Each form in each round, with other keys at each front."""
    kinds, turn = [*HIDDEN], FRONTS.index(front)
    return [(number, form, kinds[(number + number // len(forms) + turn) % len(kinds)])
            for number, form in enumerate(forms * ROUNDS)]


def each(jobs: list, front: Front, house, work) -> list[str]:
    """Does all jobs, many at once, each beside an ordinary request; what was wrong."""
    queue, wrong = SimpleQueue(), []
    for job in jobs:
        queue.put(job)

    def run() -> None:
        neighbour = Neighbour(front)
        try:
            while len(wrong) < 20:
                job = queue.get_nowait()
                wrong.extend(f"{front.kind}, {job[1].name}, {job[2]}: {said}" for said in [*work(*job), complaint(house, neighbour)] if said)
        except Empty:
            pass
        except Exception as error:
            wrong.append(f"{front.kind}: {error!r}")
        finally:
            neighbour.end()

    workers = [threading.Thread(target=run, daemon=True) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return wrong


def is_in_order(marks: list[str], sent: list[Request]) -> bool:
    """Each at most once, in the order of their sending, and no other."""
    wanted = [one.mark for one in sent if one.mark in marks]
    return marks == wanted


@pytest.mark.seconds(proof.size(180, 14_400))
@pytest.mark.parametrize("front", FRONTS)
def test_no_request_hides_in_another(house, front):
    place = house.fronts[front]

    def attack(number: int, form: Form, kind: str) -> list[str]:
        dice = random.Random(f"{front} {number}")
        outer = made(house, "o", "" if dice.random() < 0.2 else "outer")
        hidden = made(house, "h", HIDDEN[kind])
        padding = b"X-Padding: %s\r\n" % (b"p" * dice.choice([0, 1, 300, 4000])) if dice.random() < 0.5 else b""
        inner = hidden.text(400 if kind == "swallowing" else 0)
        text = form.build(Outer(outer.lines + padding, outer.body), inner)
        parts = pieces(dice, varied(dice, text) if dice.random() < 0.5 else text, text.find(inner))
        mine = {outer.mark, hidden.mark}
        talk = converse(place.connect(), parts, dice.choice([0, 0, 0.002, 0.02]), lambda: mine & house.recorder.marks)
        house.tally["talks"] += 1
        return list(judged(house, front, form, outer, hidden, talk))

    jobs = jobs_of(FORMS, front)
    wrong = each(jobs, place, house, attack)
    assert not wrong, "\n".join(wrong)
    assert house.tally["left"] <= LEFT_MAX, "callers do not wait long enough here to see that answers are lost"
    accounts_agree(house)


def judged(house, front, form: Form, outer: Request, hidden: Request, talk):
    """What is wrong with what came of a hidden request."""
    sent, seen = [outer, hidden], house.recorder.marks
    if not (is_in_order(talk.judged, sent) and is_in_order(talk.answered, sent) and talk.is_in_step()):
        house.tally["swapped"] += 1
        yield f"answers out of step: {talk}"
    lost = {outer.mark, hidden.mark} & seen - set(talk.answered)
    if lost and talk.has_left:
        house.tally["left"] += 1
    elif lost:
        yield f"{lost} was seen, and not answered here: {talk}"
    name, _ = house.sent[hidden.mark]
    is_bad = name != "other" and hidden.mark in {*seen, *talk.answered}
    # Nobody stands in front who could have made two requests of it.
    is_bad |= front == "direct" and not form.is_apart and hidden.mark in {*seen, *talk.judged}
    if is_bad:
        house.tally["bad"] += 1
        yield f"the hidden request got through: {talk}"


@pytest.mark.seconds(proof.size(180, 14_400))
@pytest.mark.parametrize("front", FRONTS)
def test_no_request_hides_in_the_frames_of_another(house, front):
    place = house.fronts[front]

    def attack(number: int, form: FormOfFrames, kind: str) -> list[str]:
        outer, hidden, last = made(house, "o", "outer"), made(house, "h", HIDDEN[kind]), made(house, "o", "outer")
        parts = [form.build(outer, hidden.text(400 if kind == "swallowing" else 0)), asked(3, pairs_of(last), last.body)]
        mine = {outer.mark: 1, last.mark: 3}
        data = speak(place, parts, lambda: {stream for mark, stream in mine.items() if mark in house.recorder.marks})
        house.tally["talks"] += 1
        said = {stream: talk_of(came).answered for stream, came in data.items()}
        wrong = []
        if any(mine.get(mark) != stream for stream, marks in said.items() for mark in marks):
            house.tally["swapped"] += 1
            wrong.append(f"answers out of step: {data}")
        if hidden.mark in house.recorder.marks:
            house.tally["bad"] += 1
            wrong.append(f"the hidden request got through: {data}")
        return wrong

    jobs = jobs_of(FORMS_OF_FRAMES, front)
    wrong = each(jobs, place, house, attack)
    assert not wrong, "\n".join(wrong)
    accounts_agree(house)


def accounts_agree(house) -> None:
    """What the recorder saw is what Ember let through, request by request: whose key, which body, which id. Those are
    forgotten then: one that came again would be one that nobody sent."""
    recorder = house.recorder
    assert not recorder.faults, recorder.faults[:5]
    # Its records are of all requests that have ended.
    until(lambda: admitted(house) == house.known + seen_of(house), "as many requests in Ember's records as were seen", 15)
    for seen in recorder.seen:
        name, body = house.sent[seen.mark]
        assert (seen.path, seen.body, seen.headers["x-request-id"]) == ("/v1/chat/completions", body, seen.mark), seen
        assert name in ("outer", "other", "neighbour") and "ember_" not in repr(seen.headers), seen
    assert len(recorder.seen) == len(recorder.marks), "a request was seen twice"
    house.known += seen_of(house)
    house.tally["admitted"] = sum(admitted(house).values())
    for kept in (recorder.seen, recorder.marks, house.sent):
        kept.clear()


def seen_of(house) -> Counter:
    return Counter(house.sent[seen.mark][0] for seen in house.recorder.seen)


def admitted(house) -> Counter:
    """Ember's records, by the name of the key."""
    rows = json.loads(house.ember.cli("usage", "--by", "key", "-o", "json"))["data"]
    return Counter({row["name"]: row["requests"] for row in rows})
