"""How bytes travel between a node and central: MQTT, HTTPS, TLS, and the way in for a node that has not joined."""
