"""The one place where scipy's HiGHS is imported, with an error that says how to get it."""

from types import ModuleType

from tiergarten.sim.errors import TiergartenError


def optimizer() -> ModuleType:
    """`scipy.optimize`. Raises TiergartenError where scipy is not installed."""
    try:
        import scipy.optimize
    except ImportError as error:
        raise TiergartenError("the planners need scipy: pip install 'tiergarten[trace]'") from error
    return scipy.optimize  # type: ignore[no-any-return]
