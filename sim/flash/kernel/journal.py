"""Writes to the tables that grow with the drive's capacity. While the kernel runs ahead, old values are noted so that it can go back.

Looking ahead for the next completion runs the drive into the future. If something new arrives before that, the small tables, which lie
in front, are copied back, and the large ones are undone word by word. The journal is the end of the same array.
"""

from tiergarten.sim.flash.kernel.layout import Glob, Param
from tiergarten.sim.jit import njit


@njit(cache=True)
def put(m, address, value):
    """m[address] = value in a large table; (address, old value) goes into the journal while looking ahead."""
    if m[Glob.LOOKING_AHEAD]:
        n = m[Glob.JOURNAL_LENGTH]
        m[m[Param.JOURNAL_AT] + 2 * n] = address
        m[m[Param.JOURNAL_AT] + 2 * n + 1] = m[address]
        m[Glob.JOURNAL_LENGTH] = n + 1
    m[address] = value


@njit(cache=True)
def add(m, address, increment):
    """put, of the present value plus an increment."""
    put(m, address, m[address] + increment)


@njit(cache=True)
def undo(m, length):
    """Restore the large tables to what they held when the journal was empty, newest entry first."""
    at = m[Param.JOURNAL_AT]
    for n in range(length - 1, -1, -1):
        m[m[at + 2 * n]] = m[at + 2 * n + 1]
