"""One file a question, peers measured in the same run. `make bench` runs them all and rewrites RESULTS.md."""
