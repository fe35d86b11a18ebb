// What a gateway says of the parties behind it, and what of that is to be believed.

const PREFIX = new TextEncoder().encode('subrosa signature v1\0sealing key for an outline\0');
/** What stands before a P-256 point in its SubjectPublicKeyInfo (RFC 5480, section 2). */
const SPKI = bytesOf('3059301306072a8648ce3d020106082a8648ce3d030107034200');
const POINT = 65;
const SIGNATURE = POINT + 64;

/**
 * Reads an offer of a model. With pins (fingerprints by name) the parties have to be these, each vouching for its
 * key and for the outline; without, `vouched` says for which the fingerprint that the gateway names was checked,
 * which proves no more than that: the gateway may have made it up. A check that fails is an error, always.
 */
export async function readOffer(offer, { model, via, parties: pins }) {
  const outline = bytesOf(offer.outline);
  const read = await Promise.all(offer.parties.map((party) => readParty(party, outline)));
  if (pins) {
    const names = Object.keys(pins);
    const strange = read.find(({ name, fingerprint }) => pins[name] !== fingerprint);
    if (strange || read.length !== names.length || new Set(read.map(({ name }) => name)).size !== names.length) {
      throw new Error('the gateway offers other parties than were asked for');
    }
    if (read.some(({ vouched }) => !vouched)) {
      throw new Error('whether the parties vouch for their keys cannot be checked here: WebCrypto needs https or localhost');
    }
  }
  return { model, via, outline, parties: read };
}

async function readParty({ name, fingerprint, key, until, signature }, outline) {
  const statement = { key: bytesOf(key), until, signature: bytesOf(signature), outline };
  if (statement.key.length !== 32) throw new Error('the gateway offers a key that is none');
  const subtle = globalThis.crypto?.subtle;
  // Browsers have it on https pages and on localhost.
  const vouched = Boolean(subtle);
  if (vouched && !(await vouches(subtle, fingerprint, statement))) {
    throw new Error(`${name} does not vouch for the key and model that the gateway offers, or a clock is wrong`);
  }
  return { name: String(name), fingerprint: String(fingerprint), key: statement.key, vouched };
}

async function vouches(subtle, fingerprint, { key, until, signature, outline }) {
  if (signature.length !== SIGNATURE || !Number.isSafeInteger(until) || until < Date.now() / 1000) return false;
  const point = signature.subarray(0, POINT);
  const digest = new Uint8Array(await subtle.digest('SHA-256', joined(SPKI, point)));
  if (`sha256:${hexOf(digest)}` !== fingerprint) return false;
  const message = joined(PREFIX, key, littleEndian(until), outline);
  try {
    const theirs = await subtle.importKey('raw', point, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['verify']);
    return await subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, theirs, signature.subarray(POINT), message);
  } catch {
    return false;
  }
}

function littleEndian(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number), true);
  return bytes;
}

function joined(...parts) {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function bytesOf(hex) {
  if (typeof hex !== 'string' || hex.length % 2 !== 0 || /[^0-9a-f]/.test(hex)) {
    throw new Error('the gateway sends something else than an offer');
  }
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

function hexOf(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
