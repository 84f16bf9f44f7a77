"""secret/: a secret, as bytes or as a file, to the psk (SPEC 2)."""

from wa_reference import secret as s

from .case import flip, ok, refuse, same, seed

KEY = seed("generated secret")
GENERATED = s.generated(KEY)
PHRASE = b"correct horse battery staple"


def cases():
    yield _ok("generated", "A generated secret says its key; there is no Argon2id.", GENERATED)
    yield _ok("generated_other_deployment", "The deployment is bound by HKDF also without Argon2id.", GENERATED, deployment="prod-eu.1")
    yield _ok("generated_of_zeros", "Every key is a key.", s.generated(bytes(32)))
    yield _ok("passphrase", "Any other string goes through Argon2id, with the default deployment in its salt.", PHRASE)
    yield _ok("passphrase_other_deployment", "Another deployment is another salt and another psk.", PHRASE, deployment="staging")
    yield _ok("passphrase_of_16_characters", "16 is enough.", b"sixteen letters!")
    yield _ok("passphrase_of_16_multibyte_characters", "Characters count, not bytes.", "ключ-от-квартиры".encode())
    yield _ok("passphrase_of_16_bytes_not_utf8", "What is not UTF-8 is counted in bytes.", b"\xff\xfe" * 8)
    yield _ok("passphrase_short_but_allowed", "The operator allowed it.", b"hunter2", allow_short=True)
    yield _ok("passphrase_with_spaces_around", "Nothing but one newline is ever taken off.", b"  sixteen letters  ")
    yield _ok("passphrase_with_upper_case_prefix", "The prefix is `wa1-`, byte for byte; this is a passphrase.", b"WA1-" + GENERATED[4:])
    yield _ok("longest_deployment", "64 bytes.", GENERATED, deployment="d" * 64)
    yield _ok("file_trailing_lf", "One trailing LF is not part of the secret.", file=PHRASE + b"\n", same_as="passphrase")
    yield _ok("file_trailing_crlf", "One trailing CR LF is not part of the secret.", file=PHRASE + b"\r\n", same_as="passphrase")
    yield _ok("file_without_newline", "Nothing to take off.", file=PHRASE, same_as="passphrase")
    yield _ok("file_generated_lf", "What `keygen >file` writes.", file=GENERATED + b"\n", same_as="generated")
    yield _ok("file_two_trailing_lf", "Only one is taken off: the other belongs to the secret.", file=PHRASE + b"\n\n")
    yield _ok("file_trailing_cr", "A lone CR belongs to the secret.", file=PHRASE + b"\r")
    yield _ok("not_a_file_trailing_lf", "A secret that is no file keeps its newline.", PHRASE + b"\n")

    text = GENERATED.decode()
    broken = GENERATED[:4] + bytes([GENERATED[4] ^ 1]) + GENERATED[5:]
    yield _no("generated_wrong_check", "bad_check", "One character of the check is another.", s.PREFIX + _b64(KEY + flip(s.check_of(KEY), 3)))
    yield _no("generated_check_of_zeros", "bad_check", "A check nobody computed.", s.PREFIX + _b64(KEY + bytes(4)))
    yield _no("generated_wrong_key", "bad_check", "One character of the key is another: mistyped.", broken)
    yield _no("generated_two_characters_swapped", "bad_check", "Swapped characters.", _swapped(GENERATED))
    yield _no("generated_one_character_short", "bad_length", "The last character was not copied.", GENERATED[:-1])
    yield _no("generated_one_character_long", "bad_length", "A character was added.", GENERATED + b"A")
    yield _no("generated_prefix_alone", "bad_length", "Never a passphrase, however it goes on.", b"wa1-")
    yield _no("generated_prefix_before_a_passphrase", "bad_length", "Never a passphrase, however it goes on.", b"wa1-" + PHRASE)
    yield _no("generated_padded", "bad_length", "No padding.", GENERATED + b"====")
    yield _no("generated_standard_base64_alphabet", "bad_alphabet", "`+` and `/` are of the other base64.", GENERATED[:4] + b"+/" + GENERATED[6:])
    yield _no("generated_space_inside", "bad_alphabet", "Not skipped.", GENERATED[:20] + b" " + GENERATED[21:])
    yield _no("generated_trailing_lf_outside_of_a_file", "bad_length", "Only a file loses its newline.", GENERATED + b"\n")
    yield _no("generated_file_two_trailing_lf", "bad_length", "One newline too many.", file=GENERATED + b"\n\n")
    yield _no("generated_not_allowed_by_allow_short", "bad_check", "Allowing short secrets mends no check.", broken, allow_short=True)
    yield _no("passphrase_of_15_characters", "too_short", "One less than 16.", b"fifteen letters")
    yield _no("passphrase_of_15_multibyte_characters", "too_short", "30 bytes, but 15 characters.", "й".encode() * 15)
    yield _no("passphrase_of_15_bytes_not_utf8", "too_short", "Counted in bytes.", b"\xff" * 15)
    yield _no("file_of_15_characters_and_lf", "too_short", "The newline does not count.", file=b"fifteen letters\n")
    yield _no("empty", "empty", "Not configured is not a secret.", b"")
    yield _no("empty_although_short_is_allowed", "empty", "Always refused.", b"", allow_short=True)
    yield _no("file_with_a_newline_only", "empty", "Empty once its newline is off.", file=b"\n")
    yield _no("deployment_empty", "bad_deployment", "1 to 64 bytes.", GENERATED, deployment="")
    yield _no("deployment_of_65_bytes", "bad_deployment", "1 to 64 bytes.", GENERATED, deployment="d" * 65)
    yield _no("deployment_with_a_space", "bad_deployment", "Not of the form of a name.", GENERATED, deployment="my prod")
    yield _no("deployment_not_ascii", "bad_deployment", "Not of the form of a name.", GENERATED, deployment="prod-é")
    assert text.startswith("wa1-") and len(text) == 52


def _b64(raw):
    import base64

    return base64.urlsafe_b64encode(raw)


def _swapped(text):
    at = next(n for n in range(4, 50) if text[n] != text[n + 1])
    return text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :]


def _input(secret, file, deployment, allow_short):
    given = {"secret": secret.hex()} if file is None else {"file": file.hex()}
    return given | {"deployment": deployment, "allow_short": allow_short}


def _ok(name, why, secret=None, file=None, deployment="default", allow_short=False, same_as=None):
    content = secret if file is None else s.of_file(file)
    key = s.key_of(content, deployment.encode(), allow_short)
    psk = s.psk_of_key(key, deployment.encode())
    if same_as is not None:
        same(content, {"passphrase": PHRASE, "generated": GENERATED}[same_as], name)
    fields = _input(secret, file, deployment, allow_short) | {"key": key.hex(), "psk": psk.hex()}
    return ok(name, "2", why, **fields)


def _no(name, error, why, secret=None, file=None, deployment="default", allow_short=False):
    return refuse(name, "2", error, why, **_input(secret, file, deployment, allow_short))


def run(case):
    secret = bytes.fromhex(case["secret"]) if "secret" in case else s.of_file(bytes.fromhex(case["file"]))
    deployment = case["deployment"].encode()
    key = s.key_of(secret, deployment, case["allow_short"])
    same(key.hex(), case["key"], "key")
    same(s.psk_of_key(key, deployment).hex(), case["psk"], "psk")
