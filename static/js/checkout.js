// The checkout form. It works without this script; with it a second press is spared, and an open order can be
// canceled without leaving the page. That one purchase makes one order is the server's doing.
"use strict";

const form = document.querySelector("[data-checkout]");
const button = form.querySelector("[data-place]");

document.querySelector("#error-summary")?.focus();

// Disabled after the submission has taken its data, or the press itself would be lost.
form.addEventListener("submit", () => setTimeout(() => { button.disabled = true; }));
window.addEventListener("pageshow", () => { button.disabled = false; });

for (const canceling of document.querySelectorAll("[data-cancel-then-place]")) {
  const press = canceling.querySelector("button");
  press.textContent = press.dataset.thenPlace;
  canceling.addEventListener("submit", (event) => {
    event.preventDefault();
    press.disabled = true;
    cancelThenPlace(canceling).finally(() => { press.disabled = false; });
  });
}

async function cancelThenPlace(canceling) {
  const answer = document.querySelector("[data-cancel-answer]");
  const say = (text) => { answer.hidden = false; answer.textContent = text; };
  say("Canceling …");
  let response;
  try {
    response = await fetch(canceling.dataset.cancelThenPlace, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "X-CSRFToken": canceling.querySelector("[name=csrfmiddlewaretoken]").value,
        "Idempotency-Key": "CANCEL_" + crypto.randomUUID(),
      },
      body: "{}",
    });
  } catch {
    say("No connection. Please try again.");
    return;
  }
  if (response.status === 200) {
    form.requestSubmit();
  } else if (response.status === 202) {
    say("The bank has not answered yet. Please try again in a moment.");
  } else {
    const problem = await response.json().catch(() => ({}));
    say(problem.detail || "That did not work. Please try again in a moment.");
  }
}
