"""Touches pages in every way that Python runs code, and says which line touched how many."""
import asyncio
import ctypes
import json
import mmap
import threading

PAGE = 4096
truth = []


def fresh(pages):
    return mmap.mmap(-1, pages * PAGE)


def says(function, line, pages):
    name = getattr(function.__code__, "co_qualname", function.__code__.co_name)
    truth.append({"function": name, "line": function.__code__.co_firstlineno + line, "pages": pages})


def direct(memory, pages):
    for page in range(pages):
        memory[page * PAGE] = 1


class Session:
    def fill(self, memory, pages):
        for page in range(pages):
            memory[
                page * PAGE
            ] = 1


def recurse(memory, pages, depth):
    if depth:
        recurse(memory, pages, depth - 1)
    else:
        for page in range(pages):
            memory[page * PAGE] = 1


def generate(memory, pages):
    for page in range(pages):
        memory[page * PAGE] = 1
        yield page


async def wait(memory, pages):
    for page in range(pages):
        await asyncio.sleep(0)
        memory[page * PAGE] = 1


def called_back(memory, pages):
    """The C library's qsort calls back into Python."""
    left = list(range(pages))
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    def compare(one, other):
        if left:
            memory[left.pop() * PAGE] = 1
        return 0

    numbers = (ctypes.c_int * (2 * pages))()
    ctypes.CDLL(None).qsort(numbers, len(numbers), 4, kind(compare))
    says(compare, 2, pages)


def released(memory, pages):
    """ctypes releases the interpreter's lock while memset runs."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.memset(address, 7, pages * PAGE)


def handled(memory, pages):
    try:
        raise ValueError
    except ValueError:
        for page in range(pages):
            memory[page * PAGE] = 1


kept = [fresh(pages) for pages in (300, 301, 302, 303, 304, 305, 306, 307, 308, 309)]
direct(kept[0], 300)
says(direct, 2, 300)
Session().fill(kept[1], 301)
says(Session.fill, 2, 301)
recurse(kept[2], 302, 30)
says(recurse, 5, 302)
assert len(list(generate(kept[3], 303))) == 303
says(generate, 2, 303)
asyncio.run(wait(kept[4], 304))
says(wait, 3, 304)
called_back(kept[5], 305)
released(kept[6], 306)
says(released, 3, 306)
handled(kept[7], 307)
says(handled, 5, 307)
touch = lambda page: kept[8].__setitem__(page * PAGE, 1)
for page in range(308):
    touch(page)
says(touch, 0, 308)
other = threading.Thread(target=lambda: released(kept[9], 309))
other.start()
other.join()
truth[6]["pages"] += 309
print(json.dumps(truth))
