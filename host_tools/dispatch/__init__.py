"""From a requested power to one setpoint an element: pure splits and the closed loop."""
