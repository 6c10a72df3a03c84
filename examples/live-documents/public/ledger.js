// The changes that the server accepted from this browser. They are stored in the browser, as evidence that is independent of the server:
// after a crash, each entry must still exist.

const KEY = 'live-documents.accepted';

let ledger = { dataDir: null, count: 0, cards: {} };
/** The result of the last comparison. It stays visible while further changes are accepted. */
let found = { text: '', mood: '' };

/** Opens the ledger of this data directory; for another directory, an empty one. */
export function open(dataDir) {
  if (ledger.dataDir === dataDir) return;
  const stored = read();
  ledger = stored?.dataDir === dataDir ? stored : { dataDir, count: 0, cards: {} };
  show();
}

/** Records that the server accepted a change of a card. */
export function accepted(card) {
  ledger.count += 1;
  ledger.cards[card.id] = Math.max(card.rev, ledger.cards[card.id] ?? 0);
  try {
    localStorage.setItem(KEY, JSON.stringify(ledger));
  } catch { /* full or forbidden: the ledger then lasts as long as the page */ }
  show();
}

/** Compares the ledger with the current data of the server. */
export function check(cards) {
  const present = new Map(cards.map((card) => [card.id, card.rev]));
  const ids = Object.keys(ledger.cards);
  const lost = ids.filter((id) => (present.get(id) ?? 0) < ledger.cards[id]);
  const all = `When last compared, every one of ${count(ledger.count, 'accepted change')} was here, on ${count(ids.length, 'card')}.`;
  found = lost.length
    ? { text: `${lost.length} of ${ids.length} cards are behind what was accepted: ${lost.join(', ')}`, mood: 'bad' }
    : { text: ledger.count ? all : '', mood: ledger.count ? 'good' : '' };
  show();
  return { lost, accepted: ledger.count };
}

function show() {
  const line = document.getElementById('ledger');
  line.dataset.mood = found.mood;
  const so = ledger.count ? `${count(ledger.count, 'change')} accepted from this browser.` : 'No change accepted from this browser yet.';
  line.textContent = `${so} ${found.text}`;
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY));
  } catch {
    return null;
  }
}

export function count(number, word) {
  return `${number} ${word}${number === 1 ? '' : 's'}`;
}
