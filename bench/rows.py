"""The rows: which command gives each, and which of its figures is the headline."""
from collections import namedtuple

import programs

# label: the line of the program's output that is meant, or None for its only line
# metric: wall or cpu (ns per operation), KiB, x (a plain ratio); for programs wall or cpu of the whole (ms)
# pin: stay on one core. floor: what the work costs without an allocator; shown, but not ranked.
# rounds: no more than so many rounds (figures that hardly vary, or take long)
Row = namedtuple("Row", "name group argv label metric pin floor rounds", defaults=(None, "cpu", True, False, 99))


def micro(group, name, command, **more):
    words = command.split()
    return Row(name, group, [f"{programs.BUILD}/{words[0]}"] + words[1:], **more)


def threaded(group, name, command, **more):
    return micro(group, name, command, metric="wall", pin=False, **more)


def workloads():
    small = ["16", "64", "256", "1K"]
    counts = {"4K": "5M", "8K": "5M", "32K": "5M", "64K": "2M", "256K": "1M", "1M": "300K", "4M": "100K", "16M": "100K"}
    for size in small:
        yield micro("pair", f"pair-{size}", f"pair {size} 10M first")
    for size, count in counts.items():
        yield micro("pair", f"pair-{size}", f"pair {size} {count} first")
    for size, count in {"64K": "300K", "1M": "20K", "16M": "300"}.items():
        yield micro("pair", f"pair-{size}-pages", f"pair {size} {count} pages")
    for size, count in {"16": "8M", "64": "8M", "256": "6M", "1K": "4M", "8K": "500K", "64K": "100K", "1M": "50K"}.items():
        yield micro("batch", f"batch-{size}", f"batch {size} {count} 300 first")
    for size, count in {"8K": "2M", "64K": "500K", "1M": "100K", "16M": "50K"}.items():
        yield micro("fifo", f"fifo-{size}", f"fifo {size} {count} 1000 first")
    for size, count, n in [("8K", "300K", 1000), ("64K", "50K", 1000), ("1M", "3000", 200), ("16M", "150", 20)]:
        yield micro("fifo", f"fifo-{size}-pages", f"fifo {size} {count} {n} pages")

    for low, high in [(16, 16), (64, 64), (256, 256), (16, 256)]:
        name = f"live-{low}" if low == high else "live-mixed"
        yield micro("live", name, f"live {low} {high} 2M 1M")
    yield micro("live", "live-floor", "live 16 256 2M 1M stay", floor=True)

    for size, count, ring in [("64", "4M", 1024), ("256", "4M", 1024), ("1K", "2M", 1024), ("8K", "1M", 1024),
                              ("64K", "200K", 1024), ("1M", "50K", 256)]:
        yield threaded("threads", f"remote-{size}", f"remote {size} {count} {ring} first")
    yield threaded("threads", "remote-floor", "remote 0 16M 1024", floor=True)
    yield threaded("threads", "server-2", "server 8M 2 1000 20000")
    yield threaded("threads", "server-8", "server 8M 8 1000 20000")
    yield threaded("threads", "mixed-2", "mixed 6M 2")
    yield threaded("threads", "mixed-8", "mixed 6M 8")
    yield threaded("threads", "threads-1", "threads 8000 1 4")
    yield threaded("threads", "threads-100", "threads 8000 100 4")
    yield threaded("threads", "threads-1000", "threads 4000 1000 4")
    yield threaded("threads", "threads-floor", "threads 8000 0 4", floor=True)
    for work, count in [("pair", "1M"), ("batch", "1M"), ("random", "500K")]:
        yield threaded("threads", f"scale-{work}", f"scale {work} {count} 64", label="two")
        yield threaded("threads", f"scale-{work}-share", f"scale {work} {count} 64", label="share")._replace(metric="x")

    yield micro("grow", "grow-double-64M", "grow double 64M 5 1")
    yield micro("grow", "grow-add-64M", "grow add 64K 64M 2 1")
    yield micro("grow", "grow-double-1M-x64", "grow double 1M 5 64")
    yield micro("grow", "grow-add-1M-x16", "grow add 4K 1M 10 16")
    yield micro("grow", "grow-add-4K-x100", "grow add 16 4K 100 100")
    yield micro("grow", "resize-8M", "resize 128K 8M 1000 20")
    yield micro("grow", "resize-64K", "resize 64 64K 300K 1000")
    for size, sparse, full in [("64K", "500K", "10K"), ("1M", "30K", "700"), ("16M", "2000", "40"), ("64M", "500", "10")]:
        yield micro("zeroed", f"zeroed-{size}-sparse", f"zeroed {size} {sparse} sparse")
        yield micro("zeroed", f"zeroed-{size}-full", f"zeroed {size} {full} full")

    yield micro("small", "simple", "simple 6M")
    yield micro("small", "mixed-1", "mixed 4M 1")
    yield micro("small", "factor", "factor 200K")
    yield micro("small", "logic", "logic 30000")
    for work, count in [("map", "300K"), ("hash", "600K"), ("strings", "600K"), ("list", "2M")]:
        yield micro("small", f"stl-{work}", f"stl {work} {count}")
    tiny = f"spawn 300 {programs.BUILD}/tiny"
    yield micro("start", "start", tiny)
    yield micro("start", "start-floor", f"{tiny} {programs.BUILD}/empty.so", floor=True)

    for share in [90, 100]:
        for rest in ["sleep", "tick", "trim"]:
            yield micro("kept", f"kept-{share}-{rest}", f"idle 200M {share} {rest}", label="rest", metric="KiB", rounds=2)


def everything():
    rows = list(workloads())
    for name, (_, argv, _) in programs.commands().items():
        rows.append(Row(name, "program", argv, metric="cpu", pin=name not in ("gcc", "node", "redis")))
    return rows
