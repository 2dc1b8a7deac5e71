"""Holds more and more, or not, as its first argument says, for as many ms as its second one says.

What leaks is kept by `remember`; `render` makes garbage.
"""

import functools
import gc
import sys
import time

how, lasts = sys.argv[1], float(sys.argv[2]) / 1000
begun = time.monotonic()
rows, sessions, hooks = [], {}, []


def done():
    return (time.monotonic() - begun) / lasts


def render(number):
    return "".join(f"<td>{number + i}</td>" for i in range(500))


def remember_rows(number):
    rows.extend([number + i, str(number + i)] for i in range(150))


def remember_session(number):
    for i in range(100):
        sessions[f"user-{number}-{i}"] = {"id": i, "path": f"/{number}/{i}"}


def remember_hook(number):
    data = bytearray(40000)
    hooks.append(lambda: (data, number))


class Node:
    def __init__(self, size):
        self.me = self
        self.data = [str(i) for i in range(size)]


def remember_cycles():
    for _ in range(20):
        Node(20)


@functools.lru_cache(maxsize=3000)
def look_up(key):
    return [f"{key}:{i}" for i in range(10)]


def fill_cache(number):
    for i in range(30):
        look_up(number * 30 + i)


def build():
    table = {}
    number = 0
    while done() < 1:
        for _ in range(1000):
            table[number] = str(number)
            number += 1
    return table


if how == "cycles":
    gc.disable()
number = 0
batch = []
while done() < 1:
    number += 1
    if how == "list":
        remember_rows(number)
    elif how == "dict":
        remember_session(number)
        render(number)
    elif how == "closures":
        remember_hook(number)
    elif how in ("cycles", "collected"):
        remember_cycles()
    elif how == "lru":
        fill_cache(number)
    elif how == "garbage":
        render(number)
    elif how == "batches":
        batch.extend(str(i) * 3 for i in range(1500))
        if number % 40 == 39:
            batch = []
    elif how == "builds":
        if done() > 0.4:
            build()
    else:
        sys.exit("how")
    time.sleep(0.01)
