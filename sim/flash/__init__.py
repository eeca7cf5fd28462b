"""A flash tier: an NVMe drive from the host's submission queue down to planes and blocks.

Two ways to run it: *MQSim mode* behaves as MQSim (Tavakkol et al., FAST 2018) does, to the nanosecond; *modern mode* adds what
current drives have and MQSim lacks: dies that work at the same time, planes that read on their own, suspension of programs and
erases, and a controller that takes time.
"""
