"""Random streams: one root seed per scenario, one independent stream per component name. No global generator anywhere."""

import hashlib

import numpy as np


def stream(root_seed: int, name: str) -> np.random.Generator:
    """The generator of the component called `name`.

    It depends on the root seed and the name alone, so adding a component never changes another one's numbers.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence([root_seed, int.from_bytes(digest[:16], "little")]))
    )
