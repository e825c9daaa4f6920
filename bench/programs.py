"""Real programs: what they are fed, and how they are started."""
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILD = os.path.join(ROOT, "build", "bench")
DATA = os.path.join(BUILD, "data")
WORK = os.path.join(HERE, "programs")


def data(*parts):
    return os.path.join(DATA, *parts)


def python():
    """A real interpreter, not a version manager's script."""
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else os.path.realpath(sys.executable)


def c_sources():
    folder = os.path.join(HERE, "malloc")
    return sorted(os.path.join(folder, f) for f in os.listdir(folder) if f.endswith(".c"))


def prepare_repository():
    """A repository of 600 commits over 40 files, the same on every machine."""
    if os.path.isdir(data("repo.git", "objects")):
        return
    shutil.rmtree(data("repo.git"), ignore_errors=True)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", data("repo.git")], check=True)
    files = {i: ["line %d of file %d" % (k * k % 1009, i) for k in range(300)] for i in range(40)}
    stream, state = [], 12345
    for commit in range(1, 601):
        stream.append(f"commit refs/heads/main\nmark :{commit}\ncommitter A <a@example.org> {1600000000 + commit * 60} +0000\n"
                      f"data {len(f'change {commit}')}\nchange {commit}")
        for _ in range(3):
            state = state * 1103515245 + 12345 & 0x7FFFFFFF
            lines = files[(state >> 8) % 40]
            lines[(state >> 16) % len(lines)] = f"changed by {commit} to {state}"
            lines.insert((state >> 12) % len(lines), f"new in {commit}: {state * 7}")
            text = "\n".join(lines) + "\n"
            stream.append(f"M 644 inline dir{(state >> 8) % 40 % 7}/file{(state >> 8) % 40}.txt\ndata {len(text)}\n{text}")
    subprocess.run(["git", "-C", data("repo.git"), "fast-import", "--quiet"], check=True,
                   input="\n".join(stream).encode() + b"\n")


def prepare():
    os.makedirs(data("out"), exist_ok=True)
    subprocess.run(["make", "-s", "-C", HERE], check=True)
    if shutil.which("git"):
        prepare_repository()
    if shutil.which("g++"):
        subprocess.run(["g++", "-E", "-O2", os.path.join(HERE, "malloc", "stl.cpp"), "-o", data("stl.ii")], check=True)


def cc1plus():
    return subprocess.run(["g++", "-print-prog-name=cc1plus"], capture_output=True, text=True).stdout.strip()


def commands():
    """name -> (program that must exist, argv, extra environment)."""
    git = ["git", "-C", data("repo.git"), "-c", "pack.threads=1"]
    return {
        "python": (python(), [python(), f"{WORK}/work.py", "4"], {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}),
        "sqlite": ("sqlite3", ["sqlite3", "-batch", ":memory:", f".read {WORK}/work.sql"], {}),
        "gcc": ("gcc", ["gcc", "-O2", "-S"] + c_sources(), {}),
        "cc1plus": ("g++", [cc1plus() if shutil.which("g++") else "", "-quiet", "-O2", "-fpreprocessed", data("stl.ii"),
                            "-o", "/dev/null"], {}),
        "perl": ("perl", ["perl", f"{WORK}/work.pl", "10"], {"PERL_HASH_SEED": "0"}),
        "git-log": ("git", git + ["--no-pager", "log", "-p", "--stat", "main"], {}),
        "git-fsck": ("git", git + ["fsck", "--full", "--no-progress"], {}),
        "git-pack": ("git", git + ["pack-objects", "--all", "--stdout", "-q", "--no-reuse-delta"], {}),
        "node": ("node", ["node", f"{WORK}/work.js", "2"], {}),
        "lua": ("lua5.4", ["lua5.4", f"{WORK}/work.lua", "4"], {}),
        "redis": ("redis-server", ["redis-server", "--port", "0", "--unixsocket", data(f"redis.{os.getpid()}.sock"), "--save", "",
                                   "--io-threads", "1", "--daemonize", "no", "--dir", data("out")], {}),
    }


def drive_redis(requests):
    """Load a redis-server that is starting, then shut it down. The clients run on the system's allocator."""
    sock = data(f"redis.{os.getpid()}.sock")
    for _ in range(500):
        ping = subprocess.run(["redis-cli", "-s", sock, "ping"], capture_output=True, text=True)
        if ping.stdout.strip() == "PONG":
            break
        time.sleep(0.01)
    bench = ["redis-benchmark", "-q", "-s", sock, "-n", str(requests), "-c", "20", "-P", "8", "-r", "50000"]
    subprocess.run(bench + ["-d", "100", "-t", "set,get,lpush,lpop,sadd,hset,zadd"], stdout=subprocess.DEVNULL, check=True)
    subprocess.run(bench + ["-d", "3000", "-t", "set,get"], stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["redis-cli", "-s", sock, "shutdown", "nosave"], capture_output=True)
