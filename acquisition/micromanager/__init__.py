"""Any Micro-Manager core as a microscope: one worker thread owns it, a watchdog looks at every call."""
