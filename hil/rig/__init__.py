"""Real rigs: rig.yaml, locks, the order in which a rig is brought up, runs on it, its doctor."""
