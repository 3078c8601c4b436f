"""The processes of a run: acquisition, recorder, inference, and the supervisor that starts and ends them."""
