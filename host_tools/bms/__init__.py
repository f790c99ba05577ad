"""Talk to a BMS from the host: the element's own decoders behind a serial port or Bluetooth."""
