"""A composition of experts: many models homed in a large tier, as many as fit cached beside the device, a router in front.

After Prabhakar et al., SambaNova SN40L, MICRO 2024 (arXiv 2405.07518), Sec. V and VI.
"""
