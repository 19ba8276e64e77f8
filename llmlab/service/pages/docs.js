// Sign in, fetch the lab's OpenAPI document with that token, and have Swagger UI show it.
"use strict";

const form = document.querySelector("#sign-in");
const told = document.querySelector("#told");
const dark = matchMedia("(prefers-color-scheme: dark)");

function paint() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}

function tell(text, refused = false) {
  told.textContent = text;
  told.classList.toggle("refused", refused);
}

async function fetched(token) {
  const answer = await fetch("openapi.json", { headers: { Authorization: `Bearer ${token}` } });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail);
  return said;
}

async function signIn(event) {
  event.preventDefault();
  const token = form.token.value.trim().replace(/^Bearer\s+/i, "");
  tell("Asking the lab …");
  let spec;
  try {
    spec = await fetched(token);
  } catch (error) {
    tell(error.message, true);
    return;
  }
  const ui = SwaggerUIBundle({
    spec,
    dom_id: "#ui",
    validatorUrl: null, // asks nobody else
    tryItOutEnabled: true,
    onComplete: () => ui.preauthorizeApiKey("token", token),
  });
  form.reset();
  tell("Signed in: what is executed below is asked with this token.");
}

paint();
dark.addEventListener("change", paint);
form.addEventListener("submit", signIn);
