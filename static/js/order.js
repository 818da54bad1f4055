// The order page heals itself: while something is not decided it has the shop ask Stripe, and shows the answer by
// itself. It needs neither Celery nor a webhook for that.

const { ask, backOff, confirmWithBank, loadStripe, pause } = payonce;

const section = document.querySelector("#order-state");
const { state, statusUrl, stripeJs, stripeKey } = section.dataset;
const live = section.querySelector("[data-order-live]"); // there if this state may change by itself
const proceed = section.querySelector("[data-continue]");
let nextAction = null; // what the bank wants of the shopper, once Stripe has said it

const forever = () => new Promise(() => {});

const say = (text) => {
  if (live.textContent !== text) live.textContent = text; // the same text is not read out again
};

// --- ask until it is known ---------------------------------------------------------------------------------------------

async function watch() {
  for (let tries = 1; ; tries += 1) {
    while (document.hidden) await pause(3600, "visibilitychange");
    const answer = await look();
    if (answer.retry === "no") return say("This page is out of date. Load it again to see how your order is doing.");
    say(answer.status ? "This page asks again by itself, and shows the answer as soon as there is one."
      : "No connection. This page asks again as soon as there is one.");
    await pause(backOff(tries, Math.max(2, answer.retryAfter)), "visibilitychange");
  }
}

async function look() {
  const answer = await ask("POST", statusUrl);
  if (answer.status === 200 && answer.body) {
    if (hasMoved(answer.body)) {
      location.reload();
      await forever();
    }
    nextAction = answer.body.next_action ?? nextAction;
  }
  return answer;
}

// Whether this page shows something that is no longer so.
function hasMoved({ order_status: order, payment_status: payment, pay_key: payKey }) {
  if (order !== "pending" || payKey) return true;
  return state !== "closing" && (state === "action") !== (payment === "requires_action");
}

// --- the bank's question, left and taken up again ------------------------------------------------------------------------

async function continueWithBank() {
  proceed.disabled = true;
  say("Opening your bank's window…");
  for (let tries = 1; !nextAction; tries += 1) {
    const answer = await look();
    if (!nextAction) await pause(backOff(tries, Math.max(2, answer.retryAfter)));
  }
  const { type, url, client_secret: secret } = nextAction;
  nextAction = null;
  if (type === "redirect_to_url") {
    location.assign(url);
    return;
  }
  try {
    await confirmWithBank(await loadStripe(stripeJs, stripeKey), secret);
  } catch {
    say("Your bank's window could not be opened. Please try again.");
  }
  proceed.disabled = false;
  // Stripe is asked once in a few seconds: the first look may be too early to know more than before.
  for (let tries = 1; tries <= 4; tries += 1) await pause((await look()).retryAfter);
}

// Back brings a page to life as it was: show it as it is.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

if (proceed) {
  proceed.hidden = false;
  proceed.addEventListener("click", continueWithBank);
}
if (live) watch();
