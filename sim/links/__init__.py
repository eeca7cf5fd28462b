"""Kinds of links, one per file. `tiergarten.sim.link_model` says what a kind is."""
