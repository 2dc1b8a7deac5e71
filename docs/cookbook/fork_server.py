"""A server that loads its data and then forks workers, which only read it."""

import os
import time


def load():
    return [{"id": number, "name": str(number)} for number in range(100_000)]


def search(data):
    return sum(len(row["name"]) for row in data)


data = load()
for _ in range(3):
    if os.fork() == 0:
        search(data)
        time.sleep(0.5)
        os._exit(0)
for _ in range(3):
    os.wait()
