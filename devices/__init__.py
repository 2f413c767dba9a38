"""A simulated home: devices that obey whoever holds the right, say who did what, and know nothing of accounts."""
