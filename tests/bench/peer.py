"""The peer of `python -m tests.bench`, run by its own interpreter: find every face of a clip and encode it."""

import sys

import av
import face_recognition

faces = frames = 0
with av.open(sys.argv[1]) as container:
    for frame in container.decode(video=0):
        image = frame.to_ndarray(format="rgb24")
        faces += len(face_recognition.face_encodings(image, face_recognition.face_locations(image)))
        frames += 1
print(f"{frames} frames, {faces} faces")
