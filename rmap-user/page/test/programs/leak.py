"""A server that never lets go of its sessions."""

import time

SESSIONS = []


class Session:
    def __init__(self, number):
        self.number = number
        self.history = [f"{number}-{i}" * 30 for i in range(2000)]


def load_rows():
    rows = bytearray(b"x") * (24 << 20)
    return len(rows)


def handle(number):
    SESSIONS.append(Session(number))


def serve(requests):
    for number in range(requests):
        handle(number)
        time.sleep(0.02)


load_rows()
serve(120)
