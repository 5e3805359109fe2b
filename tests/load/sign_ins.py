"""Owns the proof that a crowd that signs in does not slow admission: hashing a password is dear (laws 10, 12)."""

import http.client
import re
import threading
import time
import urllib.parse
from collections import Counter

from beside import Beside
from probe import Probe, compared
from server import EMAIL, PASSWORD, Ember, figure, size

PEOPLE = 100
SECONDS = size(1.0, 5.0)
# Whoever is told to come again does so after a moment.
PATIENCE_SECONDS = 0.2
SIGNED_IN, TOO_MANY = 303, 429


def sign_ins():
    with Ember() as ember, Probe(ember) as probe:
        running, came = [], Counter()

        def begin():
            running.append(Beside(crowd, ember))
            running[0].hear()

        def end():
            running[0].tell("enough")
            came.update(running[0].hear())
            running.pop().end()

        slowed = compared(probe, begin, end, SECONDS)
    faults = slowed.shown(f"{PEOPLE} people sign in at once, again and again")
    figure("of them signed in", came[SIGNED_IN])
    figure("of them told to come again", came[TOO_MANY])
    odd = {status: count for status, count in came.items() if status not in (SIGNED_IN, TOO_MANY)}
    if odd:
        faults.append(f"answers that nobody expected: {odd}")
    if not came[SIGNED_IN] or not came[TOO_MANY]:
        faults.append(f"not a crowd: {dict(came)}")
    return faults


def crowd(ear, ember):
    form, came, enough = sign_in_form(ember), Counter(), threading.Event()
    people = [threading.Thread(target=person, args=(ember, form, number, came, enough), daemon=True)
              for number in range(PEOPLE)]
    for one in people:
        one.start()
    ear.send("there")
    ear.recv()
    enough.set()
    for one in people:
        one.join()
    ear.send(came)


def sign_in_form(ember):
    """A cookie and a form token, as a browser has them before it signs in."""
    connection = http.client.HTTPConnection(*ember.address, timeout=60)
    connection.request("GET", "/sign-in")
    page = connection.getresponse()
    cookie = page.headers["set-cookie"].split(";")[0]
    return cookie, re.search(r'name="csrf" value="([^"]+)"', page.read().decode())[1]


def person(ember, form, number, came, enough):
    """Each from an address of its own: those that many come from are slowed down."""
    (cookie, csrf), (host, port) = form, ember.address
    fields = urllib.parse.urlencode({"csrf": csrf, "email": EMAIL, "password": PASSWORD})
    headers = {"Cookie": cookie, "Origin": f"http://{host}:{port}", "Content-Type": "application/x-www-form-urlencoded"}
    while not enough.is_set():
        connection = http.client.HTTPConnection(host, port, timeout=60, source_address=(f"127.0.1.{number + 1}", 0))
        connection.request("POST", "/sign-in", fields, headers)
        status = connection.getresponse().status
        connection.close()
        came[status] += 1
        if status == TOO_MANY:
            time.sleep(PATIENCE_SECONDS)
