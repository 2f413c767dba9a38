"""The registry on an Ethereum chain: written to and read by one client, kept by a node of our own or by any other."""
