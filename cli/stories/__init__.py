"""The demonstrations: stories told with commands that anybody could type, each ending in a table of what came of it."""
