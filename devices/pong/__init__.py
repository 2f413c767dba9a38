"""Pong: the field, policies that play it, how they are trained and tracked, and how one becomes a served model."""
