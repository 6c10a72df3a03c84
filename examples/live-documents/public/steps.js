// What to try, in order: the first step that is not done is the one to take now.

/** Ticks a step off, counted from 1, and those before it. */
export function done(step) {
  const items = [...document.querySelectorAll('#steps li')];
  items.slice(0, step).forEach((item) => { item.dataset.done = 'true'; });
  const next = items.find((item) => item.dataset.done !== 'true');
  for (const item of items) {
    if (item === next) item.setAttribute('aria-current', 'step');
    else item.removeAttribute('aria-current');
  }
}
