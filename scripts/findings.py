"""What the check-* scripts share: the tree, its files, and how a finding is printed.

A finding is one line, FILE:LINE: what is wrong (how to put it right). A check ends with
status 1 when there was one, and is silent and 0 otherwise.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ("src",)
PRODUCT = ("include", "src", "port", "model", "face")
TREE = (*PRODUCT, "bench", "examples", "tests")
_count = 0


def finding(path, line, what, fix):
    global _count
    _count += 1
    path = Path(path)
    shown = path.relative_to(ROOT) if path.is_absolute() and ROOT in path.parents else path
    print(f"{shown}:{line}: {what} ({fix})")


def finish():
    sys.exit(1 if _count else 0)


def files(folders, *suffixes):
    """Every file below the folders with one of the suffixes, sorted."""
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in suffixes and path.is_file()
    )


def lines(path):
    """(number, text) of each line, from 1."""
    return enumerate(path.read_text(encoding="utf-8").splitlines(), 1)


def without_comments(text):
    """C text with each comment blanked, so that line numbers stay; strings are kept."""
    def blank(match):
        token = match.group(0)
        return token if token[0] in "\"'" else re.sub(r"[^\n]", " ", token)
    return re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', blank, text, flags=re.S)


def listed(path):
    """(number, entry) of each line of a plain list; `#` begins a comment."""
    for number, text in lines(path):
        entry = text.split("#")[0].strip()
        if entry:
            yield number, entry


def output(*command):
    """What a command prints; ends this script with the command's own words if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout
