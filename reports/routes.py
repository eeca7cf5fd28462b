"""Which directions of which links a transfer went through, from its ends and its route."""

from collections.abc import Callable

import pandas as pd

Hops = Callable[[str, str, str], list[tuple[str, str]]]


def link_hops(links: pd.DataFrame) -> Hops:
    """A function (source, destination, route) -> [(link, direction), ...] over the links of a `links` table.

    The route is walked from the source: each link is entered at the end reached so far. Where the table does not
    tell the
    direction (a link that is listed once for both ways, or ends with other names), every listed direction of the
    link counts.
    """
    directions: dict[str, list[str]] = {}
    for link, direction in links[["link", "direction"]].drop_duplicates().itertuples(index=False):
        directions.setdefault(link, []).append(direction)

    def hops(source: str, destination: str, route: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        here = source
        for link in route.split(">"):
            known = directions.get(link, [])
            onward = [direction for direction in known if direction.split(">")[0] == here]
            if len(onward) == 1:
                here = onward[0].partition(">")[2]
                found.append((link, onward[0]))
            else:
                found += [(link, direction) for direction in known]
        return found

    return hops
