"""python -m wa_reference responder --listen HOST:PORT --upstream HOST:PORT
python -m wa_reference initiator --peer HOST:PORT --listen HOST:PORT

The secret comes from WA_SECRET (and WA_SECRET_PREVIOUS, which only a responder uses). Prints `listening HOST:PORT` on
stdout; what happens goes to stderr, one line each. SIGTERM drains."""

import argparse
import asyncio
import os
import signal
import sys

from .errors import Refused
from .handshake import Endpoint
from .peer import InitiatorSide, ResponderSide, listen
from .secret import DEFAULT_DEPLOYMENT, is_name, psk_of


def address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def name(text):
    if not is_name(text.encode()):
        raise argparse.ArgumentTypeError("1 to 64 bytes of A-Z a-z 0-9 . _ -")
    return text.encode()


def service(text):
    service_name, _, where = text.partition("=")
    return name(service_name), address(where)


def suites(text):
    return bytes(int(part) for part in text.split(","))


def arguments():
    parser = argparse.ArgumentParser(prog="wa_reference", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    roles = parser.add_subparsers(dest="role", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--listen", type=address, required=True, metavar="HOST:PORT")
    common.add_argument("--deployment", type=name, default=DEFAULT_DEPLOYMENT)
    common.add_argument("--name", type=name)
    common.add_argument("--suites", type=suites, default=b"\1", help="numbers, preferred first: 1, 2 or 2,1")
    common.add_argument("--window", type=int, default=65536)
    common.add_argument("--max-streams", type=int, default=1024)
    common.add_argument("--clock-offset-ms", type=int, default=0, help="added to the wall clock")
    common.add_argument("--allow-short-secret", action="store_true")
    responder = roles.add_parser("responder", parents=[common])
    responder.add_argument("--upstream", type=address, metavar="HOST:PORT", help="of the default service")
    responder.add_argument("--service", type=service, action="append", default=[], metavar="NAME=HOST:PORT")
    initiator = roles.add_parser("initiator", parents=[common])
    initiator.add_argument("--peer", type=address, required=True, metavar="HOST:PORT")
    initiator.add_argument("--peer-name", type=name)
    initiator.add_argument("--service", type=name, default=b"")
    initiator.add_argument("--rekey-after", type=float, default=3600, metavar="SECONDS")
    return parser.parse_args()


def side(args):
    secrets = [os.environb.get(b"WA_SECRET", b"")]
    if args.role == "responder" and os.environb.get(b"WA_SECRET_PREVIOUS"):
        secrets.append(os.environb[b"WA_SECRET_PREVIOUS"])
    psks = [psk_of(secret, args.deployment, args.allow_short_secret) for secret in secrets]
    own = Endpoint(
        instance=os.urandom(16),
        deployment=args.deployment,
        name=args.name,
        peer_name=getattr(args, "peer_name", None),
        suites=args.suites,
        window=args.window,
        max_streams=args.max_streams,
    )
    if args.role == "initiator":
        rekey_after = int(args.rekey_after * 1000)
        return InitiatorSide(own, psks, args.peer, args.service, rekey_after, args.clock_offset_ms)
    upstreams = dict(args.service)
    if args.upstream is not None:
        upstreams[b""] = args.upstream
    return ResponderSide(own, psks, upstreams, args.clock_offset_ms)


async def main(args):
    one = side(args)
    listener = listen(args.listen)
    host, port = listener.getsockname()[:2]
    print(f"listening {'[' + host + ']' if ':' in host else host}:{port}", flush=True)
    serving = asyncio.ensure_future(one.serve(listener))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await asyncio.wait([serving, asyncio.ensure_future(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    serving.cancel()
    listener.close()
    await one.drain()


if __name__ == "__main__":
    try:
        asyncio.run(main(arguments()))
    except Refused as refused:
        sys.exit(f"wa_reference: {refused}")
