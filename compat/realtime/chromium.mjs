// The browser of the tests, and its flags: a separate profile, no window, no network requests of its own.

export const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';

export const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
