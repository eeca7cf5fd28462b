"""The compiled event kernel of the flash drive. Integer nanoseconds; events at the same time run in the order of insertion.

The state is one tuple of arrays (`layout`); each module holds one station that a page transaction passes, bottom up: `events`,
`pcie`, `queues`, `channel`, `scheduler`, `suspension`, `blocks`, `garbage`, `mapping`, `cache`, `host`, `engine`.
"""
