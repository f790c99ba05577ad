"""The version of the firmware: what an update compares. One number a release, only upwards."""

TEXT = "0.1.0"
# major * 1,000,000 + minor * 1,000 + patch
NUMBER = 1000
