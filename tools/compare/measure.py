"""What the comparisons share: peers installed when missing, commands run with their cost, rounds interleaved.

Costs are CPU-seconds (user + system, children that were waited for included) and bytes. Wall time is printed beside
them and never alone: on a shared machine it says little. The figure of a side is the median of its rounds.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MB = 1_000_000
MIB = 1 << 20


def cache():
    """The folder that the demo, the tests and the comparisons share."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = Path(base) / "mega-store"
    path.mkdir(parents=True, exist_ok=True)
    return path


def bash(script):
    """Runs a line of tools/common.sh's words, its output to stderr but for what it prints."""
    words = ["bash", "-c", f". {ROOT}/tools/common.sh; {script}"]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def need(**packages):
    """Installs Debian's package for each command that is missing: need(rg="ripgrep")."""
    missing = [package for command, package in packages.items() if not shutil.which(command)]
    if missing:
        bash("install_packages " + " ".join(sorted(set(missing))))


def python_with(*packages):
    """A Python that has these packages from PyPI."""
    return bash("venv " + " ".join(packages))


def build():
    """Builds the program and the tasks. Returns both paths."""
    bash("install_needs; limit_jobs; build")
    folder = Path(bash('printf "%s" "$CARGO_TARGET_DIR"')) / "debug"
    return str(folder / "mega-store"), str(folder / "x")


class Cost:
    """What one run of a command took."""

    def __init__(self, cpu, wall, peak_kib, output=b""):
        self.cpu, self.wall, self.peak_kib, self.output = cpu, wall, peak_kib, output


def run(words, keep_output=False, check=True, **options):
    """Runs a command to its end. Returns its cost, what its children took included."""
    options.setdefault("stdin", subprocess.DEVNULL)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        options.setdefault("stdout", output if keep_output else subprocess.DEVNULL)
        options.setdefault("stderr", complaints)
        start = time.monotonic()
        child = subprocess.Popen([str(word) for word in words], **options)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if check and child.returncode != 0:
            complaints.seek(0)
            sys.stderr.write(complaints.read().decode(errors="replace")[-2000:])
            sys.exit(f"error: {' '.join(map(str, words))}: exit {child.returncode}")
        output.seek(0)
        cpu = usage.ru_utime + usage.ru_stime
        return Cost(cpu, wall, usage.ru_maxrss, output.read() if keep_output else b"")


def cpu_of(pid):
    """CPU-seconds that a running process has used, ended threads included: its CPU-time clock (clock_getcpuclockid)."""
    return time.clock_gettime((~int(pid) << 3) | 2)


def peak_of(pid):
    """VmHWM of a running process, in KiB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def disk_use(path, is_counted=lambda entry: True):
    """Bytes that the files below a folder take on the disk, as du says: a file a chunk has its price."""
    files = (entry for entry in Path(path).rglob("*") if entry.is_file() and not entry.is_symlink()
             # Our reserve for a full disk, which holds nothing.
             and entry.name != "ballast")
    return sum(entry.stat().st_blocks * 512 for entry in files if is_counted(entry))


def store_use(store):
    """Bytes on the disk of a store that was compacted: its logs aside."""
    return disk_use(store, lambda entry: entry.suffix != ".log" and not entry.name.startswith(("LOG", "OPTIONS-")))


def length(path):
    """Bytes of the files below a folder, without what blocks round up."""
    return sum(entry.stat().st_size for entry in Path(path).rglob("*") if entry.is_file())


def interleave(sides, rounds, seed=1):
    """Runs every side once a round, in a new order each time. Returns the lists of what they returned."""
    order, results = list(sides), {name: [] for name in sides}
    dice = random.Random(seed)
    for number in range(rounds):
        dice.shuffle(order)
        for name in order:
            results[name].append(sides[name]())
            print(f"  round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
    return results


def median(costs, what="cpu"):
    """Median of one figure."""
    return statistics.median(getattr(cost, what) for cost in costs)


def spread(costs, what="cpu"):
    """The lowest and highest of one figure, as text."""
    values = [getattr(cost, what) for cost in costs]
    return f"{min(values):.2f}-{max(values):.2f}"


def heading(text):
    """Says what is compared, and on what."""
    print(f"\n# {text}")
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}, kernel {os.uname().release}; medians of interleaved rounds")


def verdict(name, value, limit, at_most=True):
    """Prints a figure against its limit. Returns whether it holds."""
    holds = value <= limit if at_most else value >= limit
    sign = "<=" if at_most else ">="
    print(f"{'ok  ' if holds else 'MISS'} {name}: {value:.3f} (wanted {sign} {limit})")
    return holds


def arguments(description, positional=None, **defaults):
    """A comparison's options, each with its default: --rounds, --dir and its own, and what it is given by place."""
    parser = argparse.ArgumentParser(description=description)
    if positional:
        parser.add_argument(positional, nargs="+")
    parser.add_argument("--rounds", type=int, default=defaults.pop("rounds", 5))
    parser.add_argument("--dir", type=Path, default=None, help="where inputs and stores are made")
    for name, value in defaults.items():
        kind = type(value) if value is not None else str
        parser.add_argument("--" + name.replace("_", "-"), type=kind, default=value)
    options = parser.parse_args()
    if options.dir is None:
        options.dir = cache() / "compare"
    options.dir.mkdir(parents=True, exist_ok=True)
    return options


def fresh(path):
    """An empty folder at `path`."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


class Mount:
    """A mount of a repository, served by a process of its own."""

    def __init__(self, program, store, name, folder, *more):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.program, self.store = program, str(store)
        words = [program, "--store", str(store), "mount", "--foreground", *more, name, str(folder)]
        self.log = tempfile.TemporaryFile()
        self.start = time.monotonic()
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        while not os.path.ismount(folder):
            if self.process.poll() is not None or time.monotonic() - self.start > 60:
                self.log.seek(0)
                sys.exit(f"error: not mounted: {self.log.read().decode(errors='replace')}")
            time.sleep(0.001)
        self.mounted_after = time.monotonic() - self.start

    def cpu(self):
        """CPU-seconds of the process so far."""
        return cpu_of(self.process.pid)

    def peak_kib(self):
        """Its peak memory."""
        return peak_of(self.process.pid)

    def status(self):
        """What the program says of its first mount."""
        words = [self.program, "--store", self.store, "--json", "status"]
        return next(iter(json.loads(subprocess.check_output(words))["mounts"]), {})

    def requests(self):
        """What the kernel has asked of the mount so far, by kind; waits for nothing, counts no forgets."""
        asked = self.status().get("requests") or {}
        return {kind: count for kind, count in asked.items() if kind != "forget"}

    def end(self):
        """Unmounts and waits for the process."""
        self.process.terminate()
        self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def pages_read_again():
    """Pages of files that the kernel had taken back for want of use, and has read again since it started."""
    with open("/proc/vmstat") as lines:
        return next((int(line.split()[1]) for line in lines if line.startswith("workingset_refault_file")), 0)


def asked(mount, step):
    """Runs a step. Returns its cost, that of the mount's process included; the kernel's requests for it by kind; and how
    many pages it had taken back that were read again: each is a reason for a request that a mount cannot help."""
    before, cpu, again = mount.requests(), mount.cpu(), pages_read_again()
    cost = step()
    again = pages_read_again() - again
    cost = Cost(cost.cpu + mount.cpu() - cpu, cost.wall, cost.peak_kib, cost.output)
    more = {kind: count - before.get(kind, 0) for kind, count in mount.requests().items()}
    return cost, {kind: count for kind, count in more.items() if count}, again


def against_ext4(mount, theirs, steps_of, rounds, warm=1):
    """Steps on ext4 and on a fresh mount a round: a first pass, then `warm` more, side by side.

    `mount` makes a mount, `theirs` are the steps on ext4 by name, `steps_of` makes them for the mount's folder. Returns
    the costs by step and side, the requests that the kernel sent for each of ours, and the pages it read again then.
    """
    results = {}
    for step in theirs.values():
        step()  # Warms the page cache of the file system below.
    for number in range(rounds):
        with mount() as mounted:
            ours = steps_of(mounted.folder)
            for suffix in [", first"] + [""] * warm:
                for step in ours:
                    cost, requests, again = asked(mounted, ours[step])
                    sides = results.setdefault(step + suffix, {"ours": [], "ext4": [], "requests": [], "again": []})
                    sides["ours"].append(cost)
                    sides["ext4"].append(theirs[step]())
                    sides["requests"].append(requests)
                    sides["again"].append(again)
            print(f"  round {number + 1} of {rounds}: peak {mounted.peak_kib() / 1024:.0f} MiB", file=sys.stderr, flush=True)
    return results


def table(results, limits, figure=statistics.median):
    """Prints steps side by side, then each limit on a ratio of wall times: of their medians, or lowest with `min`."""
    print(f"{'step':32} {'ext4 CPU':>9} {'ours CPU':>9} {'CPU ratio':>9} {'wall ratio':>10}")
    for step, sides in results.items():
        cpu = [median(sides[side]) for side in ("ext4", "ours")]
        wall = [median(sides[side], "wall") for side in ("ext4", "ours")]
        print(f"{step:32} {cpu[0]:9.3f} {cpu[1]:9.3f} {cpu[1] / cpu[0]:9.2f} {wall[1] / wall[0]:10.2f}")
    print()
    for step, limit in limits.items():
        sides = results[step]
        wall = {side: figure(cost.wall for cost in sides[side]) for side in ("ours", "ext4")}
        verdict(f"{step}, wall, {figure.__name__}", wall["ours"] / wall["ext4"], limit)
