// One client of the board: a SignalR connection, and the cards that it received.

import { newId, now, pause } from './api.js';

export const COLUMNS = ['todo', 'doing', 'done'];
const COLOURS = ['sand', 'sage', 'sky', 'rose'];

/** Waits 0.1 s at first and at most 2 s, without a limit on attempts: the process may restart at any time. */
const retryDelay = (attempt) => Math.min(100 * 2 ** attempt, 2000);

export class Pane {
  #root;
  #cards = new Map();
  #elements = new Map();
  #columns = new Map();
  #events;
  #connection;

  /** @param events what to call: write(card), remove(card), received(pane, card, traceparent, at), state(pane, state). */
  constructor(root, events) {
    this.#root = root;
    this.#events = events;
    this.name = root.dataset.name;
    this.state = 'connecting';
    this.#build();
    this.#connect();
  }

  card(id) {
    return this.#cards.get(id);
  }

  /** Applies a card unless a newer version is known. Returns whether it was applied. */
  take(card) {
    const known = this.#cards.get(card.id);
    if (known && known.rev >= card.rev) return false;
    this.#cards.set(card.id, card);
    this.#draw(card, Boolean(known) || this.state === 'connected');
    return true;
  }

  saving(id, on) {
    this.#elements.get(id)?.classList.toggle('saving', on);
  }

  #connect() {
    const connection = new signalR.HubConnectionBuilder()
      .withUrl('/api')
      .withAutomaticReconnect({ nextRetryDelayInMilliseconds: (retry) => retryDelay(retry.previousRetryCount) })
      .configureLogging(signalR.LogLevel.None)
      .build();
    connection.on('cardChanged', (card, trace) => {
      const at = now();
      this.take(card);
      this.saving(card.id, false);
      this.#events.received(this, card, trace?.traceparent, at);
    });
    connection.onreconnecting(() => this.#enter('away'));
    connection.onreconnected(() => this.#enter('connected'));
    // Closed by the other side: connect again.
    connection.onclose(() => this.#start());
    this.#connection = connection;
    this.#start();
  }

  async #start() {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await this.#connection.start();
        this.#enter('connected');
        return;
      } catch {
        this.#enter('away');
        await pause(retryDelay(attempt));
      }
    }
  }

  #enter(state) {
    if (state === this.state) return;
    this.state = state;
    this.#root.dataset.live = String(state === 'connected');
    this.#root.querySelector('.dot').dataset.state = state;
    const id = this.#connection?.connectionId?.slice(0, 6);
    const text = state === 'connected' ? `connected${id ? ` as ${id}…` : ''}` : 'away, trying again';
    this.#root.querySelector('.link-text').textContent = text;
    this.#events.state(this, state);
  }

  #build() {
    this.#root.append(clone('pane-template'));
    this.#root.querySelector('h2').textContent = this.name;
    this.#root.setAttribute('aria-label', this.name);
    for (const column of COLUMNS) {
      const section = clone('column-template').firstElementChild;
      section.querySelector('h3').textContent = column;
      section.querySelector('.unseen').textContent = `Add a card to ${column}, ${this.name}`;
      section.querySelector('form').addEventListener('submit', (event) => {
        event.preventDefault();
        this.#add(column, section.querySelector('input'));
      });
      this.#columns.set(column, section.querySelector('.cards'));
      this.#root.querySelector('.columns').append(section);
    }
  }

  async #add(column, input) {
    const text = input.value.trim();
    if (!text) return;
    input.value = '';
    const colour = COLOURS[Math.floor(Math.random() * COLOURS.length)];
    const accepted = await this.#events.write({ id: newId(), text, column, colour });
    // Not accepted: the text stays in the field.
    if (!accepted && !input.value) input.value = text;
  }

  #draw(card, announce) {
    let element = this.#elements.get(card.id);
    if (card.deleted) {
      element?.remove();
      this.#elements.delete(card.id);
      return;
    }
    if (!element) {
      element = this.#make(card.id);
      this.#elements.set(card.id, element);
    }
    const place = this.#columns.get(card.column) ?? this.#columns.get(COLUMNS[0]);
    if (element.parentElement !== place) place.append(element);
    element.dataset.colour = card.colour;
    const shown = element.querySelector('.card-text');
    shown.textContent = card.text || '(empty)';
    shown.setAttribute('aria-label', `Edit: ${card.text || 'empty card'}`);
    const at = COLUMNS.indexOf(card.column);
    label(element, '.back', `Move “${card.text}” left`, at <= 0);
    label(element, '.forth', `Move “${card.text}” right`, at === COLUMNS.length - 1);
    label(element, '.colour', `Next colour for “${card.text}”`);
    label(element, '.delete', `Delete “${card.text}”`);
    if (announce) this.#flash(element);
  }

  #flash(element) {
    const list = element.parentElement;
    const beyond = element.offsetTop + element.offsetHeight - list.offsetTop - list.clientHeight;
    if (beyond > list.scrollTop || element.offsetTop - list.offsetTop < list.scrollTop) list.scrollTop = beyond;
    element.classList.remove('arrived');
    requestAnimationFrame(() => element.classList.add('arrived'));
  }

  #make(id) {
    const element = clone('card-template').firstElementChild;
    element.dataset.id = id;
    const change = (part) => this.#write({ ...this.#cards.get(id), ...part });
    const move = (by) => change({ column: COLUMNS[COLUMNS.indexOf(this.#cards.get(id).column) + by] });
    on(element, '.card-text', () => this.#edit(element, id));
    on(element, '.back', () => move(-1));
    on(element, '.forth', () => move(1));
    on(element, '.colour', () => {
      const next = (COLOURS.indexOf(this.#cards.get(id).colour) + 1) % COLOURS.length;
      change({ colour: COLOURS[next] });
    });
    on(element, '.delete', () => {
      this.saving(id, true);
      this.#events.remove(this.#cards.get(id)).finally(() => this.saving(id, false));
    });
    return element;
  }

  #write(card) {
    this.saving(card.id, true);
    return this.#events.write(card).finally(() => this.saving(card.id, false));
  }

  /** Enter or leaving the field saves, Escape does not. */
  #edit(element, id) {
    const shown = element.querySelector('.card-text');
    const field = document.createElement('textarea');
    field.value = this.#cards.get(id).text;
    field.maxLength = 500;
    field.rows = 2;
    field.setAttribute('aria-label', 'Text of the card; Enter saves, Escape does not');
    shown.hidden = true;
    shown.after(field);
    field.focus();
    field.select();
    let done = false;
    const finish = async (save, refocus) => {
      if (done) return;
      done = true;
      const text = field.value.trim();
      const accepted = !save || text === this.#cards.get(id).text || (await this.#write({ ...this.#cards.get(id), text }));
      if (!accepted) {
        done = false;
        return;
      }
      field.remove();
      shown.hidden = false;
      if (refocus) shown.focus();
    };
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') finish(false, true);
      if (event.key !== 'Enter' || event.shiftKey) return;
      event.preventDefault();
      finish(true, true);
    });
    field.addEventListener('blur', () => finish(true, false));
  }
}

function clone(id) {
  return document.getElementById(id).content.cloneNode(true);
}

function on(element, selector, act) {
  element.querySelector(selector).addEventListener('click', act);
}

function label(element, selector, text, disabled = false) {
  const button = element.querySelector(selector);
  button.setAttribute('aria-label', text);
  button.disabled = disabled;
  button.style.visibility = disabled ? 'hidden' : '';
}
