"""Exact statistics over pixels: sums and a histogram that can be taken shard by shard and merged.

Integers of up to 16 bits are counted by value, so that everything else (extremes, sums, percentiles) follows exactly
from the counts. Other types are counted by a key of 16 bits that increases with the value: the upper half of the
float32 nearest to it, which puts 128 bins into each doubling, a relative width of at most 0.8 %.

NaN and infinities are left out of everything: ``Statistics.count`` says how many pixels are finite.
"""

from __future__ import annotations

from zarrscope.statistics.accumulator import TYPES, Accumulator
from zarrscope.statistics.kernels import TOGETHER
from zarrscope.statistics.measures import edges, mean, merge, percentile, std

__all__ = ["TOGETHER", "TYPES", "Accumulator", "edges", "mean", "merge", "percentile", "std"]
