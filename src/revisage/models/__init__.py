"""The registry of weights: where they come from, their hashes and licences; fetch, verify, load."""
