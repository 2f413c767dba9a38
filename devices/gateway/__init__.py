"""The guarded prediction gateway: applications over models, answered in time, each by its asker's own right."""
