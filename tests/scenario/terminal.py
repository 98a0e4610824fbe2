# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a person at a terminal sees of fsctl."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time

from conftest import TIMEOUT, program


class Terminal:
    """fsctl on a terminal."""

    def __init__(self, daemon, *args, columns=100):
        self.seen = ''
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(FSD_URL=daemon.url(), TERM='xterm', LC_ALL='C.UTF-8')
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 30, columns, 0, 0))
            mode = termios.tcgetattr(0)
            mode[3] |= termios.NOFLSH  # or a ^C throws away what is said about it
            termios.tcsetattr(0, termios.TCSANOW, mode)
            os.execv(program('tools/fsctl/fsctl'), ['fsctl', *args])

    def read(self, deadline):
        if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
            raise AssertionError(f'not in time; seen: {self.seen!r}')
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the other side is closed
            return False
        self.seen += data.decode()
        return bool(data)

    def wait_for(self, pattern):
        """Until it was seen; False when fsctl ended before."""
        deadline = time.monotonic() + TIMEOUT
        while not re.search(pattern, self.seen):
            if not self.read(deadline):
                return False
        return True

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """The exit code."""
        deadline = time.monotonic() + TIMEOUT
        while self.read(deadline):
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
