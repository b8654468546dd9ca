// The field for a token, shown once an answer was 401. The form is in the page; it is hidden until then.

import { keepToken } from "./ask.js";

/** Watches for a missing token; calls `retry` when one has been given. */
export function askForToken(retry) {
  const form = document.getElementById("token");
  const field = form.elements.namedItem("token");

  document.addEventListener("unauthenticated", () => {
    if (form.hidden) {
      form.hidden = false;
      field.focus();
    }
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(field.value.trim());
    field.value = "";
    form.hidden = true;
    retry();
  });
}
