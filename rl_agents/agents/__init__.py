"""Search agents, one file each. Register with `@search_agents.register(name)` of `tiergarten.rl_agents.search`."""
