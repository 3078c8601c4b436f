"""The rig: what a frame is, who makes it, and what a command may do. In: orders. Out: frames and outcomes."""
