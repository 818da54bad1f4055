/* The sandbox's stand-in for Stripe.js: the part of its surface that a shop with a Payment Element uses, with the same
 * names and the same shapes of answers, so that one page works with both.
 *
 * The card form lives in a frame of the sandbox's origin: card numbers never enter the shop's page. This file adds no
 * inline script and no style sheet to that page; it sets properties through CSSOM only, which a strict CSP allows.
 */
(() => {
  'use strict';

  const ORIGIN = new URL(document.currentScript.src).origin;
  // Of the empty form, in one column and in two: what is kept free before it has loaded, so that nothing jumps.
  const frameHeight = (width) => (width > 340 ? 224 : 337);
  const LOAD_GRACE_MS = 2000;
  const CONNECTION_LOST = {
    type: 'api_connection_error',
    message: 'We are experiencing issues connecting to our payments provider. You have not been charged. ' +
      'Please check your internet connection and try again.',
  };
  const NOT_AUTHENTICATED = 'We are unable to authenticate your payment method. ' +
    'Please choose a different payment method and try again.';

  class IntegrationError extends Error {
    constructor(message) {
      super(message);
      this.name = 'IntegrationError';
    }
  }

  const set = (element, properties) => {
    for (const [name, value] of Object.entries(properties)) {
      element.style.setProperty(name, value);
    }
    return element;
  };

  let frames = 0;

  /* ---- the frame with the card form, and the talk with it ------------------------------------------------------- */

  class CardFrame {
    constructor(key, options, tell) {
      this.number = ++frames;
      this.tell = tell;
      this.waiting = new Map();
      this.questions = 0;
      this.ready = new Promise((resolve) => { this.becomeReady = resolve; });
      this.node = document.createElement('iframe');
      const query = new URLSearchParams({ key, origin: location.origin, theme: options.theme || '' });
      this.node.src = `${ORIGIN}/elements/card?${query}`;
      this.node.title = 'Secure payment input frame';
      this.node.name = `__sandboxStripeFrame${this.number}`;
      set(this.node, { border: '0', display: 'block', width: '100%', height: `${frameHeight(options.width)}px` });
      this.listen = (event) => this.hear(event);
      window.addEventListener('message', this.listen);
    }

    hear(event) {
      if (event.origin !== ORIGIN || event.source !== this.node.contentWindow) return;
      const { type, ...rest } = event.data;
      if (type === 'ready') {
        this.becomeReady();
      } else if (type === 'height') {
        set(this.node, { height: `${Math.ceil(rest.height)}px` });
      } else if (type === 'answer') {
        this.waiting.get(rest.question)(rest.answer);
        this.waiting.delete(rest.question);
      } else if (type === 'enter') {
        const form = this.node.closest('form');
        if (form) form.requestSubmit();
      }
      this.tell(type, rest);
    }

    async ask(type, content = {}) {
      await this.ready;
      const question = ++this.questions;
      return new Promise((resolve) => {
        this.waiting.set(question, resolve);
        this.node.contentWindow.postMessage({ type, question, ...content }, ORIGIN);
      });
    }

    remove() {
      window.removeEventListener('message', this.listen);
      this.node.remove();
    }
  }

  /* ---- elements ------------------------------------------------------------------------------------------------- */

  class PaymentElement {
    constructor(elements, options) {
      this.elements = elements;
      this.options = options;
      this.listeners = new Map();
      this.frame = null;
    }

    mount(where) {
      const node = typeof where === 'string' ? document.querySelector(where) : where;
      if (!node) {
        throw new IntegrationError(`The selector you specified (${where}) applies to no DOM elements that are ` +
          'currently on the page.');
      }
      this.unmount();
      const theme = (this.elements.options.appearance || {}).theme;
      const options = { theme, width: node.clientWidth };
      this.frame = new CardFrame(this.elements.key, options, (type, rest) => this.hear(type, rest));
      this.watchLoading(this.frame);
      node.replaceChildren(this.frame.node);
    }

    /* A browser shows its own error page in the frame and says nothing: what is loaded but silent has failed. */
    watchLoading(frame) {
      let ready = false;
      frame.ready.then(() => { ready = true; });
      frame.node.addEventListener('load', () => setTimeout(() => {
        if (!ready && frame === this.frame) {
          this.emit('loaderror', { elementType: 'payment', error: CONNECTION_LOST });
        }
      }, LOAD_GRACE_MS), { once: true });
    }

    hear(type, { state }) {
      if (type === 'ready') this.emit('ready', { elementType: 'payment' });
      if (type === 'focus' || type === 'blur') this.emit(type, { elementType: 'payment' });
      if (type === 'change') {
        this.emit('change', { elementType: 'payment', collapsed: false, value: { type: 'card' }, ...state });
      }
    }

    on(name, listener) {
      if (!this.listeners.has(name)) this.listeners.set(name, new Set());
      this.listeners.get(name).add(listener);
      return this;
    }

    once(name, listener) {
      const only = (event) => {
        this.off(name, only);
        listener(event);
      };
      return this.on(name, only);
    }

    off(name, listener) {
      if (listener) this.listeners.get(name)?.delete(listener);
      else this.listeners.delete(name);
      return this;
    }

    emit(name, event) {
      for (const listener of [...(this.listeners.get(name) || [])]) listener(event);
    }

    update(options) {
      Object.assign(this.options, options);
    }

    collapse() {}

    focus() {
      this.frame?.ask('focus');
    }

    unmount() {
      this.frame?.remove();
      this.frame = null;
    }

    destroy() {
      this.unmount();
      this.listeners.clear();
      this.elements.element = null;
    }
  }

  class Elements {
    constructor(key, options) {
      if (options.mode === 'payment' && !(Number.isInteger(options.amount) && options.currency)) {
        throw new IntegrationError("Invalid value for elements(): amount and currency are required when mode is " +
          "'payment'.");
      }
      if (!options.mode && !options.clientSecret) {
        throw new IntegrationError('In order to create a payment element, you must pass a clientSecret or mode when ' +
          'creating the Elements group.');
      }
      this.key = key;
      this.options = { ...options };
      this.element = null;
      this.submitted = false;
    }

    create(type, options = {}) {
      if (type !== 'payment') {
        throw new IntegrationError(`The sandbox has the payment element only, not: ${type}.`);
      }
      if (this.element) {
        throw new IntegrationError('Can only create one Element of type payment through this method.');
      }
      this.element = new PaymentElement(this, { ...options });
      this.element.on('change', () => { this.submitted = false; });
      return this.element;
    }

    getElement(type) {
      return type === 'payment' ? this.element : null;
    }

    update(options) {
      Object.assign(this.options, options);
      const { theme } = options.appearance || {};
      if (theme) this.element?.frame?.ask('theme', { theme });
    }

    async fetchUpdates() {
      return {};
    }

    async submit() {
      if (!this.element?.frame) {
        throw new IntegrationError('elements.submit() needs a mounted Payment Element.');
      }
      const answer = await this.element.frame.ask('submit');
      this.submitted = !answer.error;
      return answer;
    }
  }

  /* ---- the bank's challenge --------------------------------------------------------------------------------------- */

  /* Shows the challenge over the page; resolves once the shopper has answered, or closed it. */
  const challenge = (url) => new Promise((resolve) => {
    const dialog = document.createElement('dialog');
    dialog.setAttribute('aria-label', 'Verify your payment with your bank');
    set(dialog, {
      border: '0', 'border-radius': '12px', padding: '0', overflow: 'hidden', width: 'min(26rem, 94vw)',
      height: 'min(30rem, 90vh)', 'max-width': 'none', 'max-height': 'none',
      'box-shadow': '0 24px 64px rgb(0 0 0 / 45%)',
    });
    const frame = document.createElement('iframe');
    frame.title = 'Verification by your bank';
    frame.src = `${url}?${new URLSearchParams({ origin: location.origin })}`;
    set(frame, { border: '0', display: 'block', width: '100%', height: '100%' });
    const close = document.createElement('button');
    close.type = 'button';
    close.setAttribute('aria-label', 'Close');
    close.textContent = '\u00d7';
    set(close, {
      position: 'absolute', top: '8px', right: '8px', width: '40px', height: '40px', border: '0',
      'border-radius': '50%', background: 'rgb(127 127 127 / 20%)', color: 'inherit', font: '24px/1 system-ui',
      cursor: 'pointer',
    });
    dialog.append(frame, close);
    document.body.append(dialog);

    let over = false;
    const end = () => {
      if (over) return;
      over = true;
      window.removeEventListener('message', hear);
      dialog.close();
      dialog.remove();
      resolve();
    };
    const hear = (event) => {
      if (event.origin !== ORIGIN || event.source !== frame.contentWindow) return;
      if (event.data.type === 'challenge-answered') end();
      if (event.data.type === 'escape') dialog.close();
    };
    const giveUp = () => { // closing is an answer too: the bank hears that the shopper did not authenticate
      if (over) return;
      frame.contentWindow.postMessage({ type: 'give-up' }, ORIGIN);
      setTimeout(end, 4000);
    };
    window.addEventListener('message', hear);
    close.addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', giveUp); // Escape comes here too
    dialog.showModal();
  });

  /* ---- Stripe ------------------------------------------------------------------------------------------------------ */

  class StripeStandIn {
    constructor(key) {
      this.key = key;
      this._apiKey = key;
    }

    elements(options = {}) {
      return new Elements(this.key, options);
    }

    async createConfirmationToken({ elements, params = {} }) {
      if (!(elements instanceof Elements)) {
        throw new IntegrationError('Please use the same instance of `Stripe` you used to create this Elements group.');
      }
      if (!elements.submitted) {
        throw new IntegrationError('elements.submit() must be called before stripe.createConfirmationToken().');
      }
      return elements.element.frame.ask('create-confirmation-token', {
        params: JSON.parse(JSON.stringify(params)),
        amount: elements.options.amount,
        currency: elements.options.currency,
      });
    }

    async retrievePaymentIntent(clientSecret) {
      const id = String(clientSecret).split('_secret_')[0];
      if (!/^pi_\w+_secret_\w+$/.test(clientSecret)) {
        throw new IntegrationError('Invalid value for stripe.retrievePaymentIntent intent secret: value should be a ' +
          'client secret of the form ${id}_secret_${secret}.');
      }
      try {
        const answer = await fetch(
          `${ORIGIN}/v1/payment_intents/${id}?${new URLSearchParams({ client_secret: clientSecret })}`,
          { headers: { Authorization: `Bearer ${this.key}` } },
        );
        const body = await answer.json();
        return body.error ? { error: body.error } : { paymentIntent: body };
      } catch {
        return { error: CONNECTION_LOST };
      }
    }

    async handleNextAction({ clientSecret }) {
      const before = await this.retrievePaymentIntent(clientSecret);
      if (before.error) return before;
      if (before.paymentIntent.status !== 'requires_action') {
        throw new IntegrationError('handleNextAction: The PaymentIntent supplied is not in the requires_action state.');
      }
      const action = before.paymentIntent.next_action;
      if (action.type === 'redirect_to_url') {
        window.location.assign(action.redirect_to_url.url);
        return new Promise(() => {}); // the page is on its way out
      }
      await challenge(action.use_stripe_sdk.stripe_js);
      return this.outcome(clientSecret);
    }

    async outcome(clientSecret) {
      const after = await this.retrievePaymentIntent(clientSecret);
      if (after.error) return after;
      const intent = after.paymentIntent;
      if (['succeeded', 'processing', 'requires_capture', 'requires_confirmation'].includes(intent.status)) return after;
      const error = intent.last_payment_error || {
        type: 'invalid_request_error', code: 'payment_intent_unexpected_state',
      };
      const authentication = intent.status === 'requires_action' ||
        error.code === 'payment_intent_authentication_failure';
      return {
        error: {
          ...error,
          ...(authentication && {
            type: 'invalid_request_error', code: 'payment_intent_authentication_failure', message: NOT_AUTHENTICATED,
          }),
          payment_intent: intent,
        },
      };
    }
  }

  const Stripe = (key) => {
    if (typeof key !== 'string' || !key) {
      throw new IntegrationError('Please call Stripe() with your publishable key. You used an empty string.');
    }
    if (!key.startsWith('pk_')) {
      throw new IntegrationError('You should not use your secret key with Stripe.js. Please pass a publishable key.');
    }
    return new StripeStandIn(key);
  };
  Stripe.version = 'sandbox';
  window.Stripe = Stripe;
})();
