"""Owns processes beside the test: a function of it that runs on its own, is told things and says things. Knows nothing of
what it does."""

import contextlib
import multiprocessing
import os
import signal

# Load comes from other machines: what makes it is to take from Ember's processors what they have left.
NICE = 19


class Beside:
    """`act(ear, *args)` in a process of its own; `ear` takes what is told and sends what is heard."""

    def __init__(self, act, *args, nice=NICE):
        context = multiprocessing.get_context("fork")
        self.end_of_pipe, ear = context.Pipe()
        self.process = context.Process(target=quietly, args=(act, nice, ear, *args), daemon=True)
        self.process.start()
        ear.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def tell(self, what):
        # Whoever has gone has said why: that is there to be heard.
        with contextlib.suppress(BrokenPipeError):
            self.end_of_pipe.send(what)

    def hear(self, seconds=60):
        assert self.end_of_pipe.poll(seconds), f"nothing within {seconds} s from what runs beside"
        said = self.end_of_pipe.recv()
        if isinstance(said, Fault):
            raise AssertionError(said.what)
        return said

    def end(self):
        self.process.kill()
        self.process.join()
        self.end_of_pipe.close()


class Fault:
    def __init__(self, what):
        self.what = what


def quietly(act, nice, ear, *args):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(nice)
    try:
        act(ear, *args)
    except (EOFError, KeyboardInterrupt):
        return
    except BaseException as fault:  # noqa: BLE001: told to whoever waits for this process
        ear.send(Fault(f"{act.__name__}: {type(fault).__name__}: {fault}"))
