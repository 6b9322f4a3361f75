"""Where and how exactly to compute: devices, bfloat16, random draws that depend on their place alone."""
