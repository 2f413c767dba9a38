"""The local daemon: a replica of the registry, proofs, decisions, and the API by which programs here ask it."""
