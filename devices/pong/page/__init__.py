"""The page on which a person plays pong against a model, each of whose moves a guarded gateway answers."""
