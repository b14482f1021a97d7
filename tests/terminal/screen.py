"""A terminal of 80 columns and 24 rows for a program that asks a person.

screen.py PROMPT COMMAND…: runs the command until the prompt is on its screen, and prints the 24 lines as JSON.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

import pyte

COLUMNS, ROWS = 80, 24
PATIENCE = 60


def screen_at(prompt: str, command: list[str]) -> pyte.Screen:
    """Runs the command on a terminal, and returns its screen once the prompt is on it. Ends the command then."""
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.environ.update(TERM="xterm-256color", NO_COLOR="1")
        os.execv(command[0], command)
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    deadline = time.monotonic() + PATIENCE
    try:
        while not any(prompt in line for line in screen.display):
            if not select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
                sys.exit("the prompt did not come:\n" + "\n".join(screen.display))
            stream.feed(os.read(terminal, 65536))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
    return screen


if __name__ == "__main__":
    json.dump(screen_at(sys.argv[1], sys.argv[2:]).display, sys.stdout)
