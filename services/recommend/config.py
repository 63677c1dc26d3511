"""Settings, read once from the environment."""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from services.kit.config import ServerSettings


@dataclass(frozen=True)
class Config:
    """What recommend needs beside the kit's own settings."""

    server: ServerSettings
    peer_ingest: str = field(metadata={"help": "host:port of ingest, or of the mesh's door"})
    peer_portrait: str = field(metadata={"help": "host:port of portrait, or of the mesh's door"})
    lake_url: str = field(metadata={"help": "root of the lake, file:///… or s3://…"})
    peer_contact: str = field(default="", metadata={"help": "host:port of contact; empty: no outcomes are kept"})
    training_seed: int = field(default=1, metadata={"help": "seed of the trainings that begin by themselves"})
    training_trees: int = field(default=30, metadata={"help": "trees in each of the two forests"})
    training_threads: int = field(default=os.cpu_count() or 1, metadata={"help": "threads of the training program"})
    training_customers: int = field(
        default=200_000, metadata={"help": "most customers to learn from; more are sampled"}
    )
    scratch: Path = field(
        default=Path(tempfile.gettempdir()) / f"lifecircle-recommend-{os.getuid()}",
        metadata={"help": "folder of trainings under way; it should survive a restart"},
    )
