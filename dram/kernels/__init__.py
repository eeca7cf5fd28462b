"""Compiled pieces of a memory channel: state layout, device timing, queues, choice of the next command, controllers.

All times are controller ticks. A tick is done in the order: offer, refresh, row policy, choice, issue.
"""
