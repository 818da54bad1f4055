// Stripe.js, loaded from Stripe (or from what stands in for it), and the bank's question to the shopper.

// Loaded here rather than by a tag, so that nothing of ours waits for somebody else's server.
payonce.loadStripe = (url, key) =>
  new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.addEventListener("load", () => resolve(globalThis.Stripe(key)));
    script.addEventListener("error", () => reject(new Error("Stripe.js did not load")));
    document.head.append(script);
  });

// Resolves once the shopper has answered the bank, or closed its window. What Stripe.js makes of it is advice and can be
// wrong either way (FAILURES 13): whoever calls this asks the server.
payonce.confirmWithBank = async (stripe, secret) => {
  try {
    await stripe.handleNextAction({ clientSecret: secret });
  } catch {
    // The intent has moved on: answered in another window, or given up.
  }
};
