"""Damaged files: thousands of mutations of good ones give frames or a reason, the same by every way of reading.

Each is read in a child process, this file run as a program, which may crash or hang without harm.
"""

import collections
import ctypes
import json
import resource
import select
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from dtcm.data.decode import UnreadableVideo, audit_frames, decode_all, probe, read_frames, sample_frames

TIMEOUT_S = 20
MEMORY_BYTES = 6 * 2**30
CONCEALED = "readable, filled up otherwise"
"""Where packets are damaged, a decoder may fill up frames with what its memory held before."""
KINDS = {"empty", "not-a-video", "no-video-stream", "truncated", "zero-sized", "decoder-failed"}

BASES = [
    ("a.mp4", "libx264", "yuv420p", {}),
    ("front.mp4", "libx264", "yuv420p", {"movflags": "faststart"}),
    ("parts.mp4", "libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    ("b.mkv", "libx264", "yuv420p", {}),
    ("c.mp4", "libx265", "yuv420p", {}),
    ("d.avi", "mpeg4", "yuv420p", {}),
    ("e.avi", "mjpeg", "yuvj420p", {}),
    ("f.webm", "libvpx", "yuv420p", {}),
    ("g.webm", "libvpx-vp9", "yuv420p", {}),
    ("h.gif", "gif", "rgb8", {}),
    ("i.ts", "libx264", "yuv420p", {}),
    ("j.flv", "libx264", "yuv420p", {}),
]


def make_base(path, codec, pix_fmt, options):
    """24 frames of 64x48: noise that moves."""
    big = np.random.default_rng(0).integers(0, 256, (12, 40, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    extra = {"libx264": {"g": "8"}, "libx265": {"x265-params": "log-level=none:keyint=8"}, "mpeg4": {"g": "8"}}
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream(codec, rate=25, options={"threads": "1"} | extra.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for i in range(24):
            picture = np.ascontiguousarray(big[:, 3 * i : 3 * i + 64])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)))
        file.mux(stream.encode())
    return path.read_bytes()


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    """Good files; beside those made here, small real ones where this machine has them."""
    from tests.support.reference import REFERENCE  # not found by the child, which runs this file as a script

    made = [make_base(tmp_path_factory.mktemp("bases") / name, *how) for name, *how in BASES]
    folder = REFERENCE / "data" / "codecs"
    real = sorted(folder.glob("*")) if folder.is_dir() else []
    return made + [path.read_bytes() for path in real if path.stat().st_size < 50_000 and path.name != "corrupted.mp4"]


def mutate(content, rng):
    """A damaged copy: cut off, or with flipped bytes, zeros, blocks exchanged or a block missing."""
    size = len(content)
    how = rng.choice(["cut", "flip", "flip", "zero", "swap", "drop"])
    if how == "cut":
        return how, content[: rng.integers(0, size)]
    # Half of the damage is done to the header, where it does most.
    reach = size if rng.random() < 0.5 else min(size, 1200)
    data = np.frombuffer(content, np.uint8).copy()
    if how == "flip":
        places = rng.integers(0, reach, rng.integers(1, 30))
        data[places] = rng.integers(0, 256, len(places))
        return how, data.tobytes()
    length = int(rng.integers(1, max(2, reach // 8)))
    start, other = rng.integers(0, max(1, reach - length), 2)
    if how == "zero":
        data[start : start + length] = 0
    elif how == "swap":
        data[start : start + length], data[other : other + length] = (
            data[other : other + length].copy(),
            data[start : start + length].copy(),
        )
    else:
        data = np.delete(data, slice(start, start + length))
    return how, data.tobytes()


def attempt(read):
    try:
        return read(), ""
    except UnreadableVideo as error:
        return None, error.kind if error.reason else "without a reason"


def check(path):
    """What reading a file gives: readable, or the kind of failure. AssertionError where two ways disagree."""
    content = Path(path).read_bytes()
    chunks = []
    _, kind = attempt(lambda: chunks.extend(decode_all(content)))
    count = sum(map(len, chunks))
    assert len({chunk.shape[1:] for chunk in chunks} | {chunk.dtype for chunk in chunks}) <= 2
    every = np.concatenate(chunks) if chunks else np.zeros((0, 1, 1, 3), np.uint8)
    wanted = sorted({0, count // 2, max(0, count - 1)})
    found, audit_kind = attempt(
        lambda: audit_frames(path, lambda total: wanted if total == count else range(min(total, 3)))
    )
    assert bool(audit_kind) == bool(kind), f"{audit_kind} and {kind}"
    info, probe_kind = attempt(lambda: probe(content))
    same = True
    if count:
        got, read_kind = attempt(lambda: read_frames(path, wanted))
        assert not read_kind
        assert got.shape == every[wanted].shape
        same = np.array_equal(got, every[wanted])
    if kind:
        return audit_kind  # an end that is cut off is seen before what fails on the way there
    assert not probe_kind
    assert every.shape[1:] == (info.height_px, info.width_px, 3)
    assert found.info.frames == count
    same = same and np.array_equal(found.sampled, every[wanted])
    sampled, sample_kind = attempt(lambda: sample_frames(content, lambda total: wanted))
    assert not sample_kind
    return "readable" if same and np.array_equal(sampled, every[wanted]) else CONCEALED


def serve():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin:
        try:
            answer = check(line.strip())
        except Exception as error:
            answer = f"wrong: {type(error).__name__} {error}"
        print(json.dumps(answer[:500]), flush=True)


def start():
    return subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def fuzz(bases, folder, seeds):
    """Outcomes of the mutations of these seeds, counted."""
    outcomes, child, path = collections.Counter(), start(), folder / "mutated"
    try:
        for seed in seeds:
            rng = np.random.default_rng(seed)
            number = int(rng.integers(len(bases)))
            how, content = mutate(bases[number], rng)
            path.write_bytes(content)
            child.stdin.write(f"{path}\n")
            child.stdin.flush()
            ready, _, _ = select.select([child.stdout], [], [], TIMEOUT_S)
            line = child.stdout.readline() if ready else ""
            outcome = json.loads(line) if line else "crashed" if ready else "hung"
            outcomes[
                outcome if not outcome.startswith("wrong") else f"{outcome} (seed {seed}, base {number}, {how})"
            ] += 1
            if not line:
                child.kill()
                child.wait()
                child = start()
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    return outcomes


def test_the_bases_are_good(bases):
    for content in bases:
        assert sum(map(len, decode_all(content))) == probe(content).frames


def test_damaged_files_give_frames_or_a_reason(bases, tmp_path):
    outcomes = fuzz(bases, tmp_path, range(150))
    assert set(outcomes) <= KINDS | {"readable", CONCEALED}, outcomes
    assert outcomes["readable"] > 10
    assert outcomes["truncated"] > 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousands_of_damaged_files_do_no_harm(bases, tmp_path):
    outcomes = fuzz(bases, tmp_path, range(1000, 6000))
    print(sorted(outcomes.items()))
    assert outcomes["crashed"] + outcomes["hung"] <= 5, "a decoder may crash, but seldom; the index contains it"
    assert outcomes[CONCEALED] < 0.02 * outcomes["readable"]
    assert set(outcomes) <= KINDS | {"readable", CONCEALED, "crashed", "hung"}


def rss_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def remember(folder):
    """Opens 10,000 videos, and as many that are cut off; prints the memory in use after some of them, in MiB.

    What the allocator keeps of freed memory is given back first: it is no leak, and is used again.
    """
    contents, seen = [path.read_bytes() for path in sorted(Path(folder).iterdir())], {}
    for i in range(1, 10_001):
        content = contents[i % len(contents)]
        read_frames(content, [i % 24])
        attempt(lambda content=content: sample_frames(content[: len(content) // 2], lambda total: [0]))
        if i in (1000, 5000, 10_000):
            raw = rss_mib()
            ctypes.CDLL(None).malloc_trim(0)
            seen[i] = round(rss_mib(), 1)
            print(f"{i}: {raw:.1f} MiB, {seen[i]} without what is freed", file=sys.stderr)
    print(json.dumps(seen))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_videos_leave_no_memory_behind(tmp_path):
    for name, *how in BASES:
        make_base(tmp_path / name, *how)
    done = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=True)
    print(done.stderr)
    seen = json.loads(done.stdout)
    assert seen["10000"] - seen["1000"] < 10


if __name__ == "__main__":
    remember(sys.argv[1]) if len(sys.argv) > 1 else serve()
