"""The allocators that are compared, and where they are found."""
import glob
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# name, soname, Debian package. glibc is the program as it is, with nothing preloaded.
PEERS = [
    ("glibc", None, "libc6"),
    ("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
    ("mimalloc", "libmimalloc.so.2", "libmimalloc2.0"),
    ("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
]
QUARRY = "quarry"


def libraries():
    """soname -> path, as the dynamic linker's cache has it."""
    text = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
    lines = re.findall(r"^\s*(\S+) \(.*\) => (\S+)$", text, re.M)
    return dict(reversed(lines))  # the cache lists the preferred one first


def newest_quarry():
    built = glob.glob(os.path.join(ROOT, "build", "*", "**", "libquarry-malloc.so"), recursive=True)
    return max(built, key=os.path.getmtime) if built else None


def find(only_peers=False, quarry=None):
    """[(name, path or None)], and a line for each allocator that is absent."""
    known = libraries()
    found, absent = [], []
    for name, soname, package in PEERS:
        if soname is None or soname in known:
            found.append((name, known.get(soname)))
        else:
            absent.append(f"{name} is absent: package {package} is not installed")
    if not only_peers:
        path = quarry or newest_quarry()
        if path and os.path.exists(path):
            found.append((QUARRY, os.path.abspath(path)))
        else:
            absent.append("quarry is absent: libquarry-malloc.so is not built (or give --quarry PATH)")
    return found, absent


def version(name):
    package = {peer: package for peer, _, package in PEERS}.get(name)
    if not package:
        return subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                              capture_output=True, text=True).stdout.strip() or "unknown"
    return subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package],
                          capture_output=True, text=True).stdout.strip() or "unknown"
