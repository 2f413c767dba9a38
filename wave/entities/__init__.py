"""Who: keys, signed records of entities, the secret files that hold their seeds, and the ring of files on disk."""
