"""Threads that touch pages through pairs of functions, and say which pair touched how many."""
import json
import mmap
import sys
import threading

PAGE = 4096
threads, pairs, pages = (int(word) for word in sys.argv[1:4])

source = []
for number in range(pairs):
    source.append(f"def touch_{number}(memory, page):\n    memory[page * {PAGE}] = 1\n")
    source.append(f"def route_{number}(memory, page):\n    touch_{(number * 7) % pairs}(memory, page)\n")
with open(sys.argv[4], "w") as file:
    file.write("\n".join(source))
names = {}
exec(compile("\n".join(source), sys.argv[4], "exec"), names)
routes = [names[f"route_{number}"] for number in range(pairs)]


def work(seed, memory):
    state = seed
    for page in range(pages):
        state = (state * 1103515245 + 12345) % 2**31
        number = (state >> 8) % pairs
        counts[seed][number] += 1
        routes[number](memory, page)


kept = [mmap.mmap(-1, pages * PAGE) for _ in range(threads)]
counts = [[0] * pairs for _ in range(threads)]
workers = [threading.Thread(target=work, args=(seed, kept[seed])) for seed in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
truth = []
for number in range(pairs):
    total = sum(count[number] for count in counts)
    if total:
        chain = [f"touch_{(number * 7) % pairs}", f"route_{number}", "work"]
        truth.append({"chain": chain, "pages": total})
print(json.dumps(truth))
