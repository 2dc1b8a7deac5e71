"""Breaks the chain of its own frames, touches pages, and mends it: 3.11 to 3.14."""
import ctypes
import json
import mmap
import sys

PAGE, PAGES = 4096, 200
kept = mmap.mmap(-1, PAGES * PAGE)
nonsense = (ctypes.c_uint64 * 64)(*([0x4141414141414140] * 64))
# PyFrameObject.f_frame, and _PyInterpreterFrame.previous.
inner, previous = 24, 48 if sys.version_info < (3, 12) else 8


def touch():
    frame = ctypes.c_uint64.from_address(id(sys._getframe()) + inner).value
    link = ctypes.c_uint64.from_address(frame + previous)
    mended, broken, page = link.value, ctypes.addressof(nonsense), 0
    link.value = broken
    while page < PAGES:
        kept[page * PAGE] = 1
        page += 1
    link.value = mended


touch()
print(json.dumps([{"function": "touch", "line": touch.__code__.co_firstlineno + 6, "pages": PAGES}]))
