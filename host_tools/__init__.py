"""What runs on the panel's Raspberry Pi: discovery, dispatch, verification, the ledger."""
