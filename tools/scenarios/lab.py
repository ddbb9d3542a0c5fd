"""What scenarios share: a lab of hosts, commands that run in them, links that change, counters.

    with Lab() as lab:
        seeder = lab.host("seeder", "delay 12.5ms rate 100mbit")
        reader = lab.host("reader", "delay 12.5ms rate 100mbit", nat="cone")
        server = seeder.start([program, "serve"], ready="listening")
        print(reader.run([program, "ls", "..."]).output)
        lab.cut("reader", "seeder")

The lab is `x netlab lab`; it ends with this process, and everything that runs in its hosts ends with it. See README.md
beside this file for how to write a scenario, and `tools/netlab lab`, then `help`, for the words of links.
"""

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "compare"))
import measure  # noqa: E402  (the folder above has just been named)

SKIPPED = 77  # The exit code of a lab, and of a scenario, that this machine cannot have.
ECHO_PORT, TCP_PORT = 4001, 4002
DEADLINE = 120  # Seconds that a command may take unless it is told otherwise.


def tool():
    """The tasks' program: tools/netlab has built it."""
    if "MEGA_X" not in os.environ:
        sys.exit("error: run it as tools/netlab " + Path(sys.argv[0]).name)
    return os.environ["MEGA_X"]


def program():
    """Builds mega-store itself. Returns its path."""
    return measure.build()[0]


def pairs(words):
    """`a 1 b x` as a dictionary, numbers as numbers."""

    def value(text):
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                pass
        return text

    return {name: value(text) for name, text in zip(words[::2], words[1::2])}


class Failed(Exception):
    """A command in a host that failed, or a lab that refused."""


class Lab:
    """Hosts and the network between them. Losses come from `seed`."""

    def __init__(self, seed=1):
        print(f"lab: seed {seed}", file=sys.stderr, flush=True)
        words = [tool(), "netlab", "lab", "--seed", str(seed)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hosts = {}
        self.lock = threading.Lock()
        self.folder = tempfile.TemporaryDirectory(prefix="mega-lab-")
        atexit.register(self.end)
        self.ask("hosts")  # Answered, or skipped.

    def ask(self, line):
        """Says one line of the lab's language. Returns the lines of the answer."""
        with self.lock:
            answer = []
            try:
                self.process.stdin.write(line + "\n")
                self.process.stdin.flush()
                while (text := self.process.stdout.readline().rstrip("\n")) != "ok":
                    if text.startswith("error: "):
                        raise Failed(f"{line}: {text[7:]}")
                    if not text and self.process.poll() is not None:
                        raise BrokenPipeError
                    answer.append(text)
            except BrokenPipeError:
                code = self.process.wait()
                if code == SKIPPED:
                    sys.exit(SKIPPED)
                raise Failed(f"{line}: the lab has ended ({code})") from None
            return answer

    def host(self, name, link="", lan=None, nat=None, ipv6=False):
        """Makes a host. `link` as after `set HOST`, `nat` as after `nat HOST`."""
        self.ask(f"host {name}" + (f" lan {lan}" if lan else "") + (" ipv6" if ipv6 else ""))
        host = self.hosts[name] = Host(self, name)
        if link:
            host.set(link)
        if nat:
            host.nat(nat)
        return host

    def describe(self):
        """What `hosts` says, by host: pid, address, public, ipv6, nat, mappings."""
        described = (pairs(line.split()) for line in self.ask("hosts"))
        return {host["host"]: host for host in described}

    def cut(self, a, b):
        """Cuts hosts, given by name with commas between, from others."""
        self.ask(f"cut {a} {b}")

    def heal(self, a="*", b="*"):
        """Undoes cuts."""
        self.ask(f"heal {a} {b}")

    def stats(self):
        """Counters by host; of the emulator under `lab`."""
        found = {}
        for line in self.ask("stats"):
            kind, *words = line.split()
            name = "lab" if kind == "lab" else words.pop(0)
            found[name] = pairs(words)
        return found

    def flows(self):
        """Bytes of IP packets handed over so far, by (sender, receiver)."""
        flows = [pairs(line.split()) for line in self.ask("flows")]
        return {(flow["flow"], flow["to"]): flow["bytes"] for flow in flows}

    def is_late(self):
        """Says loudly when the machine was too busy to hand packets over in time."""
        lab = self.stats()["lab"]
        if lab["late"]:
            print(f"NOTE: the machine was busy: {lab['late']} packets over 5 ms late, at most {lab['late-max-us']} us")
        return lab["late"] > 0

    def end(self):
        """Ends the lab with all its hosts, and waits for that."""
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(30)
        self.folder.cleanup()
        atexit.unregister(self.end)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Result:
    """What a command that has ended said and took: code, output, words (stderr), wall and cpu seconds."""

    def __init__(self, code, output, words, wall, cpu):
        self.code, self.output, self.words, self.wall, self.cpu = code, output, words, wall, cpu

    def __repr__(self):
        return f"exit {self.code}, {self.wall:.3f} s\n{self.output[-2000:]}{self.words[-2000:]}"


class Host:
    """A host of the lab. Its files are this machine's; its mounts, processes, network and hostname are its own."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.pid = self.about()["pid"]
        self.servers, self.ended_cpu = {}, 0.0

    def about(self):
        """What `hosts` says of it."""
        return self.lab.describe()[self.name]

    def address(self):
        """The address of its interface."""
        return self.about()["address"]

    def public(self):
        """The address that others see."""
        return self.about()["public"]

    def set(self, link):
        """Changes its link: `delay 12.5ms down rate 100mbit loss 0.5%`."""
        self.lab.ask(f"set {self.name} {link}")

    def nat(self, kind):
        """Puts its site behind NAT, or `none`: `symmetric`, `cone idle 2s`."""
        self.lab.ask(f"nat {self.name} {kind}")

    def congestion(self, name):
        """What its TCP sockets take from now on."""
        self.lab.ask(f"congestion {self.name} {name}")

    def kill(self):
        """Kills all its processes, as its power would."""
        self.lab.ask(f"kill {self.name}")
        self.servers.clear()

    def inside(self, words):
        """The command that runs a command in this host."""
        return [tool(), "netlab", "exec", str(self.pid), "--", *map(str, words)]

    def path(self, path):
        """A path in this host's mounts, for a look from outside: a FUSE mount can be read by it."""
        return Path(f"/proc/{self.pid}/root") / str(Path(path).absolute()).lstrip("/")

    def run(self, words, check=True, deadline=DEADLINE, **options):
        """Runs a command to its end. Past its deadline it is killed, which is a failure."""
        options.setdefault("stdin", subprocess.DEVNULL)
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
            start = time.monotonic()
            child = subprocess.Popen(self.inside(words), stdout=output, stderr=complaints, **options)
            alarm = threading.Timer(deadline, child.kill)
            alarm.start()
            _, status, usage = os.wait4(child.pid, 0)
            alarm.cancel()
            wall = time.monotonic() - start
            child.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0), complaints.seek(0)
            texts = [stream.read().decode(errors="replace") for stream in (output, complaints)]
        cpu = usage.ru_utime + usage.ru_stime
        self.ended_cpu += cpu
        result = Result(child.returncode, *texts, wall, cpu)
        if check and result.code != 0:
            why = f", killed after {deadline} s" if result.code == -signal.SIGKILL and wall >= deadline else ""
            raise Failed(f"{self.name}: {' '.join(map(str, words))}{why}: {result}")
        return result

    def start(self, words, ready=None, deadline=DEADLINE, **options):
        """Starts a command that goes on; waits until it has printed `ready`, when that is given."""
        process = Process(self, words, **options)
        if ready is not None:
            process.wait_text(ready, deadline)
        return process

    def cpu(self):
        """CPU-seconds that this host's processes have used, the ended ones included."""
        total = 0
        for folder in self.path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # It has just ended, and counts with its parent.
            total += sum(map(int, fields[11:15]))
        return self.ended_cpu + total / os.sysconf("SC_CLK_TCK")

    def server(self, words, port):
        """Starts a probe's server once."""
        if port not in self.servers:
            self.servers[port] = self.start([tool(), "netlab", words, port], ready="ready")

    def ping(self, other, count=20, interval="10ms", wait="5s", port=ECHO_PORT, source=0):
        """Round trips by UDP to a host, or to an `address:port` where an echo is.

        `wait` is how long the last answers may take; it is over as soon as all are here. Returns sent, received,
        min-ms, median-ms, p99-ms, max-ms (when any came back), seen.
        """
        if isinstance(other, Host):
            other.server("echo", port)
            other = f"{other.public()}:{port}"
        words = [tool(), "netlab", "ping", "--count", count, "--interval", interval, "--wait", wait]
        return pairs(self.run([*words, "--from", source, other]).output.split())

    def raw_tcp(self, others, mb, congestion=None):
        """Takes `mb` MB from each of `others` at once by plain TCP, pipelined: what the network gives at best.

        Returns bytes, seconds, mb-per-s, steady-mb-per-s (without the first second) and congestion (the senders'), all
        together; of each under `peers`.
        """
        for other in others:
            other.server("tcp-serve", TCP_PORT)
        words = [tool(), "netlab", "tcp-get", "--mb", mb] + (["--congestion", congestion] if congestion else [])
        lines = self.run([*words, *(f"{other.public()}:{TCP_PORT}" for other in others)], deadline=600).output
        *peers, together = [pairs(line[line.index("bytes"):].split()) for line in lines.splitlines()]
        together["peers"] = {other.name: peer for other, peer in zip(others, peers)}
        return together


class Process:
    """A command that goes on in a host. What it prints is in `log`, a path."""

    def __init__(self, host, words, **options):
        self.host, self.words = host, list(map(str, words))
        number = len(list(Path(host.lab.folder.name).iterdir()))
        self.log = Path(host.lab.folder.name) / f"{number}-{host.name}"
        with open(self.log, "wb") as log:
            options.setdefault("stdin", subprocess.DEVNULL)
            options.setdefault("stderr", log)
            self.client = subprocess.Popen(host.inside(words), stdout=log, **options)

    def text(self):
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_text(self, text, deadline=DEADLINE):
        """Waits until it has printed `text`. Returns all that it has printed."""
        end = time.monotonic() + deadline
        while True:
            is_over = not self.is_running() or time.monotonic() > end  # Asked first: what it printed last counts.
            if text in (said := self.text()):
                return said
            if is_over:
                raise Failed(f"{self.host.name}: {' '.join(self.words)}: no '{text}': {said[-2000:]}")
            time.sleep(0.005)

    def is_running(self):
        """Whether it goes on. Leaves its cost for `wait`."""
        if self.client.returncode is not None:
            return False
        return os.waitid(os.P_PID, self.client.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def pid(self):
        """The command's own process, as seen from outside: for signals, CPU and memory."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == self.client.pid:
                return int(folder.name)
        raise Failed(f"{self.host.name}: {' '.join(self.words)}: has ended: {self.text()[-2000:]}")

    def send(self, number):
        """Sends a signal to the command: SIGSTOP stalls it, SIGCONT lets it go on."""
        os.kill(self.pid(), number)

    def kill(self):
        """kill -9, and waits for the end."""
        if self.is_running():
            self.send(signal.SIGKILL)
        return self.wait()

    def end(self):
        """SIGTERM, and waits for the end."""
        if self.is_running():
            self.client.terminate()
        return self.wait()

    def wait(self, deadline=DEADLINE):
        """Waits for the end. Returns the exit code, 128 + the number when a signal ended it."""
        if self.client.returncode is None:
            alarm = threading.Timer(deadline, self.client.kill)
            alarm.start()
            _, status, usage = os.wait4(self.client.pid, 0)
            alarm.cancel()
            self.client.returncode = os.waitstatus_to_exitcode(status)
            self.host.ended_cpu += usage.ru_utime + usage.ru_stime
        return self.client.returncode


class Checks:
    """Checks of one scenario, each printed; `finish` exits with 1 when one did not hold."""

    def __init__(self):
        self.failed = []

    def that(self, name, holds, seen=""):
        """A yes or no, with what was seen."""
        print(f"{'ok  ' if holds else 'MISS'} {name}{': ' if seen != '' else ''}{seen}", flush=True)
        if not holds:
            self.failed.append(name)
        return holds

    def at_most(self, name, value, limit):
        """A figure and its upper limit."""
        return self.that(name, value <= limit, f"{value:.3f} (wanted <= {limit:.3f})")

    def at_least(self, name, value, limit):
        """A figure and its lower limit."""
        return self.that(name, value >= limit, f"{value:.3f} (wanted >= {limit:.3f})")

    def finish(self):
        """Ends the scenario."""
        if self.failed:
            sys.exit("error: " + "; ".join(self.failed))
        print("all held")
