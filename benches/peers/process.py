"""One peer's process: started, asked, timed out; its processor time while it should wait."""
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path


class Died(Exception):
    """The process ended or stopped answering; the text says how."""


class Process:
    def __init__(self, command, environment, log):
        """log: a file for stderr."""
        self.log = Path(log)
        with open(self.log, "wb") as stderr:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                                          env={**os.environ, **environment})
        self.unread = b""

    def ask(self, text, timeout):
        """The reply to a command, a dictionary; the greeting if text is None."""
        try:
            if text is not None:
                self.child.stdin.write(f"{text}\n".encode())
                self.child.stdin.flush()
            return self._reply(time.monotonic() + timeout, timeout)
        except BrokenPipeError:
            raise Died(self._epitaph()) from None

    def _reply(self, deadline, timeout):
        pipe = self.child.stdout.fileno()
        while True:
            line, newline, rest = self.unread.partition(b"\n")
            if newline:
                self.unread = rest
                if line.startswith(b"{"):  # libraries print things of their own
                    return json.loads(line)
                continue
            if not select.select([pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
                self.end()
                raise Died(f"no answer within {timeout:.0f} s")
            read = os.read(pipe, 1 << 16)
            if not read:
                raise Died(self._epitaph())
            self.unread += read

    def _epitaph(self):
        """How it ended, with the last thing that it said."""
        code = self.child.wait()
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines()]
        said = next((line for line in reversed(lines) if line and not line.startswith("note: ")), "")
        how = f"crashed with {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"{how}: {said[:200]}" if said else how

    def processor_seconds(self):
        """Of all its threads so far; None where /proc does not say."""
        try:
            fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError):
            return None

    def end(self):
        """Ends it, kindly at first."""
        self.child.stdin.close()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()
