"""Where: resources and patterns with exact relations, permissions, conditions, the text form of grants, and names."""
