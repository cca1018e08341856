"""What plugins offer, and whether they keep the contract. None is imported here."""
