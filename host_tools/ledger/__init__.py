"""The panel's SQLite ledger of statements, intervals and events."""
