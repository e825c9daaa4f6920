"""The allocators that are compared, and where they are found."""
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


def quarry_build():
    """The folder with Quarry's optimised build. Never one with assertions or sanitizers."""
    for folder in [os.environ.get("BUILD_DIR"), f"{ROOT}/build/release", f"{ROOT}/build/default"]:
        if folder and os.path.exists(os.path.join(folder, "libquarry-malloc.so")):
            return folder
    return None


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
        path = quarry or os.path.join(quarry_build() or ".", "libquarry-malloc.so")
        if os.path.exists(path):
            found.append((QUARRY, os.path.abspath(path)))
        else:
            absent.append("quarry is absent: libquarry-malloc.so is not in build/release; build it, set BUILD_DIR or give --quarry PATH")
    return found, absent


def version(name):
    package = {peer: package for peer, _, package in PEERS}.get(name)
    if not package:
        return subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                              capture_output=True, text=True).stdout.strip() or "unknown"
    return subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package],
                          capture_output=True, text=True).stdout.strip() or "unknown"
