"""rekey/: frames around a REKEY, for a responder and for an initiator (SPEC 11)."""

from wa_reference import message as m
from wa_reference.frame import Sealer
from wa_reference.handshake import prologue
from wa_reference.noise import Handshake
from wa_reference.payload import AES, CHACHA

from .case import flip, ok, refuse, same, seed
from .handshake import LOW_ORDER
from .script import CLOCK_I, CLOCK_R, Driven, established, unordered

PSK, OTHER_PSK = seed("psk"), seed("psk of another secret")
H, K_I, K_R = seed("h of the first epoch"), seed("k_i of the first epoch"), seed("k_r of the first epoch")
E_I, E_R = seed("rekey ephemeral of the initiator"), seed("rekey ephemeral of the responder")
LINK_PROLOGUE = prologue(b"default")


def exchange(psk=PSK, h=H, start=LINK_PROLOGUE, label=b"rekey", payload=b""):
    """Both Noise messages and what comes of them."""
    text = label + start + h
    initiator, responder = Handshake(psk, text, E_I), Handshake(psk, text, E_R)
    first = initiator.write_1(payload)
    responder.read_1(first)
    second = responder.write_2(b"")
    initiator.read_2(second)
    return first, second, initiator.h, *initiator.split()


class Peer:
    """Seals for the peer of the link under test: old epoch, then new."""

    def __init__(self, role, suite):
        self.responder_under_test = role == "responder"
        self.suite = suite
        self.at = 0
        self.sealer = Sealer(K_I if self.responder_under_test else K_R, H, suite)
        self.old = self.sealer

    def new_epoch(self, h, k_i, k_r, counter=0):
        self.old = self.sealer
        self.sealer = Sealer(k_i if self.responder_under_test else k_r, h, self.suite, counter)

    def frame(self, *messages, sealer=None, **more):
        self.at += 10
        stamp = (CLOCK_I if self.responder_under_test else CLOCK_R) + self.at
        plaintext = m.encode_all(messages)
        frame = (sealer or self.sealer).seal(plaintext, stamp)
        printed = [m.printable(message) for message in messages]
        return {"at": self.at, "messages": printed, "receive": frame.hex()} | more


def ping(n=1):
    return m.make("PING", token=n, clock=CLOCK_I)


def pong(n=1):
    return {"type": "PONG", "token": n}


def rekey1(noise):
    return m.make("REKEY1", noise=noise)


def rekey2(noise, status=0):
    return m.make("REKEY2", status=status, noise=noise)


REKEY3 = m.make("REKEY3")
REFUSAL = rekey2(bytes(48), 1)
REFUSED = m.printable(REFUSAL)


def _case(role, steps, suite=CHACHA, psks=(PSK,), new=None):
    first, second, h, k_i, k_r = new or exchange()
    return {
        "role": role,
        "suite": suite,
        "prologue": LINK_PROLOGUE.hex(),
        "psks": [psk.hex() for psk in psks],
        "clock_initiator": CLOCK_I,
        "clock_responder": CLOCK_R,
        "old": {"h": H.hex(), "k_i": K_I.hex(), "k_r": K_R.hex()},
        "ephemeral": (E_R if role == "responder" else E_I).hex(),
        "peer_ephemeral": (E_I if role == "responder" else E_R).hex(),
        "new": {"h": h.hex(), "k_i": k_i.hex(), "k_r": k_r.hex()},
        "steps": steps,
    }


def cases():
    yield from _responder()
    yield from _initiator()


def _responder():
    first, second, h, k_i, k_r = exchange()
    accepted = [m.printable(rekey2(second))]

    def start(suite=CHACHA):
        peer = Peer("responder", suite)
        return peer, [peer.frame(ping(), answers=[pong()])]

    def after_rekey1(suite=CHACHA):
        peer, steps = start(suite)
        return peer, steps + [peer.frame(rekey1(first), answers=accepted)]

    def after_rekey3(suite=CHACHA):
        peer, steps = after_rekey1(suite)
        steps.append(peer.frame(REKEY3, answers=[]))
        peer.new_epoch(h, k_i, k_r)
        return peer, steps

    for suite, label in ((CHACHA, ""), (AES, "_aes_256_gcm")):
        peer, steps = after_rekey3(suite)
        steps.append(peer.frame(ping(2), answers=[pong(2)]))
        yield ok(f"responder_whole{label}", "11", "Old keys to REKEY3, new keys and counter 0 from the next frame.", **_case("responder", steps, suite))

    peer, steps = after_rekey1()
    steps += [peer.frame(ping(2), answers=[pong(2)]), peer.frame(ping(3), REKEY3, answers=[pong(3)])]
    peer.new_epoch(h, k_i, k_r)
    steps.append(peer.frame(ping(4), answers=[pong(4)]))
    yield ok("responder_old_frames_until_rekey3", "11", "The directions switch one after the other; REKEY3 may end a frame with more in it.", **_case("responder", steps))

    new = exchange(OTHER_PSK)
    peer, steps = start()
    steps += [peer.frame(rekey1(new[0]), answers=[m.printable(rekey2(new[1]))]), peer.frame(REKEY3, answers=[])]
    peer.new_epoch(*new[2:])
    steps.append(peer.frame(ping(2), answers=[pong(2)]))
    yield ok("responder_under_the_previous_secret", "11", "The current secret is tried first, then the previous.", **_case("responder", steps, psks=(PSK, OTHER_PSK), new=new))

    peer, steps = start()
    steps += [peer.frame(rekey1(new[0]), answers=[REFUSED]), peer.frame(ping(2), answers=[pong(2)]), peer.frame(rekey1(first), answers=accepted), peer.frame(REKEY3, answers=[])]
    peer.new_epoch(h, k_i, k_r)
    steps.append(peer.frame(ping(3), answers=[pong(3)]))
    yield ok("responder_refuses_then_accepts", "11", "A refusal changes nothing and stands in nobody's way.", **_case("responder", steps))

    def refused(name, why, bad, psks=(PSK,)):
        peer, steps = start()
        steps += [peer.frame(rekey1(bad), answers=[REFUSED]), peer.frame(ping(2), answers=[pong(2)])]
        return refuse(f"responder_{name}", "11", "rekey_refused", why + " Status 1; the link goes on under its old keys.", **_case("responder", steps, psks=psks), fatal=False)

    yield refused("rekey1_under_another_secret", "The initiator's secret is not known here.", exchange(OTHER_PSK)[0])
    yield refused("rekey1_without_the_previous_h", "The prologue lacks h of the previous epoch.", exchange(h=b"")[0])
    yield refused("rekey1_with_h_of_another_link", "Spliced in from another link.", exchange(h=seed("another h"))[0])
    yield refused("rekey1_without_the_label", "The prologue lacks \"rekey\".", exchange(label=b"")[0])
    yield refused("rekey1_of_another_deployment", "The prologue of the link is another.", exchange(start=prologue(b"other"))[0])
    yield refused("rekey1_flipped", "One bit.", flip(first, 40))

    def fatal(name, error, why, steps):
        return refuse(f"responder_{name}", "11", error, why, **_case("responder", steps), fatal=True)

    peer, steps = start()
    yield fatal("rekey3_unasked", "rekey", "There was no REKEY2.", steps + [peer.frame(REKEY3)])
    peer, steps = start()
    steps += [peer.frame(rekey1(exchange(OTHER_PSK)[0]), answers=[REFUSED]), peer.frame(REKEY3)]
    yield fatal("rekey3_after_a_refusal", "rekey", "Nobody switches after a refusal.", steps)
    peer, steps = start()
    yield fatal("rekey3_in_the_frame_of_rekey1", "rekey", "It cannot have seen REKEY2.", steps + [peer.frame(rekey1(first), REKEY3)])
    for label, point in LOW_ORDER.items():
        peer, steps = start()
        yield fatal(f"rekey1_of_low_order_{label}", "rekey", "It authenticates, but X25519 gives zeros (3.2): no new key is in it.", steps + [peer.frame(rekey1(_weak_1(point)))])
    peer, steps = after_rekey1()
    yield fatal("rekey1_while_one_is_under_way", "rekey", "One at a time.", steps + [peer.frame(rekey1(first))])
    peer, steps = start()
    yield fatal("rekey1_twice_in_a_frame", "rekey", "One at a time.", steps + [peer.frame(rekey1(first), rekey1(first))])
    peer, steps = after_rekey1()
    yield fatal("message_behind_rekey3", "rekey", "REKEY3 is the last message of its frame.", steps + [peer.frame(REKEY3, ping(2))])
    peer, steps = after_rekey1()
    yield fatal("rekey3_twice_in_a_frame", "rekey", "REKEY3 is the last message of its frame.", steps + [peer.frame(REKEY3, REKEY3)])
    peer, steps = after_rekey3()
    yield fatal("rekey3_again_under_the_new_keys", "rekey", "Once an exchange.", steps + [peer.frame(REKEY3)])
    peer, steps = after_rekey3()
    yield fatal("frame_under_the_old_key_after_the_switch", "bad_counter", "Its counter goes on, so it falls there; never tried under two keys.", steps + [peer.frame(ping(2), sealer=peer.old)])
    peer, steps = after_rekey3()
    yield fatal("old_key_with_counter_0_after_the_switch", "bad_tag", "The old epoch's first frame once more.", steps + [peer.frame(ping(1), sealer=Sealer(K_I, H, CHACHA))])
    peer, steps = after_rekey3()
    peer.new_epoch(h, k_i, k_r, counter=3)
    yield fatal("new_epoch_whose_counter_goes_on", "bad_counter", "Counters start again from 0.", steps + [peer.frame(ping(2))])
    peer, steps = after_rekey1()
    peer.new_epoch(h, k_i, k_r)
    yield fatal("new_key_before_rekey3", "bad_counter", "The initiator's direction switches behind REKEY3, not before.", steps + [peer.frame(ping(2))])
    peer, steps = after_rekey1()
    peer.new_epoch(h, k_i, k_r, counter=2)
    yield fatal("new_key_in_the_old_epoch", "bad_tag", "The counter is right, the key is not yet.", steps + [peer.frame(ping(2))])
    peer, steps = after_rekey3()
    peer.new_epoch(h, k_r, k_i)
    yield fatal("new_keys_of_the_wrong_direction", "bad_tag", "k_i and k_r swapped: a frame reflected across a rekey.", steps + [peer.frame(ping(2))])


def _initiator():
    first, second, h, k_i, k_r = exchange()

    def start(suite=CHACHA, asked=True):
        peer = Peer("initiator", suite)
        steps = [peer.frame(ping(), answers=[pong()])]
        if asked:
            peer.at += 10
            steps.append({"at": peer.at, "do": "rekey", "answers": [m.printable(rekey1(first))]})
        return peer, steps

    def accepted(suite=CHACHA):
        peer, steps = start(suite)
        steps.append(peer.frame(rekey2(second), answers=[m.printable(REKEY3)]))
        peer.new_epoch(h, k_i, k_r)
        return peer, steps

    for suite, label in ((CHACHA, ""), (AES, "_aes_256_gcm")):
        peer, steps = accepted(suite)
        steps.append(peer.frame(ping(2), answers=[pong(2)]))
        yield ok(f"initiator_whole{label}", "11", "REKEY3 under the old keys, everything after it under the new.", **_case("initiator", steps, suite))
    peer, steps = start()
    steps += [peer.frame(ping(2), answers=[pong(2)]), peer.frame(ping(3), rekey2(second), answers=[pong(3), m.printable(REKEY3)])]
    peer.new_epoch(h, k_i, k_r)
    steps.append(peer.frame(ping(4), answers=[pong(4)]))
    yield ok("initiator_old_frames_until_rekey2", "11", "REKEY2 may end a frame with more in it.", **_case("initiator", steps))
    for status in (1, 255):
        peer, steps = start()
        steps += [peer.frame(rekey2(bytes(48), status), answers=[]), peer.frame(ping(2), answers=[pong(2)])]
        yield ok(f"initiator_refused_with_status_{status}", "11", "Nothing changes; it may try again after 60 s.", **_case("initiator", steps))
    peer, steps = start()
    steps += [peer.frame(REFUSAL, ping(2), answers=[pong(2)])]
    yield ok("initiator_message_behind_a_refusing_rekey2", "11", "Only an accepting REKEY2 is the last of its frame.", **_case("initiator", steps))

    def fatal(name, error, why, steps):
        return refuse(f"initiator_{name}", "11", error, why, **_case("initiator", steps), fatal=True)

    peer, steps = start(asked=False)
    yield fatal("rekey2_unasked", "rekey", "There was no REKEY1.", steps + [peer.frame(rekey2(second))])
    peer, steps = start(asked=False)
    yield fatal("refusal_unasked", "rekey", "There was no REKEY1.", steps + [peer.frame(REFUSAL)])
    peer, steps = start()
    steps += [peer.frame(REFUSAL, answers=[])]
    yield fatal("rekey2_twice", "rekey", "Refused, then accepted after all.", steps + [peer.frame(rekey2(second))])
    peer, steps = accepted()
    yield fatal("rekey2_again_under_the_new_keys", "rekey", "Once an exchange.", steps + [peer.frame(rekey2(second))])
    for name, why, noise in (
        ("rekey2_flipped", "It accepts and does not authenticate.", flip(second, 40)),
        ("rekey2_zeros", "It accepts with nothing.", bytes(48)),
        ("rekey2_under_another_secret", "The responder mixed in another psk.", _answered(OTHER_PSK, first)),
        ("rekey2_of_low_order", "X25519 gives zeros (3.2).", _weak_2(first, bytes(32))),
        ("rekey2_without_the_previous_h", "An exchange that is not bound to this link.", exchange(h=b"")[1]),
        ("rekey2_with_h_of_another_link", "Spliced in from another link.", exchange(h=seed("another h"))[1]),
    ):
        peer, steps = start()
        yield fatal(name, "rekey", why, steps + [peer.frame(rekey2(noise))])
    peer, steps = start()
    yield fatal("message_behind_rekey2", "rekey", "An accepting REKEY2 is the last message of its frame.", steps + [peer.frame(rekey2(second), ping(2))])
    peer, steps = accepted()
    yield fatal("frame_under_the_old_key_after_the_switch", "bad_counter", "Never tried under two keys.", steps + [peer.frame(ping(2), sealer=peer.old)])
    peer, steps = accepted()
    yield fatal("old_key_with_counter_0_after_the_switch", "bad_tag", "The old epoch's first frame once more.", steps + [peer.frame(ping(1), sealer=Sealer(K_R, H, CHACHA))])
    peer, steps = start()
    steps += [peer.frame(REFUSAL, answers=[])]
    peer.new_epoch(h, k_i, k_r)
    yield fatal("new_key_after_a_refusal", "bad_counter", "Nobody switches after a refusal.", steps + [peer.frame(ping(2))])
    peer, steps = start()
    peer.new_epoch(h, k_i, k_r)
    yield fatal("new_key_before_rekey2", "bad_counter", "The responder's direction switches behind REKEY2.", steps + [peer.frame(ping(2))])


def _answered(psk, first):
    """Message 2 of a responder that skipped message 1's tag and has another psk."""
    noise = Handshake(psk, b"rekey" + LINK_PROLOGUE + H, E_R)
    noise.state.mix_key_and_hash(psk)
    noise.remote = first[:32]
    noise._mix_e(noise.remote)
    noise.state.mix_hash(first[32:])
    return noise.write_2(b"")


def _weak_1(point):
    noise = Handshake(PSK, b"rekey" + LINK_PROLOGUE + H, E_I)
    noise.state.mix_key_and_hash(PSK)
    noise._mix_e(point)
    return point + noise.state.encrypt_and_hash(b"")


def _weak_2(first, point):
    noise = Handshake(PSK, b"rekey" + LINK_PROLOGUE + H, E_R)
    noise.read_1(first)
    noise._mix_e(point)
    noise.state.mix_key(bytes(32))
    return point + noise.state.encrypt_and_hash(b"")


def run(case):
    from wa_reference.errors import Refused

    x = bytes.fromhex
    old = case["old"]
    initiator = case["role"] == "initiator"
    start = established(4096, 4096, 4, initiator, x(old["k_i"]), x(old["k_r"]), x(old["h"]), case["suite"])
    driven = Driven(case["role"], start, lambda: x(case["ephemeral"]), lambda: [x(psk) for psk in case["psks"]])
    driven.flush(0)
    refused = False
    for step in case["steps"]:
        if "receive" in step:
            driven.receive(x(step["receive"]), step["at"])
        else:
            driven.do(step, step["at"])
        answers = driven.flush(step["at"])
        if "answers" in step:
            same(unordered(answers), unordered(step["answers"]), "answers")
        refused |= REFUSED in answers
    if not initiator and refused and case["expect"] == "refuse":
        raise Refused("rekey_refused")
    if not refused and "status" not in case["name"] and "refusing" not in case["name"]:
        same(driven.link.h, x(case["new"]["h"]), "h")
