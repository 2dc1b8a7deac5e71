"""Functions that exec makes one after the other, so that their memory is used again."""
import json
import mmap
import sys

PAGE = 4096
functions, pages = int(sys.argv[1]), int(sys.argv[2])
kept = mmap.mmap(-1, functions * pages * PAGE)
truth = []
for number in range(functions):
    lines = "\n" * (number % 40)
    names = {}
    exec(
        f"{lines}def made_{number}(memory, first):\n"
        f"    for page in range(first, first + {pages}):\n"
        f"        memory[page * {PAGE}] = 1\n",
        names,
    )
    names[f"made_{number}"](kept, number * pages)
    truth.append({"function": f"made_{number}", "line": number % 40 + 3, "pages": pages})
    del names
print(json.dumps(truth))
