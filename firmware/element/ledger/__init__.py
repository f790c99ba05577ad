"""Signed execution records: made each interval, chained by hash, kept on flash, pushed."""
