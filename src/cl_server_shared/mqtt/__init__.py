"""One connection to an MQTT broker: its address and login, what is sent, and what is received."""
