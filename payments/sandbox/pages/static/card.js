/* The card form in its frame: formatting, plain validation messages, and the confirmation token. The shop's page hears
 * whether the form is complete and gets a token, never a number. */
(() => {
  'use strict';

  const query = new URLSearchParams(location.search);
  const KEY = query.get('key');
  const SHOP = query.get('origin');
  const CONNECTION_LOST = {
    type: 'api_connection_error',
    message: 'We are experiencing issues connecting to our payments provider. You have not been charged. ' +
      'Please check your internet connection and try again.',
  };
  const dress = (theme) => {
    if (!['night', 'stripe', 'flat'].includes(theme)) return;
    document.documentElement.dataset.theme = theme === 'night' ? 'dark' : 'light';
  };
  dress(query.get('theme'));

  const fields = {
    number: document.querySelector('[name=number]'),
    expiry: document.querySelector('[name=expiry]'),
    cvc: document.querySelector('[name=cvc]'),
  };
  const touched = new Set();
  const tell = (type, content = {}) => window.parent.postMessage({ type, ...content }, SHOP);
  const digits = (value) => value.replace(/\D/g, '');
  const isAmex = () => /^3[47]/.test(digits(fields.number.value));

  const luhn = (number) => {
    let sum = 0;
    [...number].reverse().forEach((digit, place) => {
      const value = Number(digit) * (place % 2 ? 2 : 1);
      sum += value > 9 ? value - 9 : value;
    });
    return sum % 10 === 0;
  };

  /* Each check answers null, or [code, message]. */
  const checks = {
    number() {
      const number = digits(fields.number.value);
      if (number.length < (isAmex() ? 15 : 16)) return ['incomplete_number', 'Your card number is incomplete.'];
      return luhn(number) ? null : ['invalid_number', 'Your card number is invalid.'];
    },
    expiry() {
      const expiry = digits(fields.expiry.value);
      if (expiry.length < 4) return ['incomplete_expiry', "Your card's expiration date is incomplete."];
      const [month, year] = [Number(expiry.slice(0, 2)), 2000 + Number(expiry.slice(2))];
      const now = new Date();
      if (month < 1 || month > 12) return ['invalid_expiry_month', "Your card's expiration month is invalid."];
      if (year < now.getFullYear()) {
        return ['invalid_expiry_year_past', "Your card's expiration year is in the past."];
      }
      if (year > now.getFullYear() + 50) {
        return ['invalid_expiry_year', "Your card's expiration year is invalid."];
      }
      if (year === now.getFullYear() && month < now.getMonth() + 1) {
        return ['invalid_expiry_month_past', "Your card's expiration date is in the past."];
      }
      return null;
    },
    cvc() {
      const length = digits(fields.cvc.value).length;
      return length === (isAmex() ? 4 : 3)
        ? null
        : ['incomplete_cvc', "Your card's security code is incomplete."];
    },
  };

  const show = (name, problem) => {
    const field = fields[name];
    const text = document.getElementById(`Field-${name}Error`);
    field.setAttribute('aria-invalid', problem ? 'true' : 'false');
    text.textContent = problem ? problem[1] : '';
    reportHeight();
  };

  const state = () => ({
    empty: Object.values(fields).every((field) => !field.value),
    complete: Object.keys(fields).every((name) => !checks[name]()),
  });

  const reportHeight = () => tell('height', { height: document.body.getBoundingClientRect().height });

  const format = {
    number(value) {
      const number = digits(value).slice(0, isAmex() ? 15 : 19);
      return isAmex()
        ? [number.slice(0, 4), number.slice(4, 10), number.slice(10)].filter(Boolean).join(' ')
        : (number.match(/.{1,4}/g) || []).join(' ');
    },
    expiry(value) {
      let expiry = digits(value);
      if (/^[2-9]/.test(expiry)) expiry = `0${expiry}`;
      if (expiry.length > 4 && expiry.slice(2, 4) === '20') expiry = expiry.slice(0, 2) + expiry.slice(4);
      expiry = expiry.slice(0, 4);
      return expiry.length > 2 ? `${expiry.slice(0, 2)} / ${expiry.slice(2)}` : expiry;
    },
    cvc: (value) => digits(value).slice(0, isAmex() ? 4 : 3),
  };

  for (const [name, field] of Object.entries(fields)) {
    field.addEventListener('input', () => {
      const atEnd = field.selectionEnd === field.value.length;
      const formatted = format[name](field.value);
      if (formatted !== field.value) {
        field.value = formatted;
        if (!atEnd) field.setSelectionRange(formatted.length, formatted.length);
      }
      if (touched.has(name)) show(name, checks[name]());
      tell('change', { state: state() });
    });
    field.addEventListener('blur', () => {
      tell('blur');
      if (!field.value) return;
      touched.add(name);
      show(name, checks[name]());
    });
    field.addEventListener('focus', () => tell('focus'));
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') {
        event.preventDefault();
        tell('enter'); // as in a form: the shop's form is submitted
      }
    });
  }

  for (const button of document.querySelectorAll('[data-number]')) {
    button.addEventListener('click', () => {
      fields.number.value = button.dataset.number;
      fields.expiry.value = button.dataset.expiry;
      fields.cvc.value = button.dataset.cvc;
      for (const name of Object.keys(fields)) {
        fields[name].value = format[name](fields[name].value);
        show(name, null);
      }
      tell('change', { state: state() });
    });
  }
  document.querySelector('details').addEventListener('toggle', reportHeight);

  const submit = () => {
    let first = null;
    for (const name of Object.keys(fields)) {
      touched.add(name);
      const problem = checks[name]();
      show(name, problem);
      if (problem && !first) {
        first = problem;
        fields[name].focus();
      }
    }
    return first
      ? { error: { type: 'validation_error', code: first[0], message: first[1] } }
      : { selectedPaymentMethod: 'card' };
  };

  /* Stripe's form encoding: a[b][c]=d */
  const encode = (value, name, form) => {
    if (value === null || value === undefined) return form;
    if (typeof value === 'object') {
      for (const [key, below] of Object.entries(value)) encode(below, name ? `${name}[${key}]` : key, form);
    } else {
      form.append(name, value);
    }
    return form;
  };

  const createConfirmationToken = async ({ params, amount, currency }) => {
    const expiry = digits(fields.expiry.value);
    const given = params.payment_method_data || {};
    const form = encode({
      ...params,
      payment_method_data: {
        ...given,
        type: 'card',
        card: {
          number: digits(fields.number.value),
          exp_month: Number(expiry.slice(0, 2)),
          exp_year: 2000 + Number(expiry.slice(2)),
          cvc: fields.cvc.value,
        },
      },
      client_context: { amount, currency, mode: 'payment' },
    }, '', new URLSearchParams());
    try {
      const answer = await fetch('/v1/confirmation_tokens', {
        method: 'POST',
        headers: { Authorization: `Bearer ${KEY}` },
        body: form,
      });
      const body = await answer.json();
      if (!body.error) return { confirmationToken: body };
      if (body.error.param === 'number') show('number', [body.error.code, body.error.message]);
      return { error: body.error };
    } catch {
      return { error: CONNECTION_LOST };
    }
  };

  const questions = {
    'submit': submit,
    'create-confirmation-token': createConfirmationToken,
    'focus': () => fields.number.focus(),
    'theme': ({ theme }) => dress(theme),
  };

  window.addEventListener('message', async (event) => {
    if (event.origin !== SHOP || event.source !== window.parent) return;
    const { type, question, ...content } = event.data;
    if (!(type in questions)) return;
    const answer = await questions[type](content);
    tell('answer', { question, answer });
  });

  reportHeight();
  tell('ready');
})();
