// Layer 1 of 5 - Pay button disabled: one press at a time leaves this page.
//
// Stops: the second click, Enter or Space while a press is under way, and a page that Back brings to life again with a
// live button for an order that is paid or being paid.
// Does not stop: another tab, another device, a retry by a proxy, a script. For those there are layers 2 to 5.

const { ask, backOff, pause } = payonce;

const MOST_TRIES = 6; // of one press, under one key
const LONGEST_WAIT_SECONDS = 20; // who is told to wait longer gets the button back instead
const SLOW_SECONDS = 8;

// `newToken()` gives {token} or {error}: the card, as our payment provider names it, once.
// `confirmWithBank(secret)` lets the bank ask the shopper; what it says is advice, the server knows.
payonce.payButton = (form, { newToken, confirmWithBank }) => {
  const { order, amount, currency, total, orderPage } = form.dataset;
  const button = form.querySelector("[data-pay]");
  const status = form.querySelector("[data-pay-status]");
  let payKey = form.dataset.payKey; // here and nowhere else: a key kept in browser storage replays its decline for ever
  let state = "idle"; // busy: a press or a look is under way; leaving: the order's page is on its way
  let slow;

  // --- the guard -----------------------------------------------------------------------------------------------------

  form.addEventListener("submit", (event) => {
    event.preventDefault(); // from here on the press is ours to send, so the button can go
    if (state === "idle") carryOut(press, `Paying ${total}…`);
  });

  window.addEventListener("pageshow", (event) => {
    if (event.persisted && state !== "busy") carryOut(trueState, "Looking how your order is doing…");
  });

  async function carryOut(act, text) {
    state = "busy";
    button.disabled = true;
    say(text);
    status.focus();
    slow = setTimeout(say, SLOW_SECONDS * 1000, "Still working – you will not be charged twice.");
    let end;
    try {
      end = await act();
    } catch (error) {
      console.error(error);
      end = { say: "Something went wrong on this page. Load it again to see how your order is doing." };
    }
    clearTimeout(slow);
    if (end.go) {
      state = "leaving";
      location.assign(end.go);
    } else {
      state = "idle";
      button.disabled = false;
      say(end.say, "problem");
    }
  }

  function say(text, kind = "busy") {
    status.textContent = text;
    status.dataset.kind = text ? kind : "";
  }

  // --- one press -----------------------------------------------------------------------------------------------------

  async function press() {
    const { token, error } = await newToken();
    if (error) return { say: error };
    const answer = await send(token);
    if (answer.status === 201) return { go: orderPage };
    if (answer.status === 202 && answer.body?.next_action) return bankStep(answer.body.next_action);
    return trueState(answer);
  }

  // The same key and the same body each time, so that it is one press however often it arrives.
  async function send(token) {
    const body = { payment_token: token, amount: Number(amount), currency };
    let mayHaveLeft = false;
    for (let tries = 1; ; tries += 1) {
      const answer = await ask("POST", `/api/orders/${order}/payments/`, { key: payKey, body });
      const again = answer.retry === "same-key" && answer.status !== 409 && answer.retryAfter <= LONGEST_WAIT_SECONDS;
      if (!again || tries === MOST_TRIES) return answer;
      mayHaveLeft ||= !answer.offline;
      if (!mayHaveLeft) say("No connection. Nothing was sent; we try again as soon as there is one.");
      else if (answer.status === 0) say("The connection was lost. We try again – you will not be charged twice.");
      await pause(backOff(tries, answer.retryAfter));
    }
  }

  async function bankStep({ type, url, client_secret: secret }) {
    if (type === "redirect_to_url") return { go: url };
    clearTimeout(slow);
    say("Your bank asks you to confirm this payment.");
    await confirmWithBank(secret);
    say("Asking your bank…");
    status.focus();
    return trueState();
  }

  // --- what is so, as only the server knows ----------------------------------------------------------------------------

  // Ask until it is known whether a new press may start, or the order's own page has more to say.
  async function trueState(answer) {
    for (let tries = 1; ; tries += 1) {
      const look = await ask("POST", `/api/orders/${order}/payment-status/`);
      const now = look.status === 200 ? look.body : null;
      if (now?.pay_key) return newPress(now, answer);
      if (now && !(wasNotAsked(now) && tries < 4)) return { go: orderPage };
      if (look.retry === "no") return { say: "This page is out of date. Load it again to see how your order is doing." };
      if (!now) say("We are asking your bank – you will not be charged twice.");
      await pause(backOff(tries, look.retryAfter));
    }
  }

  // Stripe is asked once in a few seconds. A look in between knows no more than before: look once more.
  const wasNotAsked = (now) => now.payment_status === "requires_action" && !now.next_action;

  // Nothing was charged, and nothing will be: the button is live again, for a press that the shopper makes.
  function newPress(now, answer) {
    payKey = now.pay_key;
    if (answer?.body?.type === "/problems/order-changed") return { go: location.pathname };
    if (!answer && now.payment_status === "none") return { say: "" };
    const reason = form.querySelector(`[data-reason="${now.reason}"]`)?.content.textContent;
    if (reason) return { say: reason };
    const ours = [400, 429, 503].includes(answer?.status) && answer.body?.detail;
    return { say: ours || "Your payment has not reached us yet. Please press Pay again – you will not be charged twice." };
  }
};
