"""What a conversion will cost: a sample of members is read, decoded and encoded, and the rest is arithmetic."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from math import prod, sqrt

import numpy as np

from zarrscope.engine.build import Bench
from zarrscope.engine.fill import Decoder
from zarrscope.engine.journal import Journal
from zarrscope.errors import DecodeError
from zarrscope.model import Estimate, Image, Parts, Plan, Source, Task
from zarrscope.recipe import Recipe
from zarrscope.storage import Storage
from zarrscope.writers.codec import Codec, Encode

SAMPLE = 64  # members of each image
BUILT = 3  # samples that have groups of their own
_MOST = 256 << 20  # bytes of members of one that is built to try


def estimate(plan: Plan, parts: Sequence[Parts], sources: Sequence[Source], recipe: Recipe, workers: int) -> Plan:
    """Give the plan with an estimate, from members spread evenly over each image.

    The error is one standard error of the mean, per image, added in squares. A source that can't seek is sampled at
    its beginning.
    """
    encode = Codec.parse(plan.choices.codec).encoder()
    total, error, seconds, seconds_error, sampled = 0.0, 0.0, 0.0, 0.0, 0
    for image, rows in zip(plan.images, parts, strict=True):
        n = len(rows)
        sizes, times = _sample(image, rows, sources, recipe, encode)
        if not sizes:
            continue
        sampled += len(sizes)
        total += n * float(np.mean(sizes))
        seconds += n * float(np.mean(times)) / workers
        spread = sqrt(max(0.0, 1 - len(sizes) / n)) / sqrt(len(sizes))
        error += (n * float(np.std(sizes)) * spread) ** 2
        seconds_error += (n * float(np.std(times)) * spread / workers) ** 2
    if plan.samples:
        return _of_samples(plan, sources, recipe, workers)
    read = sum(int(rows.members.sizes[rows.sources >= 0].sum()) for rows in parts)
    return replace(
        plan,
        estimate=Estimate(
            sampled=sampled,
            bytes_read=read,
            bytes_stored=round(total),
            bytes_stored_error=round(sqrt(error)),
            seconds=seconds,
            seconds_error=sqrt(seconds_error),
            workers=workers,
        ),
    )


def _of_samples(plan: Plan, sources: Sequence[Source], recipe: Recipe, workers: int) -> Plan:
    """Build some samples in memory, neither the smallest nor the largest, and scale by the bytes of their members.

    What all of them come to is divided by what all of them have: the smallest have ratios of their own, since some of
    a sample's objects are as large whatever its members.
    """
    sizes = {sample.path: sum(piece.member.size for piece in sample.pieces) for sample in plan.samples}
    ordered = sorted(
        (sample for sample in plan.samples if sizes[sample.path] <= _MOST), key=lambda one: sizes[one.path]
    )
    places = sorted({len(ordered) * place // (BUILT + 1) for place in range(1, BUILT + 1)}) if ordered else []
    read, stored, seconds = list[int](), list[int](), list[float]()
    for chosen in (ordered[place] for place in places):
        scratch = Storage(f"memory://{uuid.uuid4().hex}")
        started = time.perf_counter()
        try:
            bench = Bench(chosen, recipe, sources, Journal(scratch), codec=plan.choices.codec, workers=workers)
            receipt = bench.built(Task(image=chosen.path, shard=0, start=0, stop=1))
        finally:
            scratch.delete("")
        read.append(sizes[chosen.path])
        stored.append(sum(one.size for one in receipt.objects))
        seconds.append(time.perf_counter() - started)
    bytes_stored, bytes_error = _scaled(read, stored, list(sizes.values()))
    duration, duration_error = _scaled(read, seconds, list(sizes.values()))
    return replace(
        plan,
        estimate=Estimate(
            sampled=len(read),
            bytes_read=sum(sizes.values()),
            bytes_stored=round(bytes_stored),
            bytes_stored_error=round(bytes_error),
            seconds=duration,
            seconds_error=duration_error,
            workers=workers,
        ),
    )


def _scaled(known: Sequence[int], found: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """Give the ratio estimate of a sum over all ``sizes``, and its standard error, from what was found of some."""
    if not known:
        return 0.0, 0.0
    ratio = sum(found) / max(1, sum(known))
    apart = float(np.std(np.array(found) - ratio * np.array(known)))
    spread = sqrt(max(0.0, 1 - len(known) / len(sizes))) / sqrt(len(known))
    return ratio * sum(sizes), len(sizes) * apart * spread


def _sample(
    image: Image, rows: Parts, sources: Sequence[Source], recipe: Recipe, encode: Encode
) -> tuple[list[int], list[float]]:
    decode = Decoder(image, rows, recipe, sources)
    sizes: list[int] = []
    times: list[float] = []
    present = np.flatnonzero(rows.sources >= 0)
    sequential = any(sources[owner].sequential for owner in set(rows.sources[present].tolist()))
    picked = (
        present[:SAMPLE] if sequential else present[np.unique(np.linspace(0, len(present) - 1, SAMPLE).astype(int))]
    )
    for row in picked.tolist() if len(present) else ():
        started = time.perf_counter()
        (blob,) = sources[int(rows.sources[row])].read(rows.members.take(np.array([row])))
        try:
            pixels, _ = decode(blob)
        except DecodeError:
            continue
        (encoded,) = encode([pixels.data])
        sizes.append(memoryview(encoded).nbytes + 16)
        times.append(time.perf_counter() - started)
    if len(times) > 1:  # the first one pays for what is done once
        times[0] = float(np.median(times[1:]))
    return sizes, times


def objects(plan: Plan) -> int:
    """Count the objects that images will have: metadata and shards; tables add some fifty a stack."""
    return sum(
        2
        + -(-image.shape[0] // image.shards[0])
        * prod(-(-axis.size // shard) for axis, shard in zip(image.axes[1:], image.shards[1:], strict=True))
        for image in plan.images
    )
