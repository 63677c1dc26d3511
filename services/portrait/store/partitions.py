"""Partitions of customers, leased with fencing: who works on them, how far they are, and what was learnt."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, text

from services.kit.db import Write

_HELLO = text(
    "INSERT INTO moment_worker (owner, seen_until) "
    "VALUES (:owner, clock_timestamp() + make_interval(secs => :seconds)) "
    "ON CONFLICT (owner) DO UPDATE SET seen_until = EXCLUDED.seen_until"
)
_GONE = text("DELETE FROM moment_worker WHERE owner = :owner OR seen_until < clock_timestamp() - interval '1 day'")
_WORKERS = text("SELECT count(*) FROM moment_worker WHERE seen_until > clock_timestamp()")
_MAKE = text("INSERT INTO moment_partition (partition) SELECT generate_series(0, :count - 1) ON CONFLICT DO NOTHING")
_RENEW = text(
    "UPDATE moment_partition SET lease_until = clock_timestamp() + make_interval(secs => :seconds) "
    "WHERE partition = :partition AND epoch = :epoch"
)
_TAKE = text(
    "UPDATE moment_partition SET owner = :owner, epoch = epoch + 1, "
    "lease_until = clock_timestamp() + make_interval(secs => :seconds) "
    "WHERE partition IN (SELECT partition FROM moment_partition WHERE lease_until < clock_timestamp() "
    "AND partition < :count ORDER BY partition LIMIT :most FOR UPDATE SKIP LOCKED) "
    "RETURNING partition, epoch, seq, clock_ms, snapshot_seq, snapshot"
)
_RELEASE = text(
    "UPDATE moment_partition SET lease_until = '-infinity', owner = '' WHERE partition = :partition AND epoch = :epoch"
)
_MOVE = text(
    "UPDATE moment_partition p SET seq = m.seq, clock_ms = m.clock_ms "
    "FROM unnest(CAST(:partitions AS int[]), CAST(:epochs AS bigint[]), CAST(:seqs AS bigint[]), "
    "CAST(:clocks AS bigint[])) AS m (partition, epoch, seq, clock_ms) "
    "WHERE p.partition = m.partition AND p.epoch = m.epoch"
).bindparams(*(bindparam(name) for name in ("partitions", "epochs", "seqs", "clocks")))
_KEEP = text(
    "UPDATE moment_partition SET snapshot = :snapshot, snapshot_seq = :seq "
    "WHERE partition = :partition AND epoch = :epoch"
)


@dataclass(frozen=True)
class Taken:
    """A partition that is ours: until another owner raises its epoch."""

    partition: int
    epoch: int
    seq: int
    clock_ms: int
    snapshot_seq: int
    snapshot: bytes | None


class Partitions:
    """The leases, in Postgres's time."""

    async def hello(self, tx: Write, owner: str, seconds: float, count: int) -> int:
        """Say that we live; gives how many processes share the partitions."""
        await tx.execute(_MAKE, {"count": count})
        await tx.execute(_HELLO, {"owner": owner, "seconds": seconds})
        return int(await tx.value(_WORKERS))

    async def bye(self, tx: Write, owner: str) -> None:
        """Say that we leave."""
        await tx.execute(_GONE, {"owner": owner})

    async def renew(self, tx: Write, partition: int, epoch: int, seconds: float) -> bool:
        """Prolong a lease; says whether it is still ours."""
        return bool(await tx.execute(_RENEW, {"partition": partition, "epoch": epoch, "seconds": seconds}))

    async def take(self, tx: Write, owner: str, seconds: float, count: int, most: int) -> list[Taken]:
        """Take at most `most` partitions whose lease ran out."""
        params = {"owner": owner, "seconds": seconds, "count": count, "most": most}
        return [Taken(*tuple(row)) for row in await tx.rows(_TAKE, params)]

    async def release(self, tx: Write, partition: int, epoch: int) -> None:
        """Give a lease back."""
        await tx.execute(_RELEASE, {"partition": partition, "epoch": epoch})

    async def move(self, tx: Write, moved: Sequence[tuple[int, int, int, int]]) -> bool:
        """Set (partition, epoch, seq, clock_ms) of each; False when one of them is no longer ours: roll back then."""
        columns = [list(column) for column in zip(*moved, strict=True)]
        params = dict(zip(("partitions", "epochs", "seqs", "clocks"), columns, strict=True))
        return await tx.execute(_MOVE, params) == len(moved)

    async def keep(self, tx: Write, partition: int, epoch: int, seq: int, snapshot: bytes) -> bool:
        """Keep what was learnt up to a seq; False when the partition is no longer ours."""
        told = {"partition": partition, "epoch": epoch, "seq": seq, "snapshot": snapshot}
        return bool(await tx.execute(_KEEP, told))
