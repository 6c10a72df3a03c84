// The steps to try, in order: the first one that is not done is the current one.

/** Marks a step as done, counted from 1, and all steps before it. */
export function done(step) {
  const items = [...document.querySelectorAll('#steps li')];
  items.slice(0, step).forEach((item) => { item.dataset.done = 'true'; });
  const next = items.find((item) => item.dataset.done !== 'true');
  for (const item of items) {
    if (item === next) item.setAttribute('aria-current', 'step');
    else item.removeAttribute('aria-current');
  }
}
