"""`quarry run` under a shell with job control, in a terminal: ^Z stops, fg goes on, ^C ends."""
import os
import pty
import re
import select
import sys
import time

quarry = sys.argv[1]
program = "trap 'echo INTERRUPTED; exit 5' INT; echo STARTED; while :; do sleep 0.1; done"

child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "dumb"  # no escapes between what is typed and what is shown
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
seen = b""


def expect(pattern, seconds=20):
    """Wait until the terminal has shown this, and forget what came before."""
    global seen
    end = time.time() + seconds
    while not re.search(pattern, seen):
        if time.time() > end or not select.select([terminal], [], [], end - time.time())[0]:
            sys.exit(f"never saw {pattern!r} in:\n{seen.decode(errors='replace')}")
        seen += os.read(terminal, 4096)
    seen = seen[re.search(pattern, seen).end():]


def type_in(text):
    time.sleep(0.3)
    os.write(terminal, text)


type_in(b"PS1='prompt> '\n")
expect(rb"\nprompt> ")
type_in(f"'{quarry}' run --quiet -- bash -c \"{program}\"\n".encode())
expect(rb"\nSTARTED")
type_in(b"\x1a")  # ^Z
expect(rb"Stopped")
expect(rb"prompt> ")
type_in(b"ps -o stat= -t $(tty) | sort | uniq -c; echo LISTED\n")
expect(rb"T")
expect(rb"\nLISTED")
type_in(b"fg\n")
expect(rb"quarry")
type_in(b"\x03")  # ^C
expect(rb"INTERRUPTED")
expect(rb"prompt> ")
type_in(b"echo status $?\n")
expect(rb"\nstatus 5")
type_in(b"exit\n")
