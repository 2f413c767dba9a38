"""What the embedded node keeps, in one SQLite file: the EVM's keys and values, and an index of logs and receipts.

Changes wait in memory until :meth:`NodeStore.commit` writes them in one transaction, flushed before it returns.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from wave.chain.disk import FileLock, disk_errors, open_database, transaction
from wave.chain.records import LogRow, ReceiptRow

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kv (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS logs (
  block INTEGER, idx INTEGER, block_hash BLOB, tx BLOB, tx_index INTEGER, address BLOB, topics BLOB, data BLOB,
  topic0 BLOB AS (substr(topics, 1, 32)), PRIMARY KEY (block, idx)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS logs_by_topic ON logs (topic0, address, block);
CREATE TABLE IF NOT EXISTS receipts (
  tx BLOB PRIMARY KEY, block INTEGER, idx INTEGER, block_hash BLOB, status INTEGER, gas_used INTEGER,
  cumulative_gas INTEGER, price BLOB, kind INTEGER, sender BLOB, recipient BLOB, created BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS receipts_by_block ON receipts (block, idx);
CREATE TABLE IF NOT EXISTS sizes (block INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);
"""
KNOWN: Final = 4_096  # values kept in memory: a block reads some forty, most of which its neighbours read too
_LOG_COLUMNS = "block, idx, block_hash, tx, tx_index, address, topics, data"


class NodeStore:
    """The file ``chain.sqlite`` in a directory that it owns; not thread-safe."""

    def __init__(self, directory: Path, *, wait: float = 0.0) -> None:
        """Own ``directory`` and open the file; StateLocked, StateUnwritable."""
        self.path = directory / "chain.sqlite"
        self._lock = FileLock(directory / "lock", wait=wait)
        try:
            self.database = open_database(self.path, _SCHEMA)
        except BaseException:
            self._lock.close()
            raise
        self._waiting: dict[bytes, bytes | None] = {}
        self._known: dict[bytes, bytes | None] = {}  # what the file holds, as far as it was asked for or written

    def close(self) -> None:
        """Close the file and let go of the directory; what was not committed is forgotten."""
        self._waiting.clear()
        self.database.close()
        self._lock.close()

    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key`` as the last put left it."""
        if key in self._waiting:
            return self._waiting[key]
        if key in self._known:
            return self._known[key]
        with disk_errors(self.path):
            row = self.database.execute("SELECT value FROM kv WHERE key = ?", (key,)).fetchone()
        value = None if row is None else bytes(row[0])
        self._keep({key: value})
        return value

    def _keep(self, entries: Mapping[bytes, bytes | None]) -> None:
        if len(self._known) + len(entries) > KNOWN:
            self._known.clear()
        if len(entries) <= KNOWN:
            self._known.update(entries)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set ``key`` to ``value`` (None removes it) when the next commit comes."""
        self._waiting[key] = value

    def discard(self) -> None:
        """Forget what was put since the last commit."""
        self._waiting.clear()

    def commit(self, number: int, size: int, receipts: Sequence[ReceiptRow], logs: Sequence[LogRow]) -> None:
        """Write a block (its number and size in bytes) and all that waits, flushed to the disk, or nothing at all."""
        waiting, self._waiting = self._waiting, {}
        with transaction(self.database, self.path):
            run = self.database.executemany
            run("INSERT OR REPLACE INTO kv VALUES (?, ?)", [kv for kv in waiting.items() if kv[1] is not None])
            run("DELETE FROM kv WHERE key = ?", [(key,) for key, value in waiting.items() if value is None])
            run("INSERT OR REPLACE INTO sizes VALUES (?, ?)", [(number, size)])
            run(
                "INSERT INTO receipts VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                [
                    (
                        r.transaction, r.block, r.index, r.block_hash, r.status, r.gas_used,
                        r.cumulative_gas, r.price.to_bytes(32, "big"), r.kind, r.sender, r.to, r.created,
                    )
                    for r in receipts
                ],
            )  # fmt: skip
            run(
                f"INSERT INTO logs ({_LOG_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)",  # noqa: S608 - names of columns
                [
                    (
                        g.block, g.index, g.block_hash, g.transaction, g.transaction_index, g.address,
                        b"".join(g.topics), g.data,
                    )
                    for g in logs
                ],
            )  # fmt: skip
        self._keep(waiting)

    def receipt(self, transaction_hash: bytes) -> ReceiptRow | None:
        """Return the receipt of a mined transaction."""
        with disk_errors(self.path):
            row = self.database.execute("SELECT * FROM receipts WHERE tx = ?", (transaction_hash,)).fetchone()
        if row is None:
            return None
        transaction, *numbers, price, kind, sender, to, created = row
        block, index, block_hash, status, gas_used, cumulative = numbers
        return ReceiptRow(
            transaction,
            block,
            index,
            block_hash,
            status,
            gas_used,
            cumulative,
            int.from_bytes(price, "big"),
            kind,
            sender,
            to,
            created,
        )

    def block(self, number: int) -> tuple[list[bytes], int]:
        """Return the hashes of a block's transactions, in order, and its size in bytes."""
        with disk_errors(self.path):
            hashes = self.database.execute("SELECT tx FROM receipts WHERE block = ? ORDER BY idx", (number,)).fetchall()
            size = self.database.execute("SELECT bytes FROM sizes WHERE block = ?", (number,)).fetchone()
        return [row[0] for row in hashes], size[0] if size else 0

    def logs(
        self,
        first: int,
        last: int,
        *,
        addresses: Sequence[bytes] = (),
        topics: Sequence[Sequence[bytes]] = (),
        limit: int,
    ) -> list[LogRow]:
        """Return the logs of blocks ``first`` to ``last``, in order, at most ``limit`` of them.

        ``addresses`` empty means any; ``topics[i]`` names what the i-th topic may be, empty meaning any.
        """
        where, values = ["block BETWEEN ? AND ?"], [first, last]
        arguments: list[object] = list(values)
        if addresses:
            where.append(f"address IN ({_marks(addresses)})")
            arguments.extend(addresses)
        for position, wanted in enumerate(topics):
            if wanted:
                column = "topic0" if position == 0 else f"substr(topics, {32 * position + 1}, 32)"
                where.append(f"{column} IN ({_marks(wanted)})")
                arguments.extend(wanted)
            else:
                where.append(f"length(topics) >= {32 * (position + 1)}")
        sql = f"SELECT {_LOG_COLUMNS} FROM logs WHERE {' AND '.join(where)} ORDER BY block, idx LIMIT ?"  # noqa: S608
        with disk_errors(self.path):
            return [_log(row) for row in self.database.execute(sql, (*arguments, limit))]

    def logs_of(self, receipt: ReceiptRow) -> list[LogRow]:
        """Return the logs of one mined transaction, in order."""
        sql = f"SELECT {_LOG_COLUMNS} FROM logs WHERE block = ? AND tx_index = ? ORDER BY idx"  # noqa: S608
        with disk_errors(self.path):
            return [_log(row) for row in self.database.execute(sql, (receipt.block, receipt.index))]

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self.close()


def _marks(values: Sequence[bytes]) -> str:
    return ",".join("?" * len(values))


def _log(row: tuple[int, int, bytes, bytes, int, bytes, bytes, bytes]) -> LogRow:
    topics = row[6]
    split = tuple(topics[start : start + 32] for start in range(0, len(topics), 32))
    return LogRow(*row[:6], split, row[7])
