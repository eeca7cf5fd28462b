"""Devices as data, compute rooflines, serving engines and GPU demand paging."""
