// What the page shows. Text only ever comes in as text.

/** Side of the picture of a ciphertext: a byte a pixel. */
const NOISE_SIDE = 112;
const HEX_BYTES = 160;
const HEX_LINE = 8;

const at = (id) => document.getElementById(id);
const reducers = { kB: 1e3, MB: 1e6, GB: 1e9 };

export function show(id, visible) {
  at(id).hidden = !visible;
}

export function text(id, content) {
  at(id).textContent = content;
}

export function error(message) {
  text('error', message);
  show('error', message !== '');
}

/** About the question. Only what has changed is announced. */
export function status(message) {
  if (at('status').textContent !== message) text('status', message);
}

/** About what goes on meanwhile. */
export function keys(message) {
  if (at('keys').textContent !== message) text('keys', message);
}

/** A share from 0 to 1; nothing hides the bar. */
export function progress(share) {
  show('progress', share !== undefined);
  if (share !== undefined) at('progress').value = share;
}

export function protection({ badge, open, lead, limits, saw = 'What the server saw', learns = [] }) {
  text('badge', badge);
  at('badge').classList.toggle('open', open);
  show('badge', true);
  text('lead', lead);
  at('learns').replaceChildren(...learns.map((line) => element('li', '', line)));
  for (const id of ['honest', 'between']) show(id, id === limits);
  text('saw-title', saw);
  show('limits', true);
}

/** The outputs, and who else can read them; which is the largest. */
export function answer(values, reader) {
  text('reader', reader);
  const best = values.indexOf(Math.max(...values));
  const [least, most] = [Math.min(...values), Math.max(...values)];
  text('digit', String(best));
  at('digit').classList.remove('none');
  at('scores').replaceChildren(...Array.from(values, (value, i) => {
    const bar = element('span', 'bar');
    bar.style.setProperty('--share', most > least ? (value - least) / (most - least) : 1);
    const row = element('li', i === best ? 'best' : '');
    row.append(element('span', 'name', String(i)), bar, element('span', 'value', value.toFixed(2)));
    return row;
  }));
  return best;
}

/** Back to before the first question; the steps stay until they are replaced. */
export function blank() {
  answer(new Float32Array(10), '');
  for (const row of at('scores').children) {
    row.className = '';
    row.querySelector('.value').textContent = '–';
    row.querySelector('.bar').style.setProperty('--share', 0);
  }
  text('digit', '?');
  at('digit').classList.add('none');
  picture(new Uint8Array(), 1, 'Nothing yet');
  at('facts').replaceChildren(...fact('So far', 'nothing'));
  show('seen', true);
  show('shares', false);
  show('bytes', false);
}

/** Who is behind the server, as it says. */
export function parties(all) {
  at('parties').replaceChildren(...all.map(({ name, fingerprint, vouched }) => {
    const line = element('li', '', `${name}: ${fingerprint}`);
    line.append(vouched ? ', which vouches for its key' : ', unchecked: this page was loaded over neither https nor localhost');
    return line;
  }));
}

/** What each party is told: a byte an element of the digit; and what the server in between passes on. */
export function sawShares(shares, side, request, answerBytes) {
  at('shares').replaceChildren(...shares.map(({ name, bytes }) => {
    const canvas = element('canvas', 'square');
    canvas.setAttribute('role', 'img');
    paint(canvas, bytes, side, bytes.length ? `Noise: the share of ${name}` : `Nothing: ${name} is told nothing of it`);
    const figure = element('figure');
    figure.append(canvas, element('figcaption', '', bytes.length ? name : `${name}: nothing`));
    return figure;
  }));
  show('seen', false);
  show('shares', true);
  at('facts').replaceChildren(
    ...fact('Sealed boxes, through this server', size(request.length)),
    ...fact('Answer, sealed boxes too', size(answerBytes.length)),
    ...fact('Of the digit, each', 'nothing', 'nothing'),
  );
  text('hex', hex(request.subarray(0, HEX_BYTES)));
  show('bytes', true);
}

/** A request that cannot be read. */
export function sawNoise(request, answerBytes) {
  const shown = Math.min(request.length, NOISE_SIDE * NOISE_SIDE);
  picture(request.subarray(0, shown), NOISE_SIDE, `Noise: the first ${shown} bytes of the request, a grey square each`);
  at('facts').replaceChildren(
    ...fact('Ciphertext', size(request.length)),
    ...fact('Answer, a ciphertext too', size(answerBytes.length)),
    ...fact('Of the digit', 'nothing', 'nothing'),
  );
  text('hex', hex(request.subarray(0, HEX_BYTES)));
  show('bytes', true);
}

/** A request in the clear: the pixels in it, row by row. */
export function sawPixels(pixels, side, request, best) {
  picture(Uint8Array.from(pixels, (ink) => Math.round(255 * ink)), side, 'Your digit, as you drew it');
  at('facts').replaceChildren(
    ...fact('Pixels, readable', String(pixels.length)),
    ...fact('The answer', String(best)),
    ...fact('Of the digit', 'everything', 'everything'),
  );
  text('hex', new TextDecoder().decode(request.subarray(0, 3 * HEX_BYTES)));
  show('bytes', true);
}

/** A row of the table of steps, in place of an earlier one of the same name. */
export function step(name, where, milliseconds, ...traffic) {
  show('steps', true);
  const row = element('tr');
  row.dataset.step = name;
  const head = element('th', '', name);
  head.scope = 'row';
  head.append(element('small', '', where));
  const line = element('td');
  line.append(...traffic.map((part) => element('span', '', part)));
  row.append(head, element('td', '', time(milliseconds)), line);
  const earlier = [...at('rows').children].find((other) => other.dataset.step === name);
  if (earlier) earlier.replaceWith(row);
  else at('rows').append(row);
}

export function forgetSteps() {
  at('rows').replaceChildren();
  show('steps', false);
}

export function sent(bytes) {
  return `${size(bytes.length)} sent`;
}

export function received(bytes) {
  return `${size(bytes.length)} received`;
}

export function size(bytes) {
  const [unit, divisor] = Object.entries(reducers).findLast(([, divisor]) => bytes >= divisor) ?? ['bytes', 1];
  const value = bytes / divisor;
  return `${value.toFixed(divisor === 1 || value >= 100 ? 0 : value >= 10 ? 1 : 2)} ${unit}`;
}

export function time(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(2)} s`;
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

function picture(bytes, side, label) {
  paint(at('seen'), bytes, side, label);
}

function paint(canvas, bytes, side, label) {
  [canvas.width, canvas.height] = [side, side];
  canvas.setAttribute('aria-label', label);
  const image = new ImageData(side, side);
  bytes.forEach((byte, i) => image.data.set([byte, byte, byte, 255], 4 * i));
  canvas.getContext('2d').putImageData(image, 0, 0);
}

function fact(name, value, kind = '') {
  const pair = element('div');
  pair.append(element('dt', '', name), element('dd', kind, value));
  return [pair];
}

function hex(bytes) {
  const lines = [];
  for (let i = 0; i < bytes.length; i += HEX_LINE) {
    const line = [...bytes.subarray(i, i + HEX_LINE)];
    const letters = line.map((byte) => (byte > 32 && byte < 127 ? String.fromCharCode(byte) : '·'));
    lines.push(`${line.map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}  ${letters.join('')}`);
  }
  return lines.join('\n');
}

function element(name, kind = '', content = '') {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (content) made.textContent = content;
  return made;
}
