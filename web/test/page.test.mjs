// The page, as one meets it: headless Chromium against `subrosa serve` via ckks, plain and rep3. SUBROSA_CKKS,
// SUBROSA_PLAIN and SUBROSA_REP3 are their addresses, SUBROSA_PARTIES the parties' subrosa.toml, CHROMIUM the
// browser, SCREENSHOTS a folder.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const { SUBROSA_CKKS: ckks, SUBROSA_PLAIN: plain, SUBROSA_REP3: rep3, SUBROSA_PARTIES: parties } = process.env;
const { CHROMIUM: executablePath, SCREENSHOTS: folder } = process.env;
const quiet = ['no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run', 'disable-background-networking',
  'disable-component-update', 'disable-sync', 'disable-dev-shm-usage'];
/** A seven, in shares of the pad's side. */
const SEVEN = [[0.28, 0.22], [0.5, 0.23], [0.74, 0.2], [0.6, 0.5], [0.5, 0.84]];
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath, args: quiet.map((flag) => `--${flag}`) });
});
after(() => browser?.close());

/** A page that must not ask anyone else for anything, nor complain, but of what is `expected`. */
async function open(url, options = {}, expected = /^$/) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const seen = { requests: [], complaints: [], other: [] };
  context.on('request', (request) => {
    seen.requests.push(request);
    if (!request.url().startsWith(`${url}/`)) seen.other.push(request.url());
  });
  page.on('console', (message) => {
    const complaint = ['error', 'warning'].includes(message.type()) && !expected.test(message.text());
    if (complaint) seen.complaints.push(message.text());
  });
  page.on('pageerror', (error) => seen.complaints.push(String(error)));
  await options.before?.(page);
  await page.goto(`${url}/`);
  const close = async () => {
    assert.deepEqual([seen.other, seen.complaints], [[], []]);
    await context.close();
  };
  return { page, seen, close };
}

async function draw(page, points) {
  const box = await page.locator('#pad').boundingBox();
  const at = ([x, y]) => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(points[0]));
  await page.mouse.down();
  for (const point of points.slice(1)) await page.mouse.move(...at(point), { steps: 4 });
  await page.mouse.up();
}

async function ask(page) {
  await page.locator('#ask').click();
  await answered(page);
}

async function answered(page) {
  await page.locator('#status', { hasText: 'The answer is' }).waitFor({ timeout: 60_000 });
}

async function scores(page) {
  return (await page.locator('#scores .value').allTextContents()).map(Number);
}

const digit = (page) => page.locator('#digit').textContent();

test('a digit drawn by mouse is read under encryption as it is in the clear', async () => {
  const sealed = await open(ckks, { viewport: { width: 1280, height: 900 } });
  await sealed.page.locator('#keys', { hasText: 'Keys are ready' }).waitFor({ timeout: 30_000 });
  const posts = () => sealed.seen.requests.filter((request) => request.method() !== 'GET');
  assert.deepEqual(posts(), [], 'nothing leaves before a question is asked');
  await draw(sealed.page, SEVEN);
  await ask(sealed.page);
  const clear = await open(plain, { viewport: { width: 1280, height: 900 } });
  await draw(clear.page, SEVEN);
  await ask(clear.page);
  const [encrypted, exact] = [await scores(sealed.page), await scores(clear.page)];
  assert.deepEqual([await digit(sealed.page), await digit(clear.page)], ['7', '7']);
  // Encryption is off by 0.0047 at most over the test set, and texts by half of 0.01 each.
  exact.forEach((value, i) => assert.ok(Math.abs(value - encrypted[i]) < 0.03, `${encrypted} and ${exact}`));

  const [keys, request] = posts();
  assert.match(new URL(keys.url()).pathname, /^\/v2\/keys\/[0-9a-f]{64}$/);
  assert.equal(keys.method(), 'PUT');
  assert.match(request.url(), /\/v2\/models\/mlp_square\/encrypted-infer$/);
  const body = request.postDataBuffer();
  assert.ok(body.length > 1_000_000 && body.subarray(0, 8).toString() === 'SBRSCKKS');
  // A ciphertext cannot be told from noise: all its bytes occur about as often.
  const counts = new Float64Array(256);
  body.subarray(1000).forEach((byte) => counts[byte]++);
  const expected = (body.length - 1000) / 256;
  const chi2 = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  // 255 degrees of freedom; six deviations of 22.6.
  assert.ok(chi2 < 391, `chi-squared ${chi2}`);
  assert.match(await sealed.page.locator('#facts').textContent(), /Of the digit\s*nothing/);
  assert.match(await clear.page.locator('#facts').textContent(), /Of the digit\s*everything/);
  const sent = JSON.parse(clear.seen.requests.find((each) => each.method() === 'POST').postData()).inputs[0].data;
  assert.ok(sent.length === 784 && sent.every((value) => value >= 0 && value <= 1));

  await ask(sealed.page);
  assert.equal(posts().length, 3, 'keys are sent once');
  console.log((await sealed.page.locator('#rows tr').allInnerTexts()).join('; ').replaceAll(/\s+/g, ' '));
  await sealed.page.screenshot({ path: join(folder, 'ckks.png'), fullPage: true });
  await clear.page.screenshot({ path: join(folder, 'plain.png'), fullPage: true });
  await Promise.all([sealed.close(), clear.close()]);
});

test('a digit drawn by mouse is read by parties on shares as it is in the clear', async () => {
  const shared = await open(rep3, { viewport: { width: 1280, height: 900 } });
  await shared.page.locator('#keys', { hasText: 'hospital, vendor, regulator' }).waitFor({ timeout: 30_000 });
  const posts = () => shared.seen.requests.filter((request) => request.method() !== 'GET');
  assert.deepEqual(posts(), [], 'nothing leaves before a question is asked');
  await draw(shared.page, SEVEN);
  await ask(shared.page);
  const clear = await open(plain, { viewport: { width: 1280, height: 900 } });
  await draw(clear.page, SEVEN);
  await ask(clear.page);
  const [found, exact] = [await scores(shared.page), await scores(clear.page)];
  assert.deepEqual([await digit(shared.page), await digit(clear.page)], ['7', '7']);
  exact.forEach((value, i) => assert.ok(Math.abs(value - found[i]) < 0.05, `${found} and ${exact}`));

  const [request] = posts();
  assert.match(request.url(), /\/v2\/models\/mlp_square\/shared-infer$/);
  assert.equal(request.postDataBuffer().subarray(0, 8).toString(), 'SROGREQ1');
  // What each party is told of the digit: noise, of which no two questions have the same, or nothing.
  const pictures = () => shared.page.locator('#shares canvas').evaluateAll((canvases) => canvases.map((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: data.length / 4 }, (_, i) => (data[4 * i + 3] === 0 ? 0 : data[4 * i]));
  }));
  const [first, second, third] = await pictures();
  for (const picture of [first, second]) {
    const mean = picture.reduce((sum, byte) => sum + byte, 0) / picture.length;
    // 784 bytes of deviation 73.9: six deviations of their mean.
    assert.ok(Math.abs(mean - 127.5) < 16 && new Set(picture).size > 200, `mean ${mean}`);
  }
  assert.ok(third.every((byte) => byte === 0), 'the regulator is told nothing');
  await ask(shared.page);
  const again = await pictures();
  const equal = first.filter((byte, i) => byte === again[0][i]).length;
  assert.ok(equal < 30, `${equal} of 784 bytes are the same twice`);
  const fingerprints = [...readFileSync(parties, 'utf8').matchAll(/sha256:[0-9a-f]{64}/g)].slice(0, 3).map(String);
  const shown = await shared.page.locator('#parties li').allTextContents();
  fingerprints.forEach((print, i) => assert.ok(shown[i].includes(print) && shown[i].includes('vouches'), shown[i]));
  console.log((await shared.page.locator('#rows tr').allInnerTexts()).join('; ').replaceAll(/\s+/g, ' '));
  await shared.page.screenshot({ path: join(folder, 'rep3.png'), fullPage: true });
  await Promise.all([shared.close(), clear.close()]);
});

test('the package pins the parties, and keys that are not theirs are refused', async () => {
  const { page, close } = await open(rep3);
  const pins = Object.fromEntries([...readFileSync(parties, 'utf8').matchAll(/name = "(\w+)"[^[]*?(sha256:\w+)/g)]
    .slice(0, 3).map(([, name, print]) => [name, print]));
  const outcome = (change, pinned = pins) => page.evaluate(async ([parties, change]) => {
    const { InferenceServer, SharedSession, readOffer } = await import('/web/src/index.js');
    const asked = { model: 'mlp_square', parties };
    const offer = await new InferenceServer(location.href).sharing('mlp_square');
    const [party] = offer.parties;
    if (change === 'key') party.key = `00${party.key.slice(2)}`;
    if (change === 'until') party.until += 1;
    if (change === 'party') party.fingerprint = offer.parties[1].fingerprint;
    if (change === 'fewer') offer.parties.pop();
    // A range, say: a gateway that made up its own would see from the refusals what the values are.
    if (change === 'outline') offer.outline = offer.outline.replace(/..$/, (last) => (last === '00' ? '01' : '00'));
    try {
      if (['model', 'via'].includes(change)) {
        // Any client at all that is offered what it did not ask for.
        const server = new InferenceServer(location.href);
        server.sharing = async () => offer;
        const model = change === 'model' ? 'another' : 'mlp_square';
        const session = new SharedSession(server, model, { via: change === 'via' ? 'rep4' : 'rep3', parties });
        return await session.infer(new Float32Array(784)).finally(() => session.close());
      }
      return (await readOffer(offer, asked)).parties.every(({ vouched }) => vouched);
    } catch (error) {
      return error.message;
    }
  }, [pinned, change]);
  assert.equal(await outcome('nothing'), true);
  assert.match(await outcome('key'), /hospital does not vouch/);
  assert.match(await outcome('until'), /hospital does not vouch/);
  assert.match(await outcome('party'), /hospital does not vouch/);
  assert.match(await outcome('outline'), /hospital does not vouch/);
  assert.match(await outcome('outline', null), /hospital does not vouch/, 'also where nobody is pinned');
  assert.match(await outcome('model'), /another model/);
  assert.match(await outcome('via'), /another model/);
  assert.match(await outcome('fewer'), /other parties/);
  await close();
});

test('a session of the package keeps to its model, and answers questions asked at once each for itself', async () => {
  const { page, close } = await open(rep3);
  const [apart, together] = await page.evaluate(async () => {
    const { InferenceServer, SharedSession } = await import('/web/src/index.js');
    const session = new SharedSession(new InferenceServer(location.href), 'mlp_square', { via: 'rep3' });
    const digits = [0, 0.5, 1].map((ink) => new Float32Array(784).fill(ink));
    const together = await Promise.all(digits.map((digit) => session.infer(digit)));
    const apart = [];
    for (const digit of digits) apart.push(await session.infer(digit));
    session.close();
    return [apart, together].map((all) => all.map((scores) => [...scores]));
  });
  // Truncation rounds at random and the squares magnify it: a bound for scores in the thousands is relative.
  apart.flat().forEach((value, i) =>
    assert.ok(Math.abs(value - together.flat()[i]) < 0.05 + 2e-4 * Math.abs(value), `${apart} and ${together}`));
  const outcome = await page.evaluate(async () => {
    // As on a page that was loaded over plain HTTP.
    Object.defineProperty(crypto, 'subtle', { value: undefined });
    const { InferenceServer, SharedSession } = await import('/web/src/index.js');
    const server = new InferenceServer(location.href);
    const offer = await server.sharing('mlp_square');
    const other = { ...offer, outline: offer.outline.replace(/..$/, (last) => (last === '00' ? '01' : '00')) };
    const offers = [offer, other];
    server.sharing = async () => offers.shift();
    server.sharedInfer = async () => { throw Object.assign(new Error('keys are gone'), { status: 409 }); };
    const session = new SharedSession(server, 'mlp_square');
    const vouched = [];
    const note = ({ step, parties }) => step === 'parties' && vouched.push(...parties.map((party) => party.vouched));
    const error = await session.infer(new Float32Array(784), note).catch(({ message }) => message);
    session.close();
    const pinned = new SharedSession(new InferenceServer(location.href), 'mlp_square', { parties: { hospital: '' } });
    const pin = await pinned.prepare().catch(({ message }) => message);
    return { vouched, error, pin };
  });
  assert.deepEqual(outcome.vouched, [false, false, false]);
  assert.match(outcome.error, /another model than it did/);
  assert.match(outcome.pin, /other parties/);
  await close();
});

test('by keyboard alone, on a phone in the dark', async () => {
  const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, colorScheme: 'dark', reducedMotion: 'reduce' };
  const { page, close } = await open(ckks, phone);
  await page.locator('#pad').focus();
  await page.keyboard.press('Space');
  await page.locator('#status', { hasText: 'The pen is down' }).waitFor();
  for (let i = 0; i < 12; i++) await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Space');
  for (const expected of ['clear', 'example', 'ask']) {
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.id), expected);
  }
  await page.keyboard.press('Enter');
  await answered(page);
  assert.equal(await digit(page), '1');
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `${wide} pixels wide`);
  await page.screenshot({ path: join(folder, 'phone.png'), fullPage: true });
  await close();
});

test('by finger', async () => {
  const { page, close } = await open(plain, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  const box = await page.locator('#pad').boundingBox();
  const touch = await page.context().newCDPSession(page);
  const at = ([x, y]) => ({ x: box.x + x * box.width, y: box.y + y * box.height });
  await touch.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: [at(SEVEN[0])] });
  for (const point of SEVEN.slice(1)) {
    await touch.send('Input.dispatchTouchEvent', { type: 'touchMove', touchPoints: [at(point)] });
  }
  await touch.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
  assert.equal(await page.evaluate(() => scrollY), 0, 'the page stays where it is');
  await ask(page);
  assert.equal(await digit(page), '7');
  await close();
});

test('every example is read', async () => {
  const { page, close } = await open(plain);
  for (let example = 0; example < 10; example++) {
    await page.locator('#example').selectOption(String(example));
    assert.equal(await digit(page), '?', 'an answer is not kept for another drawing');
    await ask(page);
    assert.equal(await digit(page), String(example));
  }
  await close();
});

test('a server that forgot the keys gets them again, and one that has failed is told', async () => {
  let refusals = 1;
  const { page, seen, close } = await open(ckks, {
    async before(page) {
      await page.route('**/encrypted-infer', (route) => {
        if (refusals-- > 0) return route.fulfill({ status: 409, json: { error: 'no such keys' } });
        return route.continue();
      });
    },
  }, /status of (409|503)/);
  await ask(await nothingFirst(page));
  assert.equal(seen.requests.filter((request) => request.method() === 'PUT').length, 2);
  await page.route('**/encrypted-infer', (route) => route.fulfill({ status: 503, json: { error: 'the server is busy' } }));
  await page.locator('#ask').click();
  await page.locator('#error', { hasText: 'the server is busy (503)' }).waitFor();
  await page.unroute('**/encrypted-infer');
  await ask(page);
  assert.ok(await page.locator('#error').isHidden());
  await close();
});

async function nothingFirst(page) {
  await page.locator('#ask').click();
  await page.locator('#status', { hasText: 'Draw a digit first' }).waitFor();
  await page.locator('#example').selectOption('4');
  return page;
}

test('a server that asks for a key gets what is typed, and nothing else is kept', async () => {
  const { page, close } = await open(plain, {
    async before(page) {
      await page.route(/page\.json|\/v2\//, async (route) => {
        const known = (await route.request().headerValue('authorization')) === 'Bearer swordfish';
        return known ? route.continue() : route.fulfill({ status: 401, json: { error: 'no key' } });
      });
    },
  }, /status of 401/);
  await page.locator('#login').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'key');
  await page.keyboard.type('swordfish');
  await page.keyboard.press('Enter');
  await page.locator('#badge').waitFor();
  await page.locator('#example').selectOption('3');
  await ask(page);
  assert.equal(await digit(page), '3');
  assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [0, 0, '']);
  await close();
});
