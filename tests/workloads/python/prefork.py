"""A server that forks its workers before and after somebody comes to watch. Each worker fills
memory of its own by `serve`, and a second generation below it by `helper`; then all wait.

Arguments: workers, workers that come later, the file that says when those are to come."""

import os
import sys
import time

early, late, signal = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
shared = bytearray(8 << 20)
for at in range(0, len(shared), 4096):
    shared[at] = 1


def helper():
    held = bytearray(b"h") * (1 << 20)
    time.sleep(600)
    return held


def serve():
    while not os.path.exists(signal):
        time.sleep(0.01)
    held = bytearray(b"s") * (2 << 20)
    if os.fork() == 0:
        helper()
        os._exit(0)
    time.sleep(600)
    return held


def spawn(many):
    for _ in range(many):
        if os.fork() == 0:
            serve()
            os._exit(0)


spawn(early)
print("ready", flush=True)
while not os.path.exists(signal):
    time.sleep(0.01)
spawn(late)
time.sleep(600)
