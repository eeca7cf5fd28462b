"""Writes to the tables that grow with the drive's capacity. While the kernel runs ahead, old values are noted so that it can go back.

Looking ahead for the next completion runs the drive into the future. If something new arrives before that, the small tables are copied
back and these large ones are undone cell by cell.
"""

from numba import njit

from tiergarten.sim.flash.kernel.layout import Glob

LPN = 0
OWNER = 1
BLOCK = 2
CACHED = 3
MAP_PAGE = 4
CACHE = 5


@njit(cache=True)
def note(s, table, row, column, old):
    """Append to the journal."""
    n = s.glob[Glob.JOURNAL_LENGTH]
    s.journal[n, 0] = table
    s.journal[n, 1] = row
    s.journal[n, 2] = column
    s.journal[n, 3] = old
    s.glob[Glob.JOURNAL_LENGTH] = n + 1


@njit(cache=True)
def put_lpn(s, row, column, value):
    if s.glob[Glob.LOOKING_AHEAD]:
        note(s, LPN, row, column, s.lpn[row, column])
    s.lpn[row, column] = value


@njit(cache=True)
def put_owner(s, ppn, value):
    if s.glob[Glob.LOOKING_AHEAD]:
        note(s, OWNER, ppn, 0, s.owner[ppn])
    s.owner[ppn] = value


@njit(cache=True)
def put_block(s, row, column, value):
    if s.glob[Glob.LOOKING_AHEAD]:
        note(s, BLOCK, row, column, s.block[row, column])
    s.block[row, column] = value


@njit(cache=True)
def put_cached(s, row, column, value):
    if s.glob[Glob.LOOKING_AHEAD]:
        note(s, CACHED, row, column, s.cached[row, column])
    s.cached[row, column] = value


@njit(cache=True)
def put_map_page(s, row, column, value):
    if s.glob[Glob.LOOKING_AHEAD]:
        note(s, MAP_PAGE, row, column, s.map_page[row, column])
    s.map_page[row, column] = value


@njit(cache=True)
def put_cache(s, row, column, value):
    if s.glob[Glob.LOOKING_AHEAD]:
        note(s, CACHE, row, column, s.cache[row, column])
    s.cache[row, column] = value


@njit(cache=True)
def undo(s):
    """Restore the large tables to what they held when the journal was empty, newest entry first."""
    for n in range(s.glob[Glob.JOURNAL_LENGTH] - 1, -1, -1):
        table, row, column, old = s.journal[n, 0], s.journal[n, 1], s.journal[n, 2], s.journal[n, 3]
        if table == LPN:
            s.lpn[row, column] = old
        elif table == OWNER:
            s.owner[row] = old
        elif table == BLOCK:
            s.block[row, column] = old
        elif table == CACHED:
            s.cached[row, column] = old
        elif table == MAP_PAGE:
            s.map_page[row, column] = old
        else:
            s.cache[row, column] = old
    s.glob[Glob.JOURNAL_LENGTH] = 0
