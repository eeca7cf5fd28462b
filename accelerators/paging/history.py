"""The history of a run in bounded memory: running totals after each batch, from which traffic and occupancy over time follow.

When the rows run out, every second one is dropped and batches are marked half as often; totals stay exact.
"""

from tiergarten.accelerators.paging.kernels import entry_kernel, kernel
from tiergarten.accelerators.paging.state import Count, Mark, Now, PagingState


@kernel
def mark(state: PagingState) -> None:
    """Note the totals now, unless too few batches have passed since the last row."""
    if len(state.history) == 0:
        return
    state.now[Now.MARKS_SKIPPED] += 1
    if state.now[Now.MARKS_SKIPPED] >= state.now[Now.MARKS_STRIDE]:
        mark_now(state)


@entry_kernel
def mark_now(state: PagingState) -> None:
    """Note the totals now."""
    if len(state.history) == 0:
        return
    if state.now[Now.MARKS] == len(state.history):
        halve(state)
    row = state.now[Now.MARKS]
    state.history[row, Mark.TIME_PS] = state.now[Now.TIME_PS]
    state.history[row, Mark.H2D_PAGES] = state.counts[Count.H2D_PAGES]
    state.history[row, Mark.COPIED_AHEAD_PAGES] = state.counts[Count.COPIED_AHEAD_PAGES]
    state.history[row, Mark.D2H_PAGES] = state.counts[Count.D2H_PAGES]
    state.history[row, Mark.H2D_PS] = state.counts[Count.H2D_PS]
    state.history[row, Mark.D2H_PS] = state.counts[Count.D2H_PS]
    state.history[row, Mark.DEVICE_PAGES] = state.now[Now.DEVICE_PAGES]
    state.history[row, Mark.HOST_PAGES] = state.now[Now.HOST_PAGES]
    state.history[row, Mark.REMOTE_TOUCHES] = state.counts[Count.REMOTE_TOUCHES]
    state.history[row, Mark.REMOTE_WRITES] = state.counts[Count.REMOTE_WRITES]
    state.now[Now.MARKS] = row + 1
    state.now[Now.MARKS_SKIPPED] = 0


@kernel
def halve(state: PagingState) -> None:
    """Drop every second row but the first and mark half as often from now on."""
    kept = 1
    for row in range(2, state.now[Now.MARKS], 2):
        for column in range(state.history.shape[1]):
            state.history[kept, column] = state.history[row, column]
        kept += 1
    state.now[Now.MARKS] = kept
    state.now[Now.MARKS_STRIDE] *= 2
