"""A camera's stream becomes best shots of the people in it."""


class CameraError(Exception):
    """A camera, a source or a frame is at fault; the message is one line that names it."""
