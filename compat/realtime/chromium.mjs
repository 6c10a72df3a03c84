// The browser of the tests, and how it is started: alone, without a window, without calls of its own.

export const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';

export const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
