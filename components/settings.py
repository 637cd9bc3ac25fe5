"""Where a run happens. Nothing here can change a result; what is computed is `dtcm.config`."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtcm.data.clip_cache import ClipCache


@dataclass(frozen=True)
class Settings:
    """Machines, folders and servers of a run."""

    workers: int = 1
    """Training processes (DDP), one GPU each where there are GPUs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute. "auto": on GPUs if the cluster has enough for all workers, else on CPUs."""
    gpus_per_worker: float = 1.0
    """GPUs that a worker reserves where it computes on one. 0.5 lets two trials of a sweep, or two runs, share one; the
    workers of one training need whole ones (NCCL)."""
    threads: int = 0
    """CPU threads of a training process. 0: the machine's cores shared among the workers."""
    storage: str = ""
    """Folder or s3:// URI for runs. Empty: ./runs, or ~/dtcm-runs inside a Ray job."""
    tracking_uri: str = ""
    """MLflow server or database. Empty: SQLite in the storage folder (in ./runs where storage is S3)."""
    run: str = ""
    """Name of the run. Empty: recipe and hash of the experiment; an unfinished one is resumed."""
    ray_address: str = ""
    """Address of a Ray cluster. Empty: the cluster of the Ray job this is, else a local one."""
    video_timeout_s: float = 600.0
    """A video that takes longer than this to read completely is quarantined; raise it for videos of hours."""
    max_failures: int = 2
    """How often lost workers are replaced before the run fails."""
    checkpoint_steps: int = 0
    """Steps after which a checkpoint is written within an epoch too. 0: not by steps."""
    checkpoint_minutes: float = 10.0
    """Minutes after which a checkpoint is written within an epoch too. 0: not by time."""
    max_unreadable_share: float = 0.01
    """Training stops if more than this share of its videos can no longer be read (docs/faults.md)."""
    keep_checkpoints: int = 2
    """Latest checkpoints to keep, besides the one of the best epoch."""

    cache_bytes: int = 0
    """Most that decoded videos may take on the local disk of each machine, so that each is decoded once. 0: none."""
    cache_dir: str = ""
    """Folder of the decoded videos, on a local disk. Empty: dtcm-clips in the folder for temporary files."""

    @property
    def clip_cache(self) -> ClipCache | None:
        """The cache of a training that begins now; None if there is to be none."""
        return ClipCache(self.cache_dir, self.cache_bytes, time.time()) if self.cache_bytes else None

    @property
    def storage_uri(self) -> str:
        """The storage as an absolute path or a URI."""
        if "://" in self.storage:
            return self.storage.rstrip("/")
        # The working directory of a Ray job is a copy that is thrown away.
        default = Path.home() / "dtcm-runs" if in_ray_job() else Path("runs")
        return str(Path(self.storage or default).expanduser().resolve())

    @property
    def mlflow_uri(self) -> str:
        """The tracking URI as given, else the SQLite database that goes with the storage."""
        if self.tracking_uri:
            return self.tracking_uri
        folder = Path("runs").resolve() if "://" in self.storage_uri else Path(self.storage_uri)
        return f"sqlite:///{folder / 'mlflow.db'}"


def in_ray_job() -> bool:
    """Whether this process is the entry point of a submitted Ray job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


SECRET_OPTION = re.compile(r"(?i)([?&][\w-]*(?:key|secret|token|password|signature|credential)[\w-]*=)[^&\s'\"]+")
"""An option of a URI that should not be shown."""


def redacted(text: str) -> str:
    """The text without what URIs in it say of users, passwords and keys."""
    return SECRET_OPTION.sub(r"\1***", re.sub(r"://[^/\s]*@", "://***@", text))
