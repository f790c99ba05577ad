"""Life safety in the panel: alarms in, trips and signed release orders out."""
