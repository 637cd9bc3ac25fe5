"""Small real videos, written once."""

from pathlib import Path

import av
import boto3
import numpy as np
import pytest

GREY_FRAMES, LOWEST, STEP = 40, 20, 5


@pytest.fixture(scope="session")
def write_video():
    """write_video(path, frames uint8 [T, H, W, 3], fps, options) -> path: an H.264 file."""

    def write(path: Path, frames: np.ndarray, fps: int = 30, options: dict | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=fps, options={"crf": "4", **(options or {})})
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def grey_frames():
    """40 flat frames of 64x48; frame i has the grey level 20 + 5 i."""
    levels = LOWEST + STEP * np.arange(GREY_FRAMES, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (GREY_FRAMES, 48, 64, 3)).copy()


@pytest.fixture(scope="session")
def numbers():
    """The frame numbers that the grey levels of decoded frames tell."""
    return lambda frames: np.round((frames.mean((1, 2, 3)) - LOWEST) / STEP).astype(int).tolist()


@pytest.fixture(scope="session", params=["mp4", "avi", "mkv"])
def grey_video(write_video, grey_frames, tmp_path_factory, request):
    """The grey frames as a video whose groups of pictures are open and short: seeking in it goes wrong."""
    options = {"x264-params": "open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0:scenecut=0"}
    return write_video(tmp_path_factory.mktemp("videos") / f"grey.{request.param}", grey_frames, options=options)


@pytest.fixture(scope="session")
def noisy_video(write_video, tmp_path_factory):
    """12 frames of 100x80 in which no pixel equals its neighbour's mirror image."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 10, 10, 3), dtype=np.uint8)
    return write_video(tmp_path_factory.mktemp("videos") / "noisy.mp4", coarse.repeat(8, 1).repeat(10, 2))


@pytest.fixture
def put_s3(s3):
    """put_s3(key, text) -> the URI of the object that is then in the bucket."""

    def put(key: str, text: str = "") -> str:
        boto3.client("s3").put_object(Bucket=s3.removeprefix("s3://"), Key=key, Body=text.encode())
        return f"{s3}/{key}"

    return put
