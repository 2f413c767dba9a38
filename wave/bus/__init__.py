"""Messages: signed objects that carry their own right to be obeyed, and a router trusted with delivery alone."""
