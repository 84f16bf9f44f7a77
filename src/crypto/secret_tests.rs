use super::*;

const GOOD: [u8; 32] = [7; 32];

#[test]
fn a_generated_secret_survives_the_round_trip() {
    let line = generate(GOOD);
    assert_eq!(line.len(), 52);
    let secret = Secret::parse(line.as_bytes(), false).expect("generated");
    assert_eq!(secret.kind(), Kind::Generated);
    assert!(matches!(secret.0, Inner::Generated(key) if *key == GOOD));
}

#[test]
fn every_changed_character_of_a_generated_secret_is_noticed() {
    let line = generate(GOOD).into_bytes();
    for i in 4..line.len() {
        let mut changed = line.clone();
        changed[i] = if changed[i] == b'A' { b'B' } else { b'A' };
        assert_eq!(
            Secret::parse(&changed, true).err(),
            Some(SecretError::GeneratedCheck),
            "character {i}"
        );
        for never in [b'+', b'/', b'=', b' ', b'\n', 0xff] {
            changed[i] = never;
            assert_eq!(
                Secret::parse(&changed, true).err(),
                Some(SecretError::GeneratedAlphabet)
            );
        }
    }
}

#[test]
fn what_starts_like_a_generated_secret_is_never_a_passphrase() {
    let line = generate(GOOD);
    for (bytes, chars) in [
        ("wa1-".to_owned(), 0),
        ("wa1-a-passphrase-of-old".to_owned(), 19),
        (format!("{line} "), 49),
        (line[..51].to_owned(), 47),
    ] {
        let error = Secret::parse(bytes.as_bytes(), true).err();
        assert_eq!(error, Some(SecretError::GeneratedLength { chars }), "{bytes:?}");
    }
}

#[test]
fn passphrases_are_counted_in_characters() {
    let refused = |bytes: &[u8]| Secret::parse(bytes, false).err();
    assert_eq!(refused(b""), Some(SecretError::Empty));
    assert_eq!(Secret::parse(b"", true).err(), Some(SecretError::Empty));
    assert_eq!(refused(b"fifteen letters"), Some(SecretError::TooShort { chars: 15 }));
    assert_eq!(
        refused("äöüäöüäöüäöüäöü".as_bytes()),
        Some(SecretError::TooShort { chars: 15 })
    );
    // Not UTF-8: bytes are counted.
    assert_eq!(refused(&[0xff; 15]), Some(SecretError::TooShort { chars: 15 }));
    assert_eq!(refused(&[0xff; 16]), None);
    assert_eq!(refused(b"sixteen letters."), None);
    assert!(Secret::parse(b"x", true).is_ok_and(|secret| secret.kind() == Kind::Passphrase));
    // No heuristic: what only looks like a key is a passphrase.
    assert!(Secret::parse(b"WA1-0123456789abcdef", false).is_ok_and(|secret| secret.kind() == Kind::Passphrase));
}

#[test]
fn the_psk_depends_on_secret_and_deployment() {
    let generated = Secret::parse(generate(GOOD).as_bytes(), false).expect("generated");
    let passphrase = Secret::parse(b"correct horse battery staple", false).expect("long");
    let psks = [
        generated.psk("default"),
        generated.psk("other"),
        passphrase.psk("default"),
        passphrase.psk("other"),
    ];
    for (i, a) in psks.iter().enumerate() {
        for (j, b) in psks.iter().enumerate() {
            assert_eq!(a == b, i == j);
        }
    }
    assert_eq!(generated.psk("default"), psks[0]);
}

/// Made with Python's hmac, hashlib and `cryptography`.
#[test]
fn known_psks() {
    let generated = Secret::parse(generate(core::array::from_fn(|i| i as u8)).as_bytes(), false).expect("generated");
    assert_eq!(
        hex(generated.psk("default").as_bytes()),
        "6ff77de712b0542d0d5c8b19e36b826a684ba87a3fc530f3a59923ec8d35ad37"
    );
    let passphrase = Secret::parse(b"correct horse battery staple", false).expect("long");
    assert_eq!(
        hex(passphrase.psk("default").as_bytes()),
        "82394dcfee40adf6b0efc1f7fa2cf70433fc1dc1f200e7843fe3c3958b57f2b0"
    );
}

/// RFC 9106 section 5.3 without the secret and the associated data, which this protocol does not use, is not there; this is its
/// full vector, so that the crate's Argon2id is the RFC's.
#[test]
fn argon2id_of_rfc_9106() {
    let params = argon2::ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(argon2::AssociatedData::new(&[4; 12]).expect("short"))
        .build()
        .expect("in range");
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).expect("short");
    let mut tag = [0; 32];
    argon2
        .hash_password_into_with_memory(&[1; 32], &[2; 16], &mut tag, memory.as_mut_slice())
        .expect("in range");
    assert_eq!(
        hex(&tag),
        "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    );
}

#[test]
fn neither_debug_nor_errors_show_the_secret() {
    let line = generate(GOOD);
    let secret = Secret::parse(line.as_bytes(), false).expect("generated");
    assert_eq!(format!("{secret:?}"), "Secret(Generated)");
    assert_eq!(format!("{:?}", secret.psk("default")), "Psk");
    let passphrase = Secret::parse(b"correct horse battery staple", false).expect("long");
    assert_eq!(format!("{passphrase:?}"), "Secret(Passphrase)");

    for bytes in [
        &b"hunter2"[..],
        b"wa1-hunter2",
        b"wa1-hunter2hunter2hunter2hunter2hunter2hunter2hunter",
        b"wa1-!hunter2",
    ] {
        let error = Secret::parse(bytes, false).expect_err("bad");
        assert!(!format!("{error} {error:?}").contains("hunter"), "{error}");
        assert!(error.to_string().contains("wa-sidecar keygen"), "no advice: {error}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
