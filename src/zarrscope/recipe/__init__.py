"""Recipes: how the members of a source become a layout. A dataset is data plus two or three plain functions.

A recipe gives a pattern for member names; :func:`scan` matches every name against it, and the named groups become the
columns of a :class:`Catalog`. The recipe's ``layout`` function turns the catalog into images and rows, mostly through
:func:`stack`; ``decode`` turns the bytes of one member into pixels and fields; ``tabulate``, where it is given, turns
the fields of many members into columns. A stranger's recipe registers under the entry point ``zarrscope.recipes``,
exactly as ours do.
"""

from zarrscope.recipe.catalog import Catalog, Decoded, Recipe, scan
from zarrscope.recipe.choice import GROUP, choose, known
from zarrscope.recipe.described import RESERVED, Described, Fields, Obs, column_name, flatten
from zarrscope.recipe.desk import Built, Collected, Desk, Put, Told
from zarrscope.recipe.expected import Expect, Expected, Facts, Matrix, Picture
from zarrscope.recipe.naming import group_name, group_names
from zarrscope.recipe.stacks import Stack, arrange, shard_rows, stack

__all__ = [
    "GROUP",
    "RESERVED",
    "Built",
    "Catalog",
    "Collected",
    "Decoded",
    "Described",
    "Desk",
    "Expect",
    "Expected",
    "Facts",
    "Fields",
    "Matrix",
    "Obs",
    "Picture",
    "Put",
    "Recipe",
    "Stack",
    "Told",
    "arrange",
    "choose",
    "column_name",
    "flatten",
    "group_name",
    "group_names",
    "known",
    "scan",
    "shard_rows",
    "stack",
]
