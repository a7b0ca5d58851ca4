"""Serve a video file, looped, as H.264 over RTSP on 127.0.0.1: a real camera for tests.

Run by the system's Python, which carries GStreamer's bindings (Debian: gir1.2-gst-rtsp-server-1.0,
gstreamer1.0-plugins-good/-bad/-ugly, gstreamer1.0-libav):

    /usr/bin/python3 tests/camera/rtsp_server.py --file VIDEO --port 8554 [--path /cam] [--user U --password P]
        [--auth digest|basic] [--once]

Prints "ready rtsp://127.0.0.1:PORT/PATH" when it answers; exits 3 with a line on stderr where GStreamer is missing.
The file is encoded once at start (a keyframe a second), so that a running stream costs next to no CPU.
"""

import argparse
import sys

try:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstApp", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstApp, GstRtspServer  # noqa: F401  GstApp gives appsrc its methods
except (ImportError, ValueError) as error:
    print(f"no GStreamer RTSP server here: {error}", file=sys.stderr)
    sys.exit(3)


def access_units(path):
    """Return the file as [(pts_ns, H.264 access unit)] and its length in nanoseconds."""
    pipeline = Gst.parse_launch(
        "filesrc name=src ! decodebin ! videoconvert ! video/x-raw,format=I420 ! "
        "x264enc speed-preset=superfast tune=zerolatency bitrate=6000 key-int-max=25 ! "
        "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! "
        "appsink name=sink sync=false max-buffers=0"
    )
    pipeline.get_by_name("src").set_property("location", path)
    sink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    units = []
    step_ns = Gst.SECOND // 25
    while (sample := sink.emit("pull-sample")) is not None:
        buffer = sample.get_buffer()
        units.append((buffer.pts, buffer.extract_dup(0, buffer.get_size())))
    message = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
    pipeline.set_state(Gst.State.NULL)
    if message is not None or not units:
        print(f"{path}: {message.parse_error()[0].message if message else 'no frames'}", file=sys.stderr)
        sys.exit(2)
    start_ns = units[0][0]
    units = [(pts - start_ns, data) for pts, data in units]
    if len(units) > 1:
        step_ns = units[-1][0] // (len(units) - 1)
    return units, units[-1][0] + step_ns


class Loop(GstRtspServer.RTSPMediaFactory):
    """Feeds every new media from the first access unit on, over and over."""

    def __init__(self, units, length_ns, once):
        super().__init__()
        self._units, self._length_ns, self._once = units, length_ns, once
        self.set_shared(True)

    def do_create_element(self, _url):
        return Gst.parse_launch(
            "( appsrc name=src is-live=true format=time block=false max-bytes=1 "
            "caps=video/x-h264,stream-format=byte-stream,alignment=au ! "
            # parameter sets once a keyframe: the payloader would put them before each of its slices, and readers take
            # every slice for a picture then, half of it missing
            "h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 config-interval=0 )"
        )

    def do_configure(self, media):
        position = [0]
        source = media.get_element().get_child_by_name("src")

        def push(src, _length):
            turn, index = divmod(position[0], len(self._units))
            if turn and self._once:
                src.emit("end-of-stream")
                return
            pts_ns, data = self._units[index]
            buffer = Gst.Buffer.new_wrapped(data)
            buffer.pts = buffer.dts = turn * self._length_ns + pts_ns
            position[0] += 1
            src.emit("push-buffer", buffer)

        source.connect("need-data", push)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", required=True, help="any video GStreamer decodes (mp4, ...)")
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--path", default="/cam")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--auth", choices=["digest", "basic"], default="digest")
    parser.add_argument("--once", action="store_true", help="end the stream after one pass instead of looping")
    args = parser.parse_args()

    Gst.init(None)
    units, length_ns = access_units(args.file)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(args.port))
    factory = Loop(units, length_ns, args.once)
    if args.user:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        if args.auth == "digest":
            auth.set_supported_methods(2)  # GST_RTSP_AUTH_DIGEST of GstRTSPAuthMethod
            auth.add_digest(args.user, args.password, token)
        else:
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(args.user, args.password), token)
        server.set_auth(auth)
        allowed = Gst.Structure.new_from_string(
            "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
        )
        factory.add_role_from_structure(allowed)
    server.get_mount_points().add_factory(args.path, factory)
    if server.attach(None) == 0:
        print(f"port {args.port} is in use", file=sys.stderr)
        sys.exit(2)
    print(f"ready rtsp://127.0.0.1:{args.port}{args.path}", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
