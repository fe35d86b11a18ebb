// The page of `subrosa serve`: draw a digit, ask the server, see what it saw.

import { EncryptedSession, InferenceServer, PlainSession, SIDE, SharedSession, digitImage } from '../src/index.js';
import { EXAMPLES } from './examples.js';
import { Pad } from './pad.js';
import * as view from './view.js';

/** By parties behind this server. */
const between = () => ({
  open: (name) => new SharedSession(server, name),
  words: {
    badge: 'Shared: no server sees more than its share',
    open: false,
    limits: 'between',
    lead: 'Your browser splits it into shares, each of them noise. Parties behind this server compute on them together, '
      + 'and only your browser can put the answer together.',
    reader: 'Put together on your device. No server can read this.',
    saw: 'What the servers saw',
  },
});
const VIAS = {
  rep3: between(),
  'rep3-malicious': between(),
  rep4: between(),
  ckks: {
    open: (name) => new EncryptedSession(server, name),
    words: {
      badge: 'Encrypted: the server sees ciphertexts (ckks)',
      open: false,
      limits: 'honest',
      lead: 'Your browser encrypts it, the server computes on the ciphertext, and only your browser can open the answer.',
      reader: 'Decrypted on your device. The server cannot read this.',
    },
  },
  plain: {
    open: (name) => new PlainSession(server, name),
    words: {
      badge: 'In the clear: the server sees everything (plain)',
      open: true,
      lead: 'This server runs in the clear: it sees your digit, and what it answers. Were it served via ckks, it would not.',
      reader: 'The server knows this, too.',
    },
  },
};

const server = new InferenceServer(document.baseURI);
const element = (id) => document.getElementById(id);
/** Where it is computed. */
const WHERE = { plain: 'on the server', ckks: 'on the server, on ciphertexts' };
const pad = new Pad(element('pad'), drawn);
let session;
let model;
/** Whether an answer is shown that belongs to what is drawn. */
let answered = false;
let busy = false;
let asking;

element('ask').addEventListener('click', () => guarded(ask));
element('clear').addEventListener('click', () => pad.clear());
element('example').append(...EXAMPLES.map((_, digit) => new Option(`Digit ${digit}`, String(digit))));
element('example').addEventListener('change', ({ target }) => {
  if (target.value === '' || pad.locked) return;
  pad.set(structuredClone(EXAMPLES[target.value]));
  drawn('ink');
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => pad.draw());
addEventListener('pagehide', () => session?.forget());
view.blank();
guarded(start);

async function start() {
  const { models, protections } = await authorised(() => server.json('page.json'));
  const usable = models.filter((each) => each.via in VIAS && takesDigits(each));
  if (usable.length === 0) {
    const served = models.map((each) => `${each.name} via ${each.via}`).join(', ');
    view.show('panels', false);
    throw new Error(`This page draws digits, and this server has no model of them that a browser can ask (it has: ${served}).`);
  }
  const select = element('model');
  select.append(...usable.map((each, i) => new Option(`${each.name} via ${each.via}`, String(i))));
  select.addEventListener('change', () => choose(usable[select.value]));
  view.show('choice', usable.length > 1);
  for (const { via, learns } of protections) if (via in VIAS) VIAS[via].words.learns = learns;
  choose(usable[0]);
}

/** Makes keys at once, where they are needed: nothing is sent before the first question. */
function choose(chosen) {
  session?.close();
  model = chosen;
  session = VIAS[model.via].open(model.name);
  view.protection(VIAS[model.via].words);
  view.forgetSteps();
  view.blank();
  answered = false;
  view.status('');
  view.keys('');
  const current = session;
  // A question waits for this; another model makes it pointless.
  const steps = (event) => current === session && onStep(event);
  authorised(() => current.prepare(steps)).catch((error) => current === session && tell(error));
}

async function ask() {
  if (pad.strokes.length === 0) {
    view.status('Draw a digit first, or take an example.');
    return;
  }
  const pixels = digitImage(pad.strokes);
  let request;
  let shares;
  pad.locked = true;
  view.status('Asking…');
  const values = await authorised(() => session.infer(pixels, (step) => {
    if (step.step === 'evaluated') request = step;
    if (step.step === 'shared') shares = step.shares;
    onStep(step);
  }));
  const best = view.answer(values, VIAS[model.via].words.reader);
  if (model.via === 'plain') view.sawPixels(pixels, SIDE, request.sent, best);
  else if (shares) view.sawShares(shares, SIDE, request.sent, request.bytes);
  else view.sawNoise(request.sent, request.bytes);
  answered = true;
  const saw = shares ? 'Each server saw noise.' : 'The server saw noise.';
  view.status(`The answer is ${best}. ${model.via === 'plain' ? 'The server saw it all.' : saw}`);
}

function onStep(event) {
  view.progress(share(event));
  switch (event.step) {
    case 'plan':
      return view.keys('Getting the plan…');
    case 'keygen':
      return view.keys('Making keys on your device…');
    case 'keys':
      view.step('Keys made', 'on your device, once', event.milliseconds);
      return view.keys(`Keys are ready. The first question sends ${view.size(event.bytes.length)} of them, once.`);
    case 'sending':
      return view.keys('Sending the evaluation keys: with them the server can compute, not read…');
    case 'sent':
      view.keys('The server has the evaluation keys. The secret one stays here.');
      return view.step('Evaluation keys sent', 'over the line, once', event.milliseconds, view.sent(event.bytes));
    case 'encrypt':
      return view.status('Encrypting…');
    case 'encrypted':
      return view.step('Digit encrypted', 'on your device', event.milliseconds);
    case 'parties':
      view.parties(event.parties);
      return view.keys(`The parties: ${event.parties.map(({ name }) => name).join(', ')}. Nothing has been sent.`);
    case 'share':
      return view.status('Splitting…');
    case 'shared':
      view.keys('Each part is sealed to its party. This server passes it on, and cannot open it.');
      return view.step('Digit split and sealed', 'on your device', event.milliseconds);
    case 'reconstructed':
      return view.step('Answer put together', 'on your device', event.milliseconds);
    case 'evaluate':
      return view.status(VIAS[model.via].words.saw ? 'The servers compute…' : 'The server computes…');
    case 'evaluated':
      return evaluated(event);
    case 'decrypted':
      return view.step('Answer decrypted', 'on your device', event.milliseconds);
  }
}

function evaluated({ milliseconds, computeMilliseconds, sent, bytes }) {
  const traffic = [view.sent(sent), view.received(bytes)];
  if (computeMilliseconds === undefined) {
    view.step('Server asked', 'computing, and the way there and back', milliseconds, ...traffic);
    return;
  }
  view.step('Computed', WHERE[model.via] ?? 'between the parties, on shares', computeMilliseconds);
  view.step('Request and answer', 'over the line', Math.max(0, milliseconds - computeMilliseconds), ...traffic);
}

function share({ step, made, sent, of }) {
  if (step === 'keygen') return made / of;
  return step === 'sending' ? sent / of : undefined;
}

function drawn(what) {
  if (what === 'down' || what === 'up') view.status(what === 'down' ? 'The pen is down.' : 'The pen is up.');
  if (what === 'clear') {
    view.status('Cleared.');
    element('example').value = '';
  }
  if (answered) view.blank();
  answered = false;
}

/** One question at a time; what fails is told. */
async function guarded(run) {
  if (busy) return;
  mark(true);
  view.error('');
  try {
    await run();
  } catch (error) {
    tell(error);
  } finally {
    mark(false);
  }
}

function mark(now) {
  busy = now;
  pad.locked = now && pad.locked;
  element('ask').setAttribute('aria-disabled', String(now));
  element('model').disabled = now;
}

function tell(error) {
  view.progress(undefined);
  view.status('');
  view.keys('');
  view.error(error instanceof Error ? error.message : String(error));
}

/** Runs again with a key, if the server asks for one. */
async function authorised(run) {
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (error.status !== 401) throw error;
      server.key = await askForKey();
    }
  }
}

/** One dialog, whoever asks. */
function askForKey() {
  asking ??= dialogForKey().finally(() => (asking = undefined));
  return asking;
}

function dialogForKey() {
  const dialog = element('login');
  dialog.returnValue = '';
  element('key').value = '';
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.addEventListener('close', () => {
      if (dialog.returnValue === 'use') resolve(element('key').value);
      else reject(new Error('This server answers only with its key. Reload the page to give it.'));
    }, { once: true });
  });
}

function takesDigits({ input_shape: input, output_shape: output }) {
  const elements = (shape) => shape.reduce((product, axis) => product * (axis === -1 ? 1 : axis), 1);
  return elements(input) === SIDE * SIDE && elements(output) === 10;
}
