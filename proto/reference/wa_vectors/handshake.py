"""handshake/: the two handshake messages whole, and what each side concludes (SPEC 3)."""

from wa_reference import handshake as h
from wa_reference import payload as p
from wa_reference.errors import Refused
from wa_reference.frame import Opener, Sealer
from wa_reference.message import encode_all, from_printable, make, printable
from wa_reference.noise import Handshake

from .case import flip, ok, refuse, same, seed

PSK = seed("psk")
OTHER_PSK = seed("psk of another secret")
CLOCK = 1_750_000_000_000
E_I, E_R = seed("ephemeral of the initiator"), seed("ephemeral of the responder")
INITIATOR = {
    "instance": seed("instance of the initiator", 16).hex(),
    "features": 0,
    "suites": "01",
    "window": 16384,
    "max_streams": 512,
    "software": "wa-sidecar/0.1.0",
}
RESPONDER = INITIATOR | {
    "instance": seed("instance of the responder", 16).hex(),
    "window": 8192,
    "max_streams": 256,
    "name": "core-b",
}


# Points whose product with every private key is zero (RFC 7748 section 6.1): of small order.
LOW_ORDER = {
    "0": bytes(32),
    "1": b"\1" + bytes(31),
    "8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
}


def endpoint(fields, deployment="default"):
    """An Endpoint out of a case."""
    return h.Endpoint(
        instance=bytes.fromhex(fields["instance"]),
        deployment=deployment.encode(),
        name=fields["name"].encode() if "name" in fields else None,
        peer_name=fields["peer_name"].encode() if "peer_name" in fields else None,
        suites=bytes.fromhex(fields["suites"]),
        window=fields["window"],
        max_streams=fields["max_streams"],
        software=fields["software"].encode(),
        features=fields["features"],
    )


def message_1(initiator=INITIATOR, psk=PSK, deployment="default", clock=CLOCK):
    return h.Dial(psk, endpoint(initiator, deployment), E_I, clock).message_1


def sealed_1(payload, psk=PSK, prologue=None):
    """A message 1 with any payload under any prologue."""
    return b"\1" + Handshake(psk, prologue or h.prologue(b"default"), E_I).write_1(payload)


def answer_to(first, payload, psk=PSK, prologue=None):
    """A message 2 with any payload."""
    noise = Handshake(psk, prologue or h.prologue(b"default"), E_R)
    noise.read_1(first[1:])
    return b"\1" + noise.write_2(payload)


def fields_1(**changes):
    own = endpoint(INITIATOR)
    return own.common_fields(CLOCK) | own.link_fields(own.suites) | changes


def fields_2(**changes):
    own = endpoint(RESPONDER)
    return own.common_fields(CLOCK + 250) | own.link_fields(b"\1") | {"result": (0, 0)} | changes


def refusal(code, figure):
    return p.encode({name: value for name, value in fields_2(result=(code, figure)).items() if name not in ("suites", "window", "max_streams")})


def cases():
    yield from _transcripts()
    yield from _closed()
    yield from _refused()
    yield from _concluded()


# Whole transcripts


def _transcript(name, spec, why, initiator=INITIATOR, responder=RESPONDER, deployment="default", psks=(PSK,), skew=250):
    dial = h.Dial(psks[-1], endpoint(initiator, deployment), E_I, CLOCK)
    side = h.Responder(endpoint(responder, deployment), lambda: list(psks))
    answer = side.answer(dial.message_1, E_R, CLOCK + skew, 0)
    same(answer.word, "accepted", name)
    link = dial.conclude(answer.message_2)
    ping = [make("PING", token=1, clock=CLOCK + 40)]
    reply = [make("PONG", token=1, clock=CLOCK + skew + 60), make("PING", token=1, clock=CLOCK + skew + 60)]
    return ok(
        name,
        spec,
        why,
        receiver="both",
        deployment=deployment,
        psks=[psk.hex() for psk in psks],
        psk=psks[-1].hex(),
        initiator=initiator | {"ephemeral": E_I.hex(), "clock": CLOCK},
        responder=responder | {"ephemeral": E_R.hex(), "clock": CLOCK + skew},
        message_1=dial.message_1.hex(),
        message_2=answer.message_2.hex(),
        h=link.h.hex(),
        k_i=link.k_i.hex(),
        k_r=link.k_r.hex(),
        suite=link.suite,
        max_streams=link.max_streams,
        frame_0=_frame(link.k_i, link, CLOCK + 40, ping),
        first_responder_frame=_frame(link.k_r, link, CLOCK + skew + 60, reply),
    )


def _frame(k, link, stamp, messages):
    frame = Sealer(k, link.h, link.suite).seal(encode_all(messages), stamp)
    return {"timestamp": stamp, "messages": [printable(message) for message in messages], "frame": frame.hex()}


def _transcripts():
    aes = INITIATOR | {"suites": "0201"}
    yield _transcript("accepted", "3", "The whole of it, to the first frame of each direction.")
    yield _transcript("accepted_aes_256_gcm", "3.4", "Both want it.", aes, RESPONDER | {"suites": "0201"})
    yield _transcript("accepted_aes_offered_not_taken", "3.4", "The responder is not configured for it.", aes)
    yield _transcript("accepted_unknown_suites_skipped", "3.3", "Suites of a later version.", INITIATOR | {"suites": "7fee01"})
    yield _transcript("accepted_with_names", "3.4", "The initiator means this responder.", INITIATOR | {"name": "web-1", "peer_name": "core-b"})
    yield _transcript("accepted_other_deployment", "3.2", "Bound by the prologue.", deployment="prod-eu.1")
    yield _transcript("accepted_under_the_previous_secret", "3.4", "The responder tries the current secret, then the previous.", psks=(OTHER_PSK, PSK))
    yield _transcript("accepted_features_nobody_knows", "3.3", "In force only where both set the bit.", INITIATOR | {"features": (1 << 63) + 5})
    yield _transcript("accepted_clock_10000_ahead", "3.4", "The end of the window belongs to it.", skew=10000)
    yield _transcript("accepted_clock_10000_behind", "3.4", "The end of the window belongs to it.", skew=-10000)
    yield _transcript("accepted_least_values", "3.3", "Small windows, one stream.", INITIATOR | {"window": 1024, "max_streams": 1}, RESPONDER | {"window": 4194304, "max_streams": 1048576})


# What the responder does with message 1


def _to_responder(name, spec, why, error, first, responder=RESPONDER, deployment="default", psks=(PSK,), skew=250, state=None):
    case = {
        "receiver": "responder",
        "deployment": deployment,
        "psks": [psk.hex() for psk in psks],
        "responder": responder | {"ephemeral": E_R.hex(), "clock": CLOCK + skew},
        "state": state or {},
        "message_1": first.hex(),
    }
    answer = _answer(case)
    if answer.message_2 is None:
        return refuse(name, spec, error, why, **case, outcome="close")
    fields = p.parse(_open_2(answer.message_2, first, psks), 2)
    result = {"code": fields["result"][0], "figure": fields["result"][1]}
    return refuse(name, spec, error, why, **case, outcome="refuse", result=result, message_2=answer.message_2.hex())


def _open_2(message_2, first, psks):
    for psk in psks:
        # The initiator's half of the same exchange: its private key is ours.
        noise = Handshake(psk, h.prologue(b"default"), E_I)
        replayed = Handshake(psk, h.prologue(b"default"), E_I)
        try:
            payload = replayed.read_1(first[1:])
            noise.write_1(payload)
            return noise.read_2(message_2[1:])
        except Refused:
            continue
    raise AssertionError("nobody can read this message 2")


def _answer(case):
    responder = h.Responder(endpoint(case["responder"], case["deployment"]), lambda: [bytes.fromhex(psk) for psk in case["psks"]])
    state = case["state"]
    responder.draining = state.get("draining", False)
    responder.room = lambda: not state.get("full", False)
    responder.links = lambda: state.get("links", 0)
    first = bytes.fromhex(case["message_1"])
    e, clock = bytes.fromhex(case["responder"]["ephemeral"]), case["responder"]["clock"]
    if "seen_before_ms" in state:
        responder.answer(first, e, clock, 0)
    if state.get("replay_cache_full"):
        responder.cache = h.ReplayCache(0)
    return responder.answer(first, e, clock, state.get("seen_before_ms", 0))


def _closed():
    good = message_1()
    payload = p.encode(fields_1())

    def close(name, why, error, first, spec="3.4", **more):
        return _to_responder(name, spec, why, error, first, **more)

    yield close("message_1_under_another_secret", "A stranger: one silent close.", "unauthenticated", message_1(psk=OTHER_PSK))
    yield close("message_1_under_neither_secret", "Both are tried, neither opens it.", "unauthenticated", message_1(psk=seed("a third psk")), psks=(PSK, OTHER_PSK))
    yield close("message_1_of_another_deployment", "Bound by the prologue, although the psk is the same here.", "unauthenticated", message_1(deployment="other"))
    yield close("message_1_roles_swapped_in_the_prologue", "A coreapp that dials.", "unauthenticated", sealed_1(payload, prologue=h.prologue(b"default", initiator=2, responder=1)), spec="3.2")
    yield close("message_1_version_2_in_the_prologue", "The version byte says 1, the prologue 2.", "unauthenticated", sealed_1(payload, prologue=h.prologue(b"default", version=2)), spec="3.2")
    yield close("message_1_prologue_without_deployment", "Another program's prologue.", "unauthenticated", sealed_1(payload, prologue=b"wa-sidecar\1\1\2"), spec="3.2")
    yield close("message_1_version_byte_0", "Closed as for a failed authentication.", "version", b"\0" + good[1:], spec="3.1")
    yield close("message_1_version_byte_2", "Closed as for a failed authentication.", "version", b"\2" + good[1:], spec="3.1")
    for label, at in (("ephemeral", 1), ("payload", 33), ("padding", 495), ("tag", 511)):
        yield close(f"message_1_{label}_flipped", "One bit.", "unauthenticated", flip(good, at))
    yield close("message_1_zeros", "512 zeros.", "version", bytes(512))
    yield close("message_1_http", "A browser at the wrong port.", "version", b"GET / HTTP/1.1\r\nHost: core\r\n\r\n".ljust(512, b" "))
    yield close("message_1_cut_off", "511 bytes, then the end.", "bad_length", good[:511])
    yield close("message_1_replayed", "The same bytes 20.9 s later, the clocks as before.", "replay", good, state={"seen_before_ms": 20900})
    yield close("message_1_replayed_at_once", "The same bytes again.", "replay", good, state={"seen_before_ms": 0})
    yield close("message_2_as_message_1", "The responder's own answer sent back to it.", "unauthenticated", answer_to(good, p.encode(fields_2())))


    for label, point in LOW_ORDER.items():
        weak = _weak_1(point, p.encode(fields_1()))
        yield close(f"message_1_ephemeral_of_low_order_{label}", "Made with the secret, but X25519 would give zeros: the link's keys would not be fresh.", "unauthenticated", weak, spec="3.2")
    yield close("message_1_ephemeral_of_low_order_when_draining", "Nothing is sent, not even a refusal.", "unauthenticated", weak, spec="3.2", state={"draining": True})


def _weak_1(point, payload):
    noise = Handshake(PSK, h.prologue(b"default"), E_I)
    noise.state.mix_key_and_hash(PSK)
    noise._mix_e(point)
    return b"\1" + point + noise.state.encrypt_and_hash(payload)


def _weak_2(first, point):
    noise = Handshake(PSK, h.prologue(b"default"), E_R)
    noise.read_1(first[1:])
    noise._mix_e(point)
    noise.state.mix_key(bytes(32))
    return b"\1" + point + noise.state.encrypt_and_hash(p.encode(fields_2()))


def _refused():
    def no(name, why, error, first, spec="3.4", **more):
        return _to_responder("refused_" + name, spec, why, error, first, **more)

    for skew in (10001, -10001):
        label = "ahead" if skew > 0 else "behind"
        yield no(f"clock_10001_{label}", "The responder's clock minus the initiator's is the figure.", "clock_skew", message_1(), skew=skew)
    yield no("clock_0", "A clock that was never set.", "clock_skew", message_1(clock=0))
    yield no("clock_2_64", "The difference does not fit an i64: its end is the figure, nothing wraps.", "clock_skew", message_1(clock=(1 << 64) - 1))
    meant = INITIATOR | {"peer_name": "core-c"}
    yield no("peer_name_of_another_node", "A link for node C led to node B.", "peer_name", message_1(meant))
    nameless = {name: value for name, value in RESPONDER.items() if name != "name"}
    yield no("peer_name_at_a_nameless_responder", "It has no name, so it is not the one that is meant.", "peer_name", message_1(meant), responder=nameless)
    yield no("peer_name_differs_in_case", "Names are bytes.", "peer_name", message_1(INITIATOR | {"peer_name": "Core-B"}))
    yield no("self_dial", "Led back to the dialler.", "self_dial", message_1(INITIATOR | {"instance": RESPONDER["instance"]}))
    yield no("draining", "It is stopping.", "draining", message_1(), state={"draining": True})
    yield no("busy", "No room for a link; the figure is how many there are.", "busy", message_1(), state={"full": True, "links": 64})
    yield no("busy_replay_cache_full", "What cannot be remembered is not accepted.", "busy", message_1(), state={"replay_cache_full": True, "links": 3})
    yield no("no_common_suite", "It offers AES-256-GCM alone, which this responder is not configured for.", "no_common_suite", message_1(INITIATOR | {"suites": "02"}))
    yield no("no_known_suite", "Suites of a later version alone.", "no_common_suite", message_1(INITIATOR | {"suites": "7f80"}))
    missing = {name: value for name, value in fields_1().items() if name != "window"}
    yield no("malformed_without_window", "Authenticated, but not well formed.", "malformed", sealed_1(p.encode(missing)))
    yield no("malformed_padding", "Authenticated, but the padding is not zero.", "malformed", sealed_1(p.encode(fields_1())[:-1] + b"\1"))
    yield no("malformed_before_clock_skew", "The order of steps.", "malformed", sealed_1(p.encode(missing | {"clock": 0})))
    yield no("clock_skew_before_peer_name", "The order of steps.", "clock_skew", message_1(meant, clock=0))
    yield no("peer_name_before_self_dial", "The order of steps.", "peer_name", message_1(meant | {"instance": RESPONDER["instance"]}))
    yield no("self_dial_before_draining", "The order of steps.", "self_dial", message_1(INITIATOR | {"instance": RESPONDER["instance"]}), state={"draining": True})
    yield no("draining_before_no_common_suite", "The order of steps.", "draining", message_1(INITIATOR | {"suites": "02"}), state={"draining": True})
    yield no("no_common_suite_before_busy", "The order of steps: room is asked for last.", "no_common_suite", message_1(INITIATOR | {"suites": "02"}), state={"full": True, "links": 64})
    yield no("busy_replay_cache_full_before_peer_name", "The order of steps.", "busy", message_1(meant), state={"replay_cache_full": True, "links": 3})
    yield no("under_the_previous_secret", "Refused under the secret that opened message 1.", "draining", message_1(psk=OTHER_PSK), psks=(PSK, OTHER_PSK), state={"draining": True})


# What the initiator concludes from message 2


def _to_initiator(name, spec, why, error, second, initiator=INITIATOR, deployment="default"):
    dial = h.Dial(PSK, endpoint(initiator, deployment), E_I, CLOCK)
    case = {
        "receiver": "initiator",
        "deployment": deployment,
        "psk": PSK.hex(),
        "initiator": initiator | {"ephemeral": E_I.hex(), "clock": CLOCK},
        "message_1": dial.message_1.hex(),
        "message_2": second.hex(),
    }
    if error is None:
        return ok(name, spec, why, **case)
    return refuse(name, spec, error, why, **case)


def _concluded():
    first = message_1()
    good = answer_to(first, p.encode(fields_2()))

    def no(name, why, error, second, spec="3.5", **more):
        return _to_initiator("message_2_" + name, spec, why, error, second, **more)

    for code, word in enumerate(p.RESULTS):
        if code:
            figure = {1: -12345, 4: 64}.get(code, 0)
            yield no(f"says_{word}", "A refusal that the operator can read.", f"refused_{word}", answer_to(first, refusal(code, figure)))
    yield no("says_an_unknown_code", "An unknown result is a refusal.", "refused_unknown", answer_to(first, refusal(200, 0)))
    yield no("refuses_with_link_fields", "The result decides, not what else stands there.", "refused_draining", answer_to(first, p.encode(fields_2(result=(7, 0)))))
    meant = INITIATOR | {"peer_name": "core-b"}
    first_meant = message_1(meant)
    nameless = {name: value for name, value in fields_2().items() if name != "name"}
    yield no("of_another_name", "It accepts, but it is not the one that was meant.", "name_mismatch", answer_to(first_meant, p.encode(fields_2(name=b"core-c"))), initiator=meant)
    yield no("without_the_name_meant", "It accepts, but does not say who it is.", "name_mismatch", answer_to(first_meant, p.encode(nameless)), initiator=meant)
    yield _to_initiator("message_2_without_a_name_nobody_asked_for", "3.5", "No peer_name was sent.", None, answer_to(first, p.encode(nameless)))
    yield no("chooses_a_suite_not_offered", "Never offered.", "suite_not_offered", answer_to(first, p.encode(fields_2(suites=b"\2"))))
    yield no("chooses_an_unknown_suite", "Nobody knows it.", "suite_not_offered", answer_to(first, p.encode(fields_2(suites=b"\x7f"))))
    yield no("version_byte_2", "The version is not negotiated.", "version", b"\2" + good[1:], spec="3.1")
    for label, at in (("ephemeral", 1), ("payload", 33), ("tag", 511)):
        yield no(f"{label}_flipped", "One bit.", "unauthenticated", flip(good, at))
    for label, point in LOW_ORDER.items():
        yield no(f"ephemeral_of_low_order_{label}", "Made with the secret, but X25519 gives zeros.", "unauthenticated", _weak_2(first, point), spec="3.2")
    yield no("cut_off", "511 bytes, then the end.", "unauthenticated", good[:511])
    yield no("never_comes", "A silent close: wrong secret, other deployment, no wa-sidecar; nothing tells which.", "unauthenticated", b"")
    yield no("is_message_1_reflected", "Its own bytes sent back.", "unauthenticated", first)
    other_first = h.Dial(PSK, endpoint(INITIATOR), seed("another ephemeral"), CLOCK).message_1
    yield no("of_another_link", "A recorded answer to another message 1 under the same secret.", "unauthenticated", answer_to(other_first, p.encode(fields_2())))
    yield no("by_who_lacks_the_secret", "A man in the middle who answers with a psk of his own.", "unauthenticated", _forged(first))
    yield no("malformed", "Authenticated, but accepted without a window.", "malformed", answer_to(first, p.encode({name: value for name, value in fields_2().items() if name != "window"})))
    yield no("with_peer_name", "Never in message 2.", "malformed", answer_to(first, p.encode(fields_2(peer_name=b"web-1"))), spec="3.3")


def _forged(first):
    noise = Handshake(OTHER_PSK, h.prologue(b"default"), E_R)
    noise.state.mix_key_and_hash(OTHER_PSK)
    noise.remote = first[1:33]
    noise._mix_e(noise.remote)
    noise.state.mix_hash(first[33:])
    return b"\1" + noise.write_2(p.encode(fields_2()))


def run(case):
    if case["receiver"] == "responder":
        answer = _answer(case)
        same(answer.message_2 is not None, case["outcome"] == "refuse", "an answer")
        if answer.message_2 is not None:
            same(answer.message_2.hex(), case["message_2"], "message 2")
        raise Refused(answer.word)
    initiator = case["initiator"]
    dial = h.Dial(bytes.fromhex(case["psk"]), endpoint(initiator, case["deployment"]), bytes.fromhex(initiator["ephemeral"]), initiator["clock"])
    same(dial.message_1.hex(), case["message_1"], "message 1")
    link = dial.conclude(bytes.fromhex(case["message_2"]))
    if case["receiver"] == "initiator":
        return
    answer = _answer(case | {"state": {}})
    same(answer.message_2.hex(), case["message_2"], "message 2")
    for side in (link, answer.established):
        got = (side.h.hex(), side.k_i.hex(), side.k_r.hex(), side.suite, side.max_streams)
        same(got, tuple(case[name] for name in ("h", "k_i", "k_r", "suite", "max_streams")), "link")
    for name, k in (("frame_0", link.k_i), ("first_responder_frame", link.k_r)):
        wanted = case[name]
        plaintext = encode_all([from_printable(message) for message in wanted["messages"]])
        same(Sealer(k, link.h, link.suite).seal(plaintext, wanted["timestamp"]).hex(), wanted["frame"], name)
        same(Opener(k, link.h, link.suite).open(bytes.fromhex(wanted["frame"])), plaintext, name)
