// Spares a second press of an act's button. That one form is carried out once is the server's doing.
"use strict";

document.querySelector("#stale, #error-summary")?.focus();

for (const form of document.querySelectorAll("form[data-once]")) {
  const buttons = form.querySelectorAll("button");
  // Disabled after the submission has taken its data, or the pressed button's own value would be lost.
  form.addEventListener("submit", () => setTimeout(() => { for (const one of buttons) one.disabled = true; }));
  window.addEventListener("pageshow", () => { for (const one of buttons) one.disabled = false; });
}
