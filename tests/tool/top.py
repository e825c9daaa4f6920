"""`quarry top` in terminals of several sizes: what it shows of a process, and what ends it. With patterns: each is
seen in turn, and m is pressed between two of them."""
import os
import pty
import re
import select
import sys
import time

quarry, pid, *wanted = sys.argv[1:]


def show(columns, key, environment, *steps):
    """All that it shows: what each step wants, then a key; the last one ends it."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="vt100", LINES="24", COLUMNS=str(columns), **environment)
        os.execv(quarry, [quarry, "top", pid])
    seen = b""
    end = time.time() + 20
    for step, wanted in enumerate(steps):
        os.write(terminal, b"m" * (step > 0))
        while not all(re.search(word, seen) for word in wanted):
            if time.time() > end or not select.select([terminal], [], [], end - time.time())[0]:
                sys.exit(f"{wanted} is not in:\n{seen.decode(errors='replace')}")
            seen += os.read(terminal, 4096)
    os.write(terminal, key)
    status = None
    while status is None and time.time() < end:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                pass  # the other side is closed
        ended, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if ended else None
    if status != 0:
        sys.exit(f"{key!r} ended it with {status}")
    return seen


bold = re.compile(rb"\x1b\[(0;)?1m")
if wanted:
    show(80, b"q", {}, *[[word.encode()] for word in wanted])
    sys.exit()
wide = show(80, b"q", {"NO_COLOR": "1"}, [b"kmalloc-224", b"Normal", b"OBJSIZE", b"MEMORY", b"blocks above 32 KiB: 12"])
if bold.search(wide):
    sys.exit("NO_COLOR, and yet bold")
narrow = show(60, b"\x03", {"NO_COLOR": ""}, [b"kmalloc-224", b"MEMORY"])
if b"OBJSIZE" in narrow or not bold.search(narrow):
    sys.exit(f"60 columns are:\n{narrow.decode(errors='replace')}")
