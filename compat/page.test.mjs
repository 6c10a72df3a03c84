// The page of the example in a real browser: two windows, every button, a crash.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { chromium } from 'playwright-core';

import { Chappe, EXAMPLE, eventually, getJson } from './harness.mjs';
import { CHROMIUM, FLAGS } from './realtime/chromium.mjs';

const PATIENCE_MS = 30_000;
const missing = existsSync(CHROMIUM) ? false : `not run: there is no Chromium at ${CHROMIUM}`;

let chappe;
let browser;
let windows;
/** Errors and warnings of the pages; a page that works has none. */
let complaints = [];

before(async () => {
  if (missing) return;
  chappe = await Chappe.start({ app: EXAMPLE });
  await eventually(async () => {
    const cards = await getJson(`${chappe.urls.gateway}/api/cards`);
    return cards.length >= 3 ? true : undefined;
  }, 'the first cards');
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  windows = [await open(), await open()];
});

after(async () => {
  await browser?.close();
  await chappe?.stop();
});

async function open() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  await page.goto(chappe.urls.gateway);
  await says(page, '#status', /Both clients are connected/);
  return page;
}

/** Waits until an element's text matches. */
async function says(page, selector, pattern) {
  const found = page.locator(selector).filter({ hasText: pattern });
  await found.waitFor({ timeout: PATIENCE_MS }).catch(async () => {
    assert.match(await page.textContent(selector), pattern, `${selector}\n${chappe.log}`);
  });
}

const pane = (page, index) => page.locator('.pane').nth(index);

/** Waits until all panes of all windows show a card with this text. */
async function everywhere(text) {
  for (const page of windows) {
    for (const index of [0, 1]) await pane(page, index).getByText(text, { exact: true }).waitFor();
  }
}

async function nowhere(text) {
  for (const page of windows) {
    for (const index of [0, 1]) await pane(page, index).getByText(text, { exact: true }).waitFor({ state: 'detached' });
  }
}

const card = (page, index, text) => pane(page, index).locator('.card').filter({ hasText: text });

test('the page shows the next step and checks off completed ones', { skip: missing }, async () => {
  const fresh = await open();
  const current = () => fresh.locator('#steps [aria-current="step"]').textContent();
  assert.match(await current(), /Click a card and change its text/);
  assert.equal(await fresh.locator('#hops .what').count(), 5, 'the hops are explained before there are any');
  await pane(fresh, 0).locator('.card-text').first().click();
  const edited = pane(fresh, 0).locator('.card').first();
  // The field replaces the text, and is not below it.
  await edited.locator('textarea').waitFor();
  assert.equal(await edited.locator('.card-text').isVisible(), false, 'the text is shown once');
  await fresh.keyboard.type('Step by step');
  await fresh.keyboard.press('Enter');
  await says(fresh, '#steps [aria-current="step"]', /Try to lose a change/);
  await everywhere('Step by step');
  await fresh.context().close();
});

test('two windows with four connections show the edits of both', { skip: missing }, async () => {
  const [one, two] = windows;
  await says(one, '#connections', /^4$/);
  await pane(one, 0).locator('.add input').first().fill('Made in window one');
  await one.keyboard.press('Enter');
  await everywhere('Made in window one');

  // Inline, by keyboard only.
  await card(two, 1, 'Made in window one').locator('.card-text').focus();
  await two.keyboard.press('Enter');
  await two.keyboard.type('Changed in window two');
  await two.keyboard.press('Enter');
  await everywhere('Changed in window two');
});

test('cards can be moved, recoloured and deleted', { skip: missing }, async () => {
  const [one, two] = windows;
  const text = 'Changed in window two';
  const mine = () => card(one, 0, text);
  const colour = await mine().getAttribute('data-colour');
  await mine().locator('.colour').click();
  const changed = card(two, 1, text).and(two.locator(`.card:not([data-colour="${colour}"])`));
  await changed.waitFor();
  await mine().locator('.forth').click();
  await pane(two, 0).locator('.column').nth(1).getByText(text, { exact: true }).waitFor();
  await mine().locator('.back').click();
  await pane(two, 0).locator('.column').nth(0).getByText(text, { exact: true }).waitFor();
  await mine().locator('.delete').click();
  await nowhere(text);
});

test('the path of a change is shown step by step', { skip: missing }, async () => {
  const [one] = windows;
  await pane(one, 0).locator('.add input').nth(1).fill('Look at my way');
  await one.keyboard.press('Enter');
  await says(one, '#way-note', /Look at my way.* took [\d.]+ m?s from write to screen/);
  const hops = await one.locator('.hop .name').allTextContents();
  assert.deepEqual(hops, ['write', 'feed', 'function', 'send', 'screen', 'whole']);
  // The bars follow each other and fill the whole width.
  const bars = await one.locator('.hop .bar').evaluateAll((all) => all.map((bar) => ({
    from: parseFloat(bar.style.getPropertyValue('--from')), width: parseFloat(bar.style.getPropertyValue('--width')),
  })));
  bars.forEach(({ from }, index) => {
    const before = bars.slice(0, index).reduce((sum, bar) => sum + bar.width, 0);
    assert.ok(Math.abs(from - before) < 0.01, `bar ${index} begins where the one before it ends: ${JSON.stringify(bars)}`);
  });
  assert.ok(Math.abs(bars.reduce((sum, { width }) => sum + width, 0) - 100) < 0.01, JSON.stringify(bars));
  await says(one, '#latency', /^[\d.]+ m?s$/);
});

test('the commands for a terminal address this process', { skip: missing }, async () => {
  const [one] = windows;
  const curl = await one.textContent('#curl');
  assert.ok(curl.includes(new URL(one.url()).host), curl);
  const sdk = await one.textContent('#sdk');
  assert.ok(sdk.includes(new URL(chappe.urls.documents).port), sdk);
  await says(one, '#source', /app\.cosmosDB\('changed'/);
  for (const copy of await one.locator('.copy').all()) await copy.click();
});

test('the feed continues after an exception and after a kill of the worker', { skip: missing }, async () => {
  const [one] = windows;
  await one.click('#throw');
  await says(one, '#finding', /The function threw “Error: card mischief told me to throw”\. .* arrived/);
  await everywhere('The function failed before this, and the feed went on');
  await says(one, '#log', /told me to throw/);
  await one.click('#kill-worker');
  await says(one, '#finding', /A new one took over; both changes arrived/);
  await everywhere('Written while the worker was gone');
  assert.deepEqual(complaints.filter((text) => !text.includes('Failed to load resource')), []);
});

test('after kill -9 the page reconnects and shows every accepted change', { skip: missing }, async () => {
  const [one, two] = windows;
  await one.click('#stream');
  await says(one, '#finding', /^([2-9]\d|\d{3,}) changes accepted in a row/);
  const pid = chappe.pid;
  await chappe.kill();
  await says(one, '#status', /The process is away/);
  await chappe.run();
  await says(one, '#status', new RegExp(`Process ${chappe.pid} took over from ${pid} after .*: .*all \\d+ accepted changes`));
  await says(one, '#ledger', /every one of \d+ accepted changes was here/);
  await one.click('#stream');
  await says(two, '#status', new RegExp(`Process ${chappe.pid} took over`));
  await says(one, '#kill-command', new RegExp(`kill -9 ${chappe.pid}`));

  await pane(two, 1).locator('.add input').last().fill('Still following');
  await two.keyboard.press('Enter');
  await everywhere('Still following');
  // While the process was down, the browser itself reports refused connections; no other message is allowed.
  const others = complaints.filter((text) => !/Failed to load resource|WebSocket connection to/.test(text));
  assert.deepEqual(others, []);
});

test('the page supports narrow screens and dark mode', { skip: missing }, async (context) => {
  const [one] = windows;
  const folder = await mkdtemp(path.join(tmpdir(), 'chappe-page-'));
  for (const [name, width, height, colorScheme] of [
    ['wide-light', 1280, 800, 'light'], ['wide-dark', 1280, 800, 'dark'], ['narrow', 390, 844, 'light'],
  ]) {
    await one.emulateMedia({ colorScheme });
    await one.setViewportSize({ width, height });
    const beyond = await one.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(beyond <= 0, `${name}: nothing sticks out sideways`);
    const least = name === 'narrow' ? 44 : 32;
    const small = await one.locator('button:visible, input:visible').evaluateAll((all, side) => all
      .map((each) => [each.className || each.id, each.getBoundingClientRect()])
      .filter(([, { width, height }]) => width < side || height < side)
      .map(([what, { width, height }]) => `${what} ${width} x ${height}`), least);
    assert.deepEqual(small, [], `${name}: everything can be pressed`);
    await one.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
  }
  context.diagnostic(`screenshots are in ${folder}`);
});
