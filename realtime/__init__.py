"""The loop: bus, inference, policies, recorder, supervisor, command line. Start reading at inference.py."""
