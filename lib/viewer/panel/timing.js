/** Measures the panel's own work in the browser's timeline, where `main.py benchmark --only-browser` reads it. */

/**
 * Return the result of an action, and record how long it took.
 *
 * @template Result
 * @param {string} name
 * @param {() => Result} action
 * @returns {Result}
 */
export function timed(name, action) {
  const start = performance.now();
  try {
    return action();
  } finally {
    performance.measure(`lunglabel ${name}`, { start });
  }
}
