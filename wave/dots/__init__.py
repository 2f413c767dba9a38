"""What: delegations of trust, the proofs made of them, and the pure verdict over both."""
