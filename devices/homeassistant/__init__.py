"""A home's devices in Home Assistant: announced by MQTT discovery, and driven with the right of the bridge's entity."""
