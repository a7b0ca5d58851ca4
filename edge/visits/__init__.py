"""A visit from the arrival to its end: decided, recorded, followed over the cameras, and told again."""
