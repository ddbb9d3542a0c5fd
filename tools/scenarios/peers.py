"""What scenarios of the swarm share: stores on hosts that serve, mount and know one another.

    with Lab() as lab:
        peers = Peers(lab)
        known = peers.host("known")          # whom everybody knows, and who has nothing
        seeder = peers.host("seeder")
        peers.repository(seeder, "model", mib=64)
        for host in (known, seeder):
            peers.serve(host)
        directory, seconds = peers.mount(reader, seeder, "model")
"""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

from lab import Failed, measure

GIT = ["git", "-c", "user.name=A Maker", "-c", "user.email=maker@example.org", "-c", "safe.directory=*", "-C"]
PORT = 4001
FOUND_WITHIN = 60  # Seconds in which an announcement has to be found.


class Peers:
    """Stores of the lab's hosts. The first host that serves is whom the others ask for the network."""

    def __init__(self, lab):
        self.lab, self.folder = lab, Path(lab.folder.name)
        self.binary, self.task = measure.build()[:2]
        self.known, self.servers = None, {}

    def store(self, host):
        """The folder of a host's store."""
        return self.folder / f"store-{host.name}"

    def mega(self, host, *words):
        """Our program, with the host's own store."""
        return [self.binary, "--store", self.store(host), *words]

    def host(self, name, link="", **options):
        """A host with an empty store."""
        host = self.lab.host(name, link, **options)
        host.run(self.mega(host, "init"))
        return host

    def repository(self, host, name, mib, noise=False, seed=1):
        """Makes a public repository with one large file under LFS; bf16 weights, or bytes that no codec shrinks.

        Returns the path of the file as it is.
        """
        work = self.folder / f"source-{name}"
        work.mkdir()
        large = work / "model.safetensors"
        for words in (["init", "-q", "-b", "main"], ["lfs", "install", "--local"], ["lfs", "track", "*.safetensors"]):
            host.run([*GIT, work, *words])
        if noise:
            stream = hashlib.shake_128(str(seed).encode())
            with open(large, "wb") as out:
                for number in range(mib):
                    stream.update(bytes([number & 0xFF]))
                    out.write(stream.copy().digest(1 << 20))
        else:
            host.run([self.task, "weights", large, "--mib", mib, "--seed", seed], deadline=600)
        host.run([*GIT, work, "add", "."], deadline=600)
        host.run([*GIT, work, "commit", "-qm", "The weights"])
        host.run(self.mega(host, "import", work, name), deadline=900)
        host.run(self.mega(host, "repo", "visibility", name, "public"))
        shutil.rmtree(work / ".git")
        return large

    def serve(self, host):
        """Starts serving, also once more after it was killed. Returns the process."""
        words = self.mega(host, "serve", "--swarm", "--reachable", "yes", "--no-mdns", "--listen", "127.0.0.1:0",
                          "--swarm-listen", f"/ip4/{host.address()}/tcp/{PORT}")
        if self.known and self.known[0] is not host:
            words += ["--bootstrap", self.known[1]]
        server = self.servers[host.name] = host.start(words, ready="http://")
        said = server.wait_text("peer /")
        address = next(line.split()[1] for line in said.splitlines() if line.startswith("peer /"))
        if self.known is None:
            self.known = host, address
        return server

    def identity(self, host):
        """A host's peer id."""
        return host.run(self.mega(host, "peer", "id")).output.strip()

    def knows(self, host):
        """Has a host know the one that everybody knows."""
        host.run(self.mega(host, "peer", "add", self.known[1]))

    def mount(self, host, seeder, name, deadline=FOUND_WITHIN):
        """Mounts a repository of a seeder, known by its id. Returns the directory and the seconds that it took."""
        directory = self.folder / f"{host.name}-{name}"
        directory.mkdir(exist_ok=True)
        url = f"p2p://{self.identity(seeder)}/repo/{name}"
        start = time.monotonic()
        while True:
            result = host.run(self.mega(host, "mount", url, directory), check=False)
            if result.code == 0:
                return host.path(directory), result.wall
            if time.monotonic() - start > deadline:
                raise Failed(f"{host.name} does not find {name}: {result}")
            time.sleep(1)  # Only the announcement is waited for.

    def follow(self, host, seeder, name, start, end):
        """Has a host read a part of the large file, as a share of it, and serve it on."""
        self.knows(host)
        directory, _ = self.mount(host, seeder, name)
        there = directory / "model.safetensors"
        size = os.stat(there).st_size
        pread(there, int(start * size), int((end - start) * size))
        return directory

    def wait_connected(self, host, count, deadline=FOUND_WITHIN):
        """Waits until a host is connected to that many peers."""
        end = time.monotonic() + deadline
        while True:
            said = host.run(self.mega(host, "peer", "list", "--json")).output
            if sum(json.loads(line)["connected"] for line in said.splitlines()) >= count:
                return
            if time.monotonic() > end:
                raise Failed(f"{host.name} does not find {count} peers: {said}")
            time.sleep(0.5)

    def received(self, host):
        """Bytes of IP packets that a host has been handed."""
        return sum(count for (_, to), count in self.lab.flows().items() if to == host.name)


def pread(path, start, length):
    """Bytes of a file, asked for as a program that knows where they are does."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        parts = []
        while length > 0 and (part := os.pread(file, min(length, 1 << 20), start)):
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return b"".join(parts)
    finally:
        os.close(file)


def read_whole(path, at_bytes=None):
    """SHA-256 and seconds of a file read from front to end. `at_bytes` calls functions once that much has been read."""
    steps = sorted((at_bytes or {}).items())
    digest, done, start = hashlib.sha256(), 0, time.monotonic()
    with open(path, "rb", buffering=0) as file:
        while part := file.read(1 << 20):
            digest.update(part)
            done += len(part)
            while steps and done >= steps[0][0]:
                steps.pop(0)[1]()
    return digest.hexdigest(), time.monotonic() - start


def sha256(path):
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
