"""Lines to elements: serial, TCP, MQTT, Bluetooth LE, and the port that speaks on them."""
