"""A STAND-IN for the ESP32's network module: it knows the documented calls and nothing else."""

from machine import log

STA_IF = 0


class WLAN:
    """The station."""

    PM_NONE = 0

    def __init__(self, interface):
        log.append(("wlan", interface))

    def active(self, on):
        log.append(("active", on))

    def config(self, **values):
        log.append(("config", sorted(values.items())))

    def connect(self, name, password):
        log.append(("connect", name, password))
