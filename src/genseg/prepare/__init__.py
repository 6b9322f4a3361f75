"""From a case in its own geometry to network input, and exactly back. No torch."""
