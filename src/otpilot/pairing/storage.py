"""Pair tables on disk: one uncompressed .npz, so any NumPy can look inside, and its checksums find damage.

Format 1. Matches are listed as (row, source frame) pairs in row order. A warping path moves by 0 or 1 in both from one
match to the next, so two bits tell most steps; the rest are listed.

| array | meaning |
|---|---|
| meta | JSON (UTF-8): format, format_version, matches, source and target fingerprint and naming |
| source_lengths, target_lengths, pair_ptr, pair_source, distance | as in `PairTable` |
| row_steps, source_steps | bits (big-endian in each byte): step of row and of source frame; they start from -1 and 0 |
| odd_at, odd_row, odd_source | matches whose true steps are other numbers than 0 and 1, and these steps |
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from otpilot.errors import MissingFileError, PairingError
from otpilot.pairing.arrays import Array
from otpilot.pairing.fingerprint import DatasetFingerprint
from otpilot.pairing.table import EpisodeNaming, PairTable
from otpilot.runs.drafts import draft_of

FORMAT = "otpilot pair table"
FORMAT_VERSION = 1


def save_table(table: PairTable, path: Path) -> None:
    """Write the table; the file appears whole or not at all. The folder must exist."""
    meta = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "matches": len(table.match_source),
        "source": asdict(table.source),
        "target": asdict(table.target),
        "source_naming": asdict(table.source_naming),
        "target_naming": asdict(table.target_naming),
    }
    arrays = {
        "meta": np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8),
        "source_lengths": table.source_lengths,
        "target_lengths": table.target_lengths,
        "pair_ptr": table.pair_ptr,
        "pair_source": table.pair_source,
        "distance": table.distance,
        **_encode_matches(table),
    }
    with draft_of(path) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # NumPy's stub takes the arrays for its own options


def load_table(path: Path) -> PairTable:
    """Return the table in this file.

    Raises:
        MissingFileError: there is no such file.
        PairingError: the file is no pair table, of another version, truncated or damaged, or its content is out of
            range; the message names the file and the entry.
    """
    if not path.is_file():
        raise MissingFileError(f"pair table {path} is not there; make it with `otpilot pair`.")
    try:
        # NumPy does not close a file that it cannot read, unless it was opened by others.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, AttributeError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise PairingError(f"{path} is no pair table, or damaged or truncated ({_first_line(error)}).") from error
    try:
        return _decode(arrays)
    except PairingError as error:
        raise PairingError(f"{path}: {error}") from error
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise PairingError(f"{path}: the table is damaged ({type(error).__name__}: {_first_line(error)}).") from error


def _first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).split("\n", maxsplit=1)[0]


def _encode_matches(table: PairTable) -> dict[str, Array]:
    """Return the matches as bit-packed steps and a list of the steps that are neither 0 nor 1."""
    rows = np.repeat(np.arange(len(table.row_ptr) - 1), np.diff(table.row_ptr))
    row_steps = np.diff(rows, prepend=-1)
    source_steps = np.diff(table.match_source.astype(np.int64), prepend=0)
    odd = np.flatnonzero((row_steps < 0) | (row_steps > 1) | (source_steps < 0) | (source_steps > 1))
    return {
        "row_steps": np.packbits(row_steps > 0),
        "source_steps": np.packbits(source_steps == 1),
        "odd_at": odd.astype(np.int64),
        "odd_row": row_steps[odd].astype(np.int32),
        "odd_source": source_steps[odd].astype(np.int32),
    }


def _decode(arrays: Mapping[str, Array]) -> PairTable:
    """Return the checked table of these arrays; damaged ones raise PairingError, KeyError, ValueError and the like."""
    meta = _read_meta(arrays)
    lengths, pair_ptr = arrays["target_lengths"], arrays["pair_ptr"].astype(np.int64)
    rows = int(np.sum(np.repeat(lengths, np.diff(pair_ptr)), dtype=np.int64))
    matches = int(meta["matches"])
    odd_at = arrays["odd_at"]
    if len(odd_at) and (odd_at.min() < 0 or odd_at.max() >= matches):
        raise PairingError(f"odd_at names match {odd_at.max()} of {matches}.")
    return PairTable(
        source=_fingerprint(meta["source"]),
        target=_fingerprint(meta["target"]),
        source_lengths=arrays["source_lengths"].astype(np.int32),
        target_lengths=lengths.astype(np.int32),
        pair_ptr=pair_ptr,
        pair_source=arrays["pair_source"].astype(np.int32),
        distance=arrays["distance"].astype(np.float64),
        row_ptr=_row_ptr(arrays["row_steps"], odd_at, arrays["odd_row"], matches, rows),
        match_source=_running_sum(arrays["source_steps"], odd_at, arrays["odd_source"], matches),
        source_naming=EpisodeNaming(**meta["source_naming"]),
        target_naming=EpisodeNaming(**meta["target_naming"]),
    )


def _read_meta(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Return the description of the file, or raise PairingError when it is another kind or version."""
    if "meta" not in arrays:
        raise PairingError("this is an npz file, but no pair table: it has no 'meta'.")
    meta: dict[str, Any] = json.loads(arrays["meta"].tobytes())
    if meta.get("format") != FORMAT:
        raise PairingError(f"this is an npz file, but no pair table: its format is {meta.get('format')!r}.")
    if meta.get("format_version") != FORMAT_VERSION:
        raise PairingError(
            f"format_version is {meta.get('format_version')!r}; this otpilot reads {FORMAT_VERSION}. "
            "Make the table anew with `otpilot pair`."
        )
    return meta


def _fingerprint(values: Mapping[str, Any]) -> DatasetFingerprint:
    """Return the fingerprint that `asdict` and JSON took apart."""
    return DatasetFingerprint(**{**values, "keys": tuple(values["keys"])})


def _running_sum(packed: UInt8[Array, " bytes"], odd_at: Int64[Array, " odd"], odd_step: Array, matches: int) -> Array:
    """Return the running sum of the steps: bits, except the odd ones."""
    if len(packed) != -(-matches // 8):
        raise PairingError(f"{len(packed)} bytes of steps for {matches} matches; allowed: one bit each.")
    steps = np.unpackbits(packed, count=matches).astype(np.int32)
    steps[odd_at] = odd_step
    return np.cumsum(steps, out=steps)


def _row_ptr(
    packed: UInt8[Array, " bytes"], odd_at: Int64[Array, " odd"], odd_step: Array, matches: int, rows: int
) -> Array:
    """Return where the matches of every row begin; a row may have none."""
    if np.any(odd_step < 0):
        raise PairingError("the rows of the matches do not ascend.")
    if len(packed) != -(-matches // 8):
        raise PairingError(f"{len(packed)} bytes of steps for {matches} matches; allowed: one bit each.")
    starts = np.flatnonzero(np.unpackbits(packed, count=matches).view(np.bool_))
    ptr = np.append(starts, matches)
    if len(starts) == rows and np.all(odd_step <= 1):
        return ptr
    steps = np.ones(len(starts), np.int64)
    wide = odd_step > 1
    steps[np.searchsorted(starts, odd_at[wide])] = odd_step[wide]
    # A step of k begins k rows at once: the first k - 1 of them are empty. The last rows may be empty, too.
    return np.repeat(ptr, np.append(steps, max(rows - int(steps.sum()), 0) + 1))
