use super::*;
use crate::crypto::resolver::count;
use crate::crypto::secret::Psk;

fn unhex<const N: usize>(text: &str) -> [u8; N] {
    assert_eq!(text.len(), 2 * N);
    core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
}

fn psk() -> Psk {
    Psk::from_bytes([9; 32])
}

/// Message 1 with a payload of 3 bytes.
fn message_1() -> (Initiator, [u8; 51]) {
    let mut message = [0; 51];
    let initiator = Initiator::start(&psk(), b"prologue", b"one", [1; 32], &mut message).expect("started");
    (initiator, message)
}

fn responder(message: &[u8]) -> Result<Responder, Unauthenticated> {
    let mut payload = [0; 3];
    let responder = Responder::read(&psk(), b"prologue", message, &mut payload)?;
    assert_eq!(&payload, b"one");
    Ok(responder)
}

/// "Noise_NNpsk0_25519_ChaChaPoly_SHA256" of the vectors of cacophony, as in tests/vectors/cacophony.txt of snow 0.10.0.
#[test]
fn community_vector() {
    let psk = Psk::from_bytes(unhex(
        "54686973206973206d7920417573747269616e20706572737065637469766521",
    ));
    let prologue = unhex::<9>("4a6f686e2047616c74");
    let payload_1 = unhex::<16>("4c756477696720766f6e204d69736573");
    let mut message_1 = [0; 64];
    let e = unhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a");
    let initiator = Initiator::start(&psk, &prologue, &payload_1, e, &mut message_1).expect("started");
    let expected = "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944\
        79b962b8aff8485742ac32f905ba45369e2465fb59e138a93d67a0d1266b6a54";
    assert_eq!(message_1, unhex::<64>(expected));

    let mut payload = [0; 16];
    let responder = Responder::read(&psk, &prologue, &message_1, &mut payload).expect("authenticates");
    assert_eq!(payload, payload_1);
    let payload_2 = unhex::<15>("4d757272617920526f746862617264");
    let mut message_2 = [0; 63];
    let e = unhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b");
    let theirs = responder.finish(&payload_2, e, &mut message_2).expect("finished");
    let expected = "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843\
        d6062704d5a9c422a8e834423f8c1feada7e8d0d910a1a2cd030fb584221e3";
    assert_eq!(message_2, unhex::<63>(expected));

    let mut payload = [0; 15];
    let ours = initiator.finish(&message_2, &mut payload).expect("authenticates");
    assert_eq!(payload, payload_2);
    let h = unhex("f4d03dc34495c95729ea6de9e1b59004b59733102488b3e24bc441e0be208eaf");
    assert_eq!((ours.h, theirs.h), (h, h));
    assert!(ours.k_i == theirs.k_i && ours.k_r == theirs.k_r && ours.k_i != ours.k_r);

    // The vector's transport messages prove Split(): nonce 0 under k_i, then under k_r.
    for (k, plaintext, ciphertext) in [
        (
            &ours.k_i,
            "462e20412e20486179656b",
            "e632c3763d7669067383433197a3baddf146e9e70ad4b4e9e59e0f",
        ),
        (
            &ours.k_r,
            "4361726c204d656e676572",
            "64c6bee32ea91c8474bb4c21d7a700109ad45af77b29764ba5eb1e",
        ),
    ] {
        let ciphertext = unhex::<27>(ciphertext);
        let (data, tag) = ciphertext.split_last_chunk().expect("a tag");
        let mut data = data.to_vec();
        let key = crate::crypto::aead::PortableKey::chacha20_poly1305(k);
        assert_eq!(key.open(&[0; 12], &[], &mut data, tag), Ok(()));
        assert_eq!(data, unhex::<11>(plaintext));
    }
}

/// SPEC 3.4: no X25519 before message 1 has authenticated.
#[test]
fn a_stranger_costs_no_x25519() {
    let (_, message) = message_1();
    assert_eq!(count::take(), 1, "the initiator's own key");
    let mut payload = [0; 3];
    assert!(Responder::read(&Psk::from_bytes([8; 32]), b"prologue", &message, &mut payload).is_err());
    assert!(Responder::read(&psk(), b"other", &message, &mut payload).is_err());
    assert!(Responder::read(&psk(), b"prologue", &[0; 51], &mut payload).is_err());
    let responder = responder(&message).expect("authenticates");
    assert_eq!(count::take(), 0);
    assert_eq!(responder.remote_ephemeral()[..], message[..32]);
    assert!(responder.finish(&[], [2; 32], &mut [0; 48]).is_ok());
    assert_eq!(count::take(), 2, "the own key and ee");
}

#[test]
fn every_altered_bit_of_either_message_fails() {
    let (_, message) = message_1();
    for bit in 0..message.len() * 8 {
        let mut altered = message;
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(responder(&altered).is_err(), "bit {bit} of message 1");
    }
    let mut message_2 = [0; 50];
    let finished = responder(&message)
        .expect("authenticates")
        .finish(b"ok", [2; 32], &mut message_2);
    assert!(finished.is_ok());
    for bit in 0..message_2.len() * 8 {
        let mut altered = message_2;
        altered[bit / 8] ^= 1 << (bit % 8);
        let mut payload = [0xff; 2];
        let error = message_1().0.finish(&altered, &mut payload).err();
        assert_eq!(error, Some(NoiseError::Unauthenticated), "bit {bit} of message 2");
        assert_eq!(payload, [0; 2], "unauthenticated payload left behind");
    }
    assert!(message_1().0.finish(&message_2, &mut [0; 2]).is_ok());
}

#[test]
fn empty_payloads_make_messages_of_48_bytes() {
    let mut message_1 = [0; 48];
    let initiator = Initiator::start(&psk(), b"rekey", &[], [1; 32], &mut message_1).expect("started");
    let responder = Responder::read(&psk(), b"rekey", &message_1, &mut []).expect("authenticates");
    let mut message_2 = [0; 48];
    let theirs = responder.finish(&[], [2; 32], &mut message_2).expect("finished");
    let ours = initiator.finish(&message_2, &mut []).expect("authenticates");
    assert_eq!(ours.h, theirs.h);
}

#[test]
fn lengths_that_do_not_fit_are_errors() {
    for length in [0, 31, 47, 50, 52, 100] {
        let mut message = vec![0; length];
        let error = Initiator::start(&psk(), b"prologue", b"one", [1; 32], &mut message).err();
        assert_eq!(error, Some(NoiseError::Length), "{length}");
        assert!(Responder::read(&psk(), b"prologue", &message, &mut [0; 3]).is_err());
    }
    let (initiator, message) = message_1();
    let finished = responder(&message)
        .expect("authenticates")
        .finish(&[], [2; 32], &mut [0; 49]);
    assert_eq!(finished.err(), Some(NoiseError::Length));
    assert_eq!(initiator.finish(&[0; 48], &mut [0; 1]).err(), Some(NoiseError::Length));
}

/// The points of order 1, 2, 4 and 8 and what is equal to them modulo 2^255 - 19 (RFC 7748 section 6.1): whoever sends one
/// would fix the shared secret to zero.
#[test]
fn keys_of_low_order_are_refused() {
    let low = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for low in low.map(unhex::<32>) {
        // A holder of the secret can authenticate message 1 with any ephemeral key: snow with a key that lies about itself.
        let mut message = [0; 48];
        let source = Entropy::default();
        source.put([1; 32]);
        let pattern = PATTERN.parse().expect("a pattern");
        let builder = Builder::with_resolver(pattern, Box::new(LowOrder(low, source)));
        let psk = psk();
        let builder = builder
            .psk(0, psk.as_bytes())
            .and_then(|b| b.prologue(b"prologue"))
            .expect("once");
        let mut initiator = builder.build_initiator().expect("built");
        assert_eq!(initiator.write_message(&[], &mut message), Ok(48));
        let responder = Responder::read(&psk, b"prologue", &message, &mut []).expect("it has the psk");
        let refused = responder.finish(&[], [2; 32], &mut [0; 48]).err();
        assert_eq!(refused, Some(NoiseError::LowOrder));
    }
}

/// Our resolver, but the public key of the initiator is `.0`.
struct LowOrder([u8; 32], Entropy);
struct LowOrderKey([u8; 32]);

impl snow::resolvers::CryptoResolver for LowOrder {
    fn resolve_rng(&self) -> Option<Box<dyn snow::types::Random>> {
        Resolver(self.1.clone()).resolve_rng()
    }
    fn resolve_dh(&self, _: &snow::params::DHChoice) -> Option<Box<dyn snow::types::Dh>> {
        Some(Box::new(LowOrderKey(self.0)))
    }
    fn resolve_hash(&self, choice: &snow::params::HashChoice) -> Option<Box<dyn snow::types::Hash>> {
        Resolver(self.1.clone()).resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &snow::params::CipherChoice) -> Option<Box<dyn snow::types::Cipher>> {
        Resolver(self.1.clone()).resolve_cipher(choice)
    }
}

impl snow::types::Dh for LowOrderKey {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, _: &[u8]) {}
    fn generate(&mut self, _: &mut dyn snow::types::Random) -> Result<(), snow::Error> {
        Ok(())
    }
    fn pubkey(&self) -> &[u8] {
        &self.0
    }
    fn privkey(&self) -> &[u8] {
        &[]
    }
    fn dh(&self, _: &[u8], _: &mut [u8]) -> Result<(), snow::Error> {
        Err(snow::Error::Dh)
    }
}

#[test]
fn debug_shows_no_key() {
    let (initiator, message) = message_1();
    assert_eq!(format!("{initiator:?}"), "Initiator");
    assert_eq!(
        format!("{:?}", responder(&message).expect("authenticates")),
        "Responder"
    );
}

#[test]
fn handshakes_can_move_between_threads() {
    fn send<T: Send>() {}
    send::<Initiator>();
    send::<Responder>();
}
