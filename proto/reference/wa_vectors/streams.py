"""streams/: messages that a link receives, step by step, and what comes of them (SPEC 3.6 and 7 to 12)."""

from wa_reference import message as m
from wa_reference.errors import Fatal

from .case import ok, refuse, same, seed
from .script import CLOCK_I, Driven, established, peer_sealer, unordered

OWN_WINDOW, PEER_WINDOW, MAX_STREAMS = 4096, 2048, 4
H, K_I, K_R = seed("h"), seed("k_i"), seed("k_r")
BOUND = 1 << 62


def OPEN(ident, service=b""):
    return m.make("OPEN", id=ident, service=service)


def DATA(ident, size):
    return m.make("DATA", id=ident, data=bytes(size))


def CREDIT(ident, limit):
    return m.make("CREDIT", id=ident, limit=limit)


def YIELD(ident, limit):
    return m.make("YIELD", id=ident, limit=limit)


def FIN(ident, offset=0):
    return m.make("FIN", id=ident, offset=offset)


def RESET(ident, code=m.APP_RESET):
    return m.make("RESET", id=ident, code=code)


def STOP(ident, code=m.APP_RESET):
    return m.make("STOP", id=ident, code=code)


def GOAWAY(code=0):
    return m.make("GOAWAY", code=code)


def PING(token=9):
    return m.make("PING", token=token, clock=CLOCK_I)


def PONG(token):
    return m.make("PONG", token=token, clock=CLOCK_I)


def rx(*messages, says=None):
    """Receive these in one frame; `says`: exactly what is answered (PING, CREDIT, YIELD, DATA and OPEN are left out)."""
    step = {"receive": [m.printable(message) for message in messages]}
    return step if says is None else step | {"answers": says}


def do(act, ident=None, says=None, **more):
    step = {"do": act} | ({} if ident is None else {"id": ident}) | more
    return step if says is None else step | {"answers": says}


def says(kind, **fields):
    return {"type": kind} | fields


def answer(ident):
    return says("RESET", id=ident, code=m.ANSWER)


CASES = []


def good(name, spec, why, *steps, role="responder", live=(), confirmed=True, **apps):
    apps = {ident[1:]: {"bytes": size, "end": end} for ident, (size, end) in apps.items()}
    CASES.append(ok(name, spec, why, **_state(role, confirmed), steps=list(steps), live=list(live), apps=apps))


def bad(name, spec, error, why, *steps, role="responder", confirmed=True):
    CASES.append(refuse(name, spec, error, why, **_state(role, confirmed), steps=list(steps)))


def _state(role, confirmed):
    return {"role": role, "window": OWN_WINDOW, "peer_window": PEER_WINDOW, "max_streams": MAX_STREAMS, "confirmed": confirmed}


def cases():
    CASES.clear()
    _frame_0()
    _ids_and_limit()
    _data_and_credit()
    _yield()
    _fin()
    _reset()
    _stop()
    _link()
    _by_the_wrong_side()
    _at_the_initiator()
    return list(CASES)


def _frame_0():
    good("frame_0_ping", "3.6", "Exactly one PING confirms the link.", rx(PING(5), says=[says("PONG", token=5)]), rx(OPEN(1)), confirmed=False, live=[1], _1=(0, None))
    for name, why, messages in (
        ("open", "A dial before the sender has shown that it is no replay.", [OPEN(1)]),
        ("ping_and_open", "Exactly one message.", [PING(), OPEN(1)]),
        ("two_pings", "Exactly one message.", [PING(1), PING(2)]),
        ("pong", "A PING, nothing else.", [PONG(1)]),
        ("goaway", "A PING, nothing else.", [GOAWAY()]),
        ("over_512", "A length above 512 in frame 0 is refused with its header.", [PING(), OPEN(1), DATA(1, 1000)]),
    ):
        bad(f"frame_0_{name}", "3.6", "confirmation", why, rx(*messages), confirmed=False)


def _ids_and_limit():
    good("streams_to_the_limit", "7", "As many as the limit says.", rx(*(OPEN(n) for n in range(1, 5))), live=[1, 2, 3, 4], _1=(0, None), _2=(0, None), _3=(0, None), _4=(0, None))
    four = rx(*(OPEN(n) for n in range(1, 5)))
    good("limit_frees_when_a_stream_closes", "7", "The answer to the RESET has gone out: one live stream less.", four, rx(RESET(2), says=[answer(2)]), rx(OPEN(5)), live=[1, 3, 4, 5], _1=(0, None), _2=(0, "reset"), _3=(0, None), _4=(0, None), _5=(0, None))
    bad("open_over_the_limit", "7", "stream_limit", "One more than the limit.", four, rx(OPEN(5)))
    bad("open_over_the_limit_after_half_an_end", "7", "stream_limit", "One direction has ended, the other has not: the stream is live.", four, rx(FIN(1)), rx(OPEN(5)))
    bad("open_over_the_limit_before_the_answer", "7", "stream_limit", "A reset stream is live until its answer is sealed: open and reset in one breath gains nothing.", four, rx(RESET(1), OPEN(5)))
    bad("open_id_0", "7", "stream_id", "Ids start at 1.", rx(OPEN(0)))
    bad("open_first_id_2", "7", "stream_id", "Ids start at 1.", rx(OPEN(2)))
    bad("open_id_skipped", "7", "stream_id", "The previous plus 1.", rx(OPEN(1), OPEN(3)))
    bad("open_id_repeated", "7", "stream_id", "The stream is live.", rx(OPEN(1)), rx(OPEN(1)))
    bad("open_id_reused_after_its_end", "7", "stream_id", "Ids are not used again.", rx(OPEN(1), RESET(1)), rx(OPEN(1)))
    bad("open_id_going_back", "7", "stream_id", "The previous plus 1.", rx(OPEN(1), OPEN(2)), rx(OPEN(1)))
    bad("open_id_last", "7", "stream_id", "A jump to the end of the range.", rx(OPEN(0xFFFFFFFF)))
    for message in (DATA(7, 1), FIN(7), YIELD(7, 9000), RESET(7), CREDIT(7, 9000), STOP(7)):
        bad(f"{message['type'].lower()}_on_an_id_not_yet_opened", "7", "stream_id", "Nobody opened it.", rx(OPEN(1)), rx(message))
    bad("data_on_id_0", "7", "stream_id", "There is no stream 0.", rx(OPEN(1)), rx(DATA(0, 1)))
    bad("data_before_its_open_in_the_same_frame", "7", "stream_id", "Messages are taken in order.", rx(DATA(1, 1), OPEN(1)))


def _data_and_credit():
    good("credit_spent_to_the_last_byte", "8", "The window, in two messages, and FIN, which needs none.", rx(OPEN(1), DATA(1, 4095), DATA(1, 1), FIN(1, 4096)), live=[1], _1=(4096, "fin"))
    good("credit_extended", "8", "A CREDIT that was given counts.", rx(OPEN(1), DATA(1, 4096)), do("credit", 1, limit=12288), rx(DATA(1, 8192)), live=[1], _1=(12288, None))
    good("credit_is_per_stream", "8", "There is no window of the link.", rx(OPEN(1), OPEN(2), DATA(1, 4096), DATA(2, 4096)), live=[1, 2], _1=(4096, None), _2=(4096, None))
    good("credit_to_the_greatest_limit", "7", "2^62 - 1.", rx(OPEN(1), CREDIT(1, BOUND - 1)), live=[1], _1=(0, None))
    good("credit_after_the_own_fin_is_ignored", "7", "It crossed the end; its figure is not looked at.", rx(OPEN(1)), do("fin", 1), rx(CREDIT(1, 2049), CREDIT(1, 1)), live=[1], _1=(0, None))
    good("credit_after_the_peers_fin", "7", "It is about the other direction.", rx(OPEN(1), FIN(1)), rx(CREDIT(1, 5000)), do("send", 1, bytes=5000), live=[1], _1=(0, "fin"))
    good("credit_on_a_closed_id_is_ignored", "7", "It crossed the end.", rx(OPEN(1), FIN(1)), do("fin", 1), rx(CREDIT(1, 1)), _1=(0, "fin"))
    good("credit_on_an_id_reset_and_answered_is_ignored", "7", "The id is closed.", rx(OPEN(1), RESET(1), says=[answer(1)]), rx(CREDIT(1, 9000)), _1=(0, "reset"))
    bad("data_one_byte_over_the_window", "8", "credit_overrun", "4,097 bytes on a window of 4,096.", rx(OPEN(1), DATA(1, 4097)))
    bad("data_over_the_window_in_two_messages", "8", "credit_overrun", "The sum counts.", rx(OPEN(1), DATA(1, 4096)), rx(DATA(1, 1)))
    bad("data_over_an_extended_limit", "8", "credit_overrun", "One byte.", rx(OPEN(1), DATA(1, 4096)), do("credit", 1, limit=12288), rx(DATA(1, 8193)))
    bad("data_over_the_window_of_a_stream_being_dialled", "8", "credit_overrun", "In the frame of its OPEN.", rx(OPEN(1), DATA(1, 4096), DATA(1, 4096)))
    bad("data_after_own_reset_over_the_window", "9.2", "credit_overrun", "What is discarded is still checked.", rx(OPEN(1)), do("break", 1), rx(DATA(1, 4097)))
    bad("credit_equal", "8", "bad_credit", "Not greater than the limit in force, which starts at the window.", rx(OPEN(1), CREDIT(1, 2048)))
    bad("credit_repeated", "8", "bad_credit", "Not greater.", rx(OPEN(1), CREDIT(1, 5000)), rx(CREDIT(1, 5000)))
    bad("credit_going_back", "8", "bad_credit", "Less than the limit in force.", rx(OPEN(1), CREDIT(1, 5000)), rx(CREDIT(1, 4999)))
    bad("credit_zero", "8", "bad_credit", "Less than the limit in force.", rx(OPEN(1), CREDIT(1, 0)))
    bad("credit_of_2_62", "7", "bad_credit", "Limits stay below 2^62.", rx(OPEN(1), CREDIT(1, BOUND)))
    bad("credit_of_2_64", "7", "bad_credit", "Limits stay below 2^62.", rx(OPEN(1), CREDIT(1, (1 << 64) - 1)))
    bad("credit_right_behind_a_reset", "7", "stream_state", "The stream is live until the answer is sealed; who has reset it has no credit to give.", rx(OPEN(1), RESET(1), CREDIT(1, 9000)))


def _yield():
    # 4,096 bytes on the window of 4,096, all taken by the app; then a limit of three windows.
    opened = (rx(OPEN(1), DATA(1, 4096)), do("credit", 1, limit=12288))
    good("yield_taken", "8", "The limit is now what was received plus the window.", *opened, rx(YIELD(1, 12288)), rx(DATA(1, 4096)), live=[1], _1=(8192, None))
    good("yield_taken_then_extended_again", "8", "The credit that was handed back can be given anew.", *opened, rx(YIELD(1, 12288)), rx(DATA(1, 4096)), do("credit", 1, limit=16384), rx(DATA(1, 8192)), live=[1], _1=(16384, None))
    good("yield_after_some_of_the_credit", "8", "One byte more than what is due is enough.", *opened, rx(DATA(1, 4095), YIELD(1, 12288)), rx(DATA(1, 4096)), live=[1], _1=(12287, None))
    extended = (*opened, rx(DATA(1, 4096)), do("credit", 1, limit=24576), rx(DATA(1, 8192)), do("credit", 1, limit=49152))
    good("yield_void", "8", "It crossed a greater CREDIT: that one is in force.", *extended, rx(YIELD(1, 24576)), rx(DATA(1, 32768)), live=[1], _1=(49152, None))
    good("yield_on_a_stream_the_receiver_has_reset", "9.2", "The peer's direction is open until its answer.", *opened, do("break", 1), rx(YIELD(1, 12288), DATA(1, 4096), RESET(1, m.ANSWER), says=[]))
    bad("yield_above_the_limit_given", "8", "bad_yield", "Credit that nobody gave.", *opened, rx(YIELD(1, 12289)))
    bad("yield_above_the_window", "8", "bad_yield", "Nothing was given beyond the window.", rx(OPEN(1), YIELD(1, 4097)))
    bad("yield_pointless", "8", "bad_yield", "The window itself is its due.", rx(OPEN(1), YIELD(1, 4096)))
    bad("yield_zero", "8", "bad_yield", "Less than what is due.", rx(OPEN(1), YIELD(1, 0)))
    bad("yield_pointless_after_data", "8", "bad_yield", "Not more than what was received plus the window.", *opened, rx(DATA(1, 4096), YIELD(1, 12288)))
    bad("yield_twice", "8", "bad_yield", "It is above the limit now.", *opened, rx(YIELD(1, 12288)), rx(YIELD(1, 12288)))
    bad("yield_void_but_pointless", "8", "bad_yield", "Void or not, it must be more than what is due.", *extended, rx(YIELD(1, 20480)))
    bad("data_over_what_is_left_after_a_yield", "8", "credit_overrun", "Handed back is handed back.", *opened, rx(YIELD(1, 12288)), rx(DATA(1, 4097)))
    bad("data_over_the_limit_that_made_a_yield_void", "8", "credit_overrun", "One byte.", *extended, rx(YIELD(1, 24576)), rx(DATA(1, 32769)))
    bad("yield_after_fin", "7", "stream_state", "The direction has ended.", *opened, rx(FIN(1, 4096), YIELD(1, 12288)))
    bad("yield_after_reset", "7", "stream_state", "The direction has ended.", *opened, rx(RESET(1), YIELD(1, 12288)))
    bad("yield_on_a_closed_id", "7", "stream_state", "The stream has ended.", *opened, rx(RESET(1), says=[answer(1)]), rx(YIELD(1, 12288)))


def _fin():
    good("fin_at_offset_0", "9.1", "An app that said nothing.", rx(OPEN(1), FIN(1, 0)), live=[1], _1=(0, "fin"))
    good("fin_both_ways", "7", "Both directions ended: the id is closed.", rx(OPEN(1), DATA(1, 3), FIN(1, 3)), do("send", 1, bytes=5), do("fin", 1, says=[says("FIN", id=1, offset=5)]), _1=(3, "fin"))
    good("fin_then_the_answer_flows", "7", "One direction has ended, the other goes on.", rx(OPEN(1), FIN(1)), do("send", 1, bytes=2048), rx(CREDIT(1, 4096)), do("send", 1, bytes=2048), do("fin", 1, says=[says("FIN", id=1, offset=4096)]), _1=(0, "fin"))
    good("fin_crosses_own_reset", "9.2", "It ended before it saw the RESET; nothing is answered.", rx(OPEN(1)), do("break", 1, says=[says("RESET", id=1, code=m.APP_RESET)]), rx(DATA(1, 50), FIN(1, 50), says=[]))
    bad("fin_offset_short", "9.1", "fin_offset", "Bytes were received that FIN denies.", rx(OPEN(1), DATA(1, 10), FIN(1, 9)))
    bad("fin_offset_long", "9.1", "fin_offset", "Bytes are missing: a cut answer never looks whole.", rx(OPEN(1), DATA(1, 10), FIN(1, 11)))
    bad("fin_offset_2_64", "9.1", "fin_offset", "Bytes are missing.", rx(OPEN(1), FIN(1, (1 << 64) - 1)))
    bad("fin_offset_wrong_after_own_reset", "9.1", "fin_offset", "What is discarded is still checked.", rx(OPEN(1)), do("break", 1), rx(DATA(1, 50), FIN(1, 49)))
    bad("fin_twice", "7", "stream_state", "The direction has ended.", rx(OPEN(1), FIN(1)), rx(FIN(1)))
    bad("data_after_fin", "7", "stream_state", "The direction has ended.", rx(OPEN(1), FIN(1)), rx(DATA(1, 1)))
    bad("data_after_fin_in_the_same_frame", "7", "stream_state", "The direction has ended.", rx(OPEN(1), FIN(1), DATA(1, 1)))
    bad("reset_after_fin", "7", "stream_state", "The direction has ended; STOP is what remains.", rx(OPEN(1), FIN(1)), rx(RESET(1)))
    bad("fin_after_reset", "7", "stream_state", "The direction has ended.", rx(OPEN(1), RESET(1), FIN(1)))
    for message in (DATA(1, 1), FIN(1), RESET(1)):
        bad(f"{message['type'].lower()}_on_a_closed_id", "7", "stream_state", "Both directions have ended.", rx(OPEN(1), FIN(1)), do("fin", 1), rx(message))


def _reset():
    good("reset_is_answered", "9.2", "One RESET with the code `answer`.", rx(OPEN(1), DATA(1, 10)), rx(RESET(1), says=[answer(1)]), _1=(10, "reset"))
    good("reset_right_behind_open", "9.2", "The dial is given up.", rx(OPEN(1, b"6250"), DATA(1, 10), RESET(1), says=[answer(1)]), _1=(10, "reset"))
    good("reset_after_own_fin_is_not_answered", "9.2", "The own direction has ended.", rx(OPEN(1)), do("fin", 1), rx(RESET(1), says=[]), _1=(0, "reset"))
    good("reset_crosses_own_reset", "9.2", "Each has ended its direction: no answer, the id is closed.", rx(OPEN(1)), do("break", 1, says=[says("RESET", id=1, code=m.APP_RESET)]), rx(RESET(1), says=[]))
    good("reset_with_an_unknown_code", "9", "Treated as 0.", rx(OPEN(1)), rx(RESET(1, 200), says=[answer(1)]), _1=(0, "reset"))
    good("data_after_own_reset_is_discarded", "9.2", "Until the answer: checked, thrown away.", rx(OPEN(1)), do("break", 1), rx(DATA(1, 4096)), rx(RESET(1, m.ANSWER), says=[]))
    good("many_streams_reset_in_a_frame", "9.2", "One answer each.", rx(OPEN(1), OPEN(2), RESET(2), RESET(1), says=[answer(2), answer(1)]), _1=(0, "reset"), _2=(0, "reset"))
    bad("reset_twice_in_a_frame", "7", "stream_state", "The direction has ended.", rx(OPEN(1), RESET(1), RESET(1)))
    bad("reset_of_an_answered_reset", "7", "stream_state", "The answer is not answered.", rx(OPEN(1), RESET(1), says=[answer(1)]), rx(RESET(1, m.ANSWER)))
    bad("data_behind_reset", "7", "stream_state", "Nothing follows the end of a direction.", rx(OPEN(1), RESET(1), DATA(1, 1)))
    bad("data_after_the_answer", "7", "stream_state", "The id is closed.", rx(OPEN(1), RESET(1), says=[answer(1)]), rx(DATA(1, 1)))
    bad("data_after_the_peers_answer", "7", "stream_state", "The peer has answered the own RESET: the id is closed.", rx(OPEN(1)), do("break", 1), rx(RESET(1, m.ANSWER)), rx(DATA(1, 1)))


def _stop():
    good("stop_is_answered", "9.3", "RESET with the code `answer`; what came before FIN is whole and is delivered.", rx(OPEN(1), DATA(1, 10), FIN(1, 10)), do("send", 1, bytes=100), rx(STOP(1), says=[answer(1)]), _1=(10, "fin"))
    good("stop_in_the_frame_of_fin", "9.3", "FIN first.", rx(OPEN(1), DATA(1, 10), FIN(1, 10), STOP(1), says=[answer(1)]), _1=(10, "fin"))
    good("stop_after_own_fin_is_ignored", "7", "It crossed the end: the id is closed.", rx(OPEN(1), FIN(1)), do("fin", 1), rx(STOP(1), says=[]), _1=(0, "fin"))
    good("stop_on_a_closed_id_is_ignored", "7", "The answer to the first has gone out, the second finds a closed id.", rx(OPEN(1), FIN(1)), rx(STOP(1), says=[answer(1)]), rx(STOP(1), says=[]), _1=(0, "fin"))
    good("stop_with_an_unknown_code", "9", "Treated as 0.", rx(OPEN(1), FIN(1)), rx(STOP(1, 99), says=[answer(1)]), _1=(0, "fin"))
    bad("stop_before_fin", "9.3", "stop_before_fin", "The own direction is open: RESET is what ends it.", rx(OPEN(1)), rx(STOP(1)))
    bad("stop_before_fin_after_the_receivers_fin", "9.3", "stop_before_fin", "Also when the direction to be stopped has ended.", rx(OPEN(1)), do("fin", 1), rx(STOP(1)))
    bad("stop_after_reset", "7", "stream_state", "RESET has asked for the other end already.", rx(OPEN(1), RESET(1), STOP(1)))
    bad("stop_twice_in_a_frame", "9.3", "second_stop", "Once a stream.", rx(OPEN(1), FIN(1)), rx(STOP(1), STOP(1)))
    bad("data_behind_stop", "7", "stream_state", "STOP stands behind FIN, so DATA does too.", rx(OPEN(1), FIN(1)), rx(STOP(1), DATA(1, 1)))


def _link():
    good("ping_is_answered", "10", "PONG with its token.", rx(PING(77), says=[says("PONG", token=77)]))
    good("pings_in_a_frame", "10", "The latest unanswered one needs an answer; a flood of them costs one.", rx(PING(1), PING(2), PING(3), says=[says("PONG", token=3)]))
    good("pong_with_another_token_is_ignored", "10", "Never asked.", rx(PONG(0xFFFFFFFFFFFFFFFF), says=[]))
    good("goaway_is_answered", "12", "The own GOAWAY, once.", rx(GOAWAY(), says=[says("GOAWAY", code=0)]))
    good("goaway_after_the_own_is_not_answered", "12", "It was sent already.", do("goaway", code=0, says=[says("GOAWAY", code=0)]), rx(GOAWAY(), says=[]))
    good("goaway_with_an_unknown_code", "12", "Treated as 0.", rx(GOAWAY(99), says=[says("GOAWAY", code=0)]))
    good("open_that_crosses_the_responders_goaway", "12", "Served until the initiator's own.", do("goaway", code=0), rx(OPEN(1), DATA(1, 5)), live=[1], _1=(5, None))
    good("streams_go_on_after_goaway", "12", "No new ones, but the live ones end in their own time.", rx(OPEN(1)), rx(GOAWAY()), rx(DATA(1, 5), FIN(1, 5)), do("fin", 1, says=[says("FIN", id=1, offset=0)]), _1=(5, "fin"))
    bad("goaway_twice", "12", "goaway", "Once a side.", rx(GOAWAY()), rx(GOAWAY()))
    bad("goaway_twice_in_a_frame", "12", "goaway", "Once a side.", rx(GOAWAY(), GOAWAY()))
    bad("open_after_goaway", "12", "goaway", "The initiator said that there are no more.", rx(GOAWAY()), rx(OPEN(1)))
    bad("open_after_goaway_in_the_same_frame", "12", "goaway", "The initiator said that there are no more.", rx(GOAWAY(), OPEN(1)))


def _by_the_wrong_side():
    opened = do("open", 1)
    bad("open_by_the_responder", "6", "wrong_side", "Streams are opened by the initiator.", rx(OPEN(1)), role="initiator")
    bad("rekey1_by_the_responder", "6", "wrong_side", "Only the initiator starts.", rx(m.make("REKEY1", noise=seed("noise", 48))), role="initiator")
    bad("rekey3_by_the_responder", "6", "wrong_side", "Only the initiator confirms.", opened, rx(m.make("REKEY3")), role="initiator")
    bad("rekey2_by_the_initiator", "6", "wrong_side", "Only the responder answers.", rx(m.make("REKEY2", status=1, noise=bytes(48))))


def _at_the_initiator():
    opened = do("open", 1)
    good("initiator_request_and_answer", "7", "The common case.", opened, do("send", 1, bytes=2000), do("fin", 1, says=[says("FIN", id=1, offset=2000)]), rx(DATA(1, 4096), FIN(1, 4096), says=[]), role="initiator", _1=(4096, "fin"))
    good("initiator_dial_refused", "9.2", "The far dial failed: the app is reset at once.", opened, rx(RESET(1, m.DIAL_REFUSED), says=[answer(1)]), role="initiator", _1=(0, "reset"))
    good("initiator_app_breaks_after_its_fin", "9.4", "STOP, not RESET; the peer answers.", opened, do("fin", 1), do("break", 1, says=[says("STOP", id=1, code=m.APP_RESET)]), rx(RESET(1, m.ANSWER), says=[]), role="initiator")
    good("initiator_stop_crosses_the_peers_fin", "9.3", "It ended before it saw the STOP.", opened, do("fin", 1), do("break", 1), rx(DATA(1, 10), FIN(1, 10), says=[]), role="initiator")
    good("initiator_app_breaks_after_both_ends", "9.3", "The other direction has ended: there is nothing to stop.", opened, rx(FIN(1)), do("fin", 1), do("break", 1, says=[]), role="initiator")
    good("initiator_app_breaks", "9.4", "RESET, answered by one.", opened, do("break", 1, says=[says("RESET", id=1, code=m.APP_RESET)]), rx(RESET(1, m.ANSWER), says=[]), role="initiator")
    good("initiator_goaway_by_the_responder", "12", "Answered; the live stream goes on.", opened, rx(GOAWAY(), says=[says("GOAWAY", code=0)]), rx(DATA(1, 1)), role="initiator", live=[1], _1=(1, None))
    bad("initiator_data_on_an_id_it_did_not_open", "7", "stream_id", "Nobody opened it.", opened, rx(DATA(2, 1)), role="initiator")
    bad("initiator_data_before_any_open", "7", "stream_id", "Nobody opened it.", rx(DATA(1, 1)), role="initiator")
    bad("initiator_data_over_the_window", "8", "credit_overrun", "One byte.", opened, rx(DATA(1, 4097)), role="initiator")
    bad("initiator_credit_going_back", "8", "bad_credit", "Less than the limit in force.", opened, rx(CREDIT(1, 1024)), role="initiator")
    bad("initiator_fin_offset_short_of_the_answer", "9.1", "fin_offset", "A cut answer never looks whole.", opened, do("fin", 1), rx(DATA(1, 10), FIN(1, 20)), role="initiator")
    bad("initiator_data_after_fin", "7", "stream_state", "The direction has ended.", opened, rx(FIN(1)), rx(DATA(1, 1)), role="initiator")
    bad("initiator_reset_of_a_closed_stream", "7", "stream_state", "Both directions have ended.", opened, rx(FIN(1)), do("fin", 1), rx(RESET(1)), role="initiator")
    bad("initiator_stop_before_fin", "9.3", "stop_before_fin", "The own direction is open.", opened, rx(STOP(1)), role="initiator")
    bad("initiator_goaway_twice", "12", "goaway", "Once a side.", rx(GOAWAY()), rx(GOAWAY()), role="initiator")


def run(case):
    initiator = case["role"] == "initiator"
    start = established(case["window"], case["peer_window"], case["max_streams"], initiator, K_I, K_R, H)
    driven = Driven(case["role"], start)
    sealer = peer_sealer(case["role"], start)
    stamp = start.peer_clock
    driven.flush(0)
    if case["confirmed"]:
        driven.receive(sealer.seal(m.encode(PING()), stamp), 0)
        driven.flush(0)
    for number, step in enumerate(case["steps"]):
        last = case["expect"] == "refuse" and number == len(case["steps"]) - 1
        try:
            if "receive" in step:
                messages = [m.from_printable(message) for message in step["receive"]]
                driven.receive(sealer.seal(m.encode_all(messages), stamp), 0)
            else:
                driven.do(step, 0)
            answers = driven.flush(0)
        except Fatal:
            # A case fails in its last step and nowhere else.
            same(last, True, f"step {number}")
            raise
        if "answers" in step:
            same(unordered(answers), unordered(step["answers"]), f"answers to step {number}")
    if case["expect"] == "ok":
        same(driven.live(), case["live"], "live streams")
        same({str(ident): app for ident, app in driven.apps.items()}, case["apps"], "apps")
