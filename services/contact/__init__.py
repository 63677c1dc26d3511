"""Contact: who may be contacted, when, by which channel, for which offer; the hand-over, and what it achieved."""
