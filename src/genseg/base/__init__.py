"""What every room builds on and no user asks for: files written whole, locks, units, progress, records. No torch."""
