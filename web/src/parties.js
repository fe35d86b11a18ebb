// What a gateway says of the parties behind it, and what of that is to be believed.

const PREFIX = new TextEncoder().encode('subrosa signature v1\0sealing key\0');
/** What stands before a P-256 point in its SubjectPublicKeyInfo (RFC 5480, section 2). */
const SPKI = bytesOf('3059301306072a8648ce3d020106082a8648ce3d030107034200');
const POINT = 65;
const SIGNATURE = POINT + 64;

/**
 * Reads an offer. With pins (fingerprints by name) the parties have to be these, each vouching for its key;
 * without, `vouched` says for which the fingerprint that the gateway names was checked, which proves no more than
 * that: the gateway may have made it up.
 */
export async function readOffer({ outline, parties }, pins) {
  const read = await Promise.all(parties.map(readParty));
  if (pins) {
    const names = Object.keys(pins);
    const strange = read.find(({ name, fingerprint }) => pins[name] !== fingerprint);
    if (strange || read.length !== names.length || new Set(read.map(({ name }) => name)).size !== names.length) {
      throw new Error('the gateway offers other parties than were asked for');
    }
    const silent = read.find(({ vouched }) => !vouched);
    if (silent) throw new Error(`${silent.name} does not vouch for the key that the gateway offers, or a clock is wrong`);
  }
  return { outline: bytesOf(outline), parties: read };
}

async function readParty({ name, fingerprint, key, until, signature }) {
  const statement = { key: bytesOf(key), until, signature: bytesOf(signature) };
  if (statement.key.length !== 32) throw new Error('the gateway offers a key that is none');
  return { name: String(name), fingerprint: String(fingerprint), key: statement.key, vouched: await vouches(fingerprint, statement) };
}

async function vouches(fingerprint, { key, until, signature }) {
  const subtle = globalThis.crypto?.subtle;
  // Browsers have it on https pages and on localhost.
  if (!subtle || signature.length !== SIGNATURE || !Number.isSafeInteger(until) || until < Date.now() / 1000) return false;
  const point = signature.subarray(0, POINT);
  const digest = new Uint8Array(await subtle.digest('SHA-256', joined(SPKI, point)));
  if (`sha256:${hexOf(digest)}` !== fingerprint) return false;
  const message = joined(PREFIX, key, littleEndian(until));
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
