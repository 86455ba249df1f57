"""One connection to an MQTT broker: what is sent, what comes, and what it takes to be let in."""
