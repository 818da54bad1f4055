// The pay page: Stripe's card form, and the Pay button that sends what it gives (pay_button.js).

const { confirmWithBank, loadStripe, payButton } = payonce;

const FORM_SECONDS = 20;
const NO_FORM = "The card form could not be loaded. You were not charged. Please load this page again.";
const NO_TOKEN = "The card form does not answer. You were not charged. Please load this page again.";

const form = document.querySelector("[data-pay-form]");
const { stripeJs, stripeKey, returnUrl, amount, currency } = form.dataset;

const dark = matchMedia("(prefers-color-scheme: dark)");
const appearance = () => ({ theme: dark.matches ? "night" : "stripe" });

// {stripe, elements}, or null if the card form cannot be had.
const cardForm = mountCardForm().catch(() => null);

async function mountCardForm() {
  const stripe = await loadStripe(stripeJs, stripeKey);
  const elements = stripe.elements({
    mode: "payment",
    amount: Number(amount),
    currency: currency.toLowerCase(),
    appearance: appearance(),
  });
  const element = elements.create("payment");
  const ready = new Promise((resolve, reject) => {
    element.on("ready", resolve);
    element.on("loaderror", reject);
    setTimeout(reject, FORM_SECONDS * 1000);
  });
  element.mount("[data-card-form]");
  dark.addEventListener("change", () => elements.update({ appearance: appearance() }));
  await ready;
  return { stripe, elements };
}

// Nothing has left for the shop before there is a token: whatever goes wrong here, nobody was charged.
async function newToken() {
  const card = await cardForm;
  if (!card) return { error: NO_FORM };
  const { stripe, elements } = card;
  try {
    const { error: incomplete } = await elements.submit();
    if (incomplete) return { error: incomplete.message };
    const params = { return_url: returnUrl };
    const { confirmationToken, error } = await stripe.createConfirmationToken({ elements, params });
    return error ? { error: error.message } : { token: confirmationToken.id };
  } catch {
    return { error: NO_TOKEN };
  }
}

payButton(form, {
  newToken,
  async confirmWithBank(secret) {
    const { stripe } = await cardForm;
    await confirmWithBank(stripe, secret);
  },
});

if (!(await cardForm)) form.querySelector("[data-no-card-form]").hidden = false;
