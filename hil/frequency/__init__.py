"""Frequency response on the bench: products, traces, a meter, the record and its judgement."""
