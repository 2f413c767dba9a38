"""The home's page: live tiles, controls that act with the visitor's own key, and for its owner who may do what."""
