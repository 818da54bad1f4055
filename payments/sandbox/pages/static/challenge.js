/* The bank's page inside a frame: tells the shop's page when the shopper has answered, never how. */
(() => {
  'use strict';

  const { origin, answered } = document.body.dataset;
  if (!origin || window.parent === window) return;
  if (answered) {
    window.parent.postMessage({ type: 'challenge-answered' }, origin);
    return;
  }
  window.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') window.parent.postMessage({ type: 'escape' }, origin);
  });
  window.addEventListener('message', (event) => {
    if (event.origin !== origin || event.source !== window.parent || event.data.type !== 'give-up') return;
    document.querySelector('[value=fail]').click();
  });
})();
