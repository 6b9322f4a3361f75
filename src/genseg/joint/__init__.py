"""The heart: stages I, II and III, and the gradient that leads from held-out error back to the generator."""
