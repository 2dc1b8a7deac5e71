"""Touches pages below more calls than are read."""
import json
import mmap
import sys

PAGE, PAGES = 4096, 50
sys.setrecursionlimit(10_000)
kept = mmap.mmap(-1, PAGES * PAGE)


def down(depth):
    if depth:
        down(depth - 1)
    else:
        for page in range(PAGES):
            kept[page * PAGE] = 1


down(3000)
print(json.dumps([{"function": "down", "line": down.__code__.co_firstlineno + 5, "pages": PAGES}]))
