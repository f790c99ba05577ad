"""A STAND-IN for the ESP32's bluetooth module: it knows the documented calls and nothing else."""

from machine import log

FLAG_NOTIFY = 0x10
FLAG_WRITE = 0x08
FLAG_WRITE_NO_RESPONSE = 0x04
handlers = []


def UUID(text):
    """Return a service's name."""
    return text


class BLE:
    """The radio."""

    def active(self, on):
        log.append(("ble", on))

    def config(self, **values):
        pass

    def irq(self, handler):
        handlers.append(handler)

    def gatts_register_services(self, services):
        return ((11, 12),)

    def gatts_set_buffer(self, handle, size, append):
        log.append(("buffer", handle, size, append))

    def gatts_read(self, handle):
        return b"from a panel"

    def gatts_notify(self, connection, handle, data):
        log.append(("notify", connection, handle, data))

    def gap_advertise(self, interval_us, adv_data=None, resp_data=None):
        log.append(("advertise", adv_data, resp_data))

    def gap_disconnect(self, connection):
        log.append(("disconnect", connection))
